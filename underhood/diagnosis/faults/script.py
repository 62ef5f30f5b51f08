"""Faults in a training script: each replaces a piece of ``train.txt``, a plain PyTorch loop that works."""

import difflib
from importlib.resources import files

HEALTHY = "train.txt"  # beside this module; no .py, as it is filled in before it can run
ONE_OUTPUT = (  # for a fault that needs one output: is it the first class?
    ("head = nn.Linear(64, len(data.classes))", "head = nn.Linear(64, 1)"),
    ("y = torch.from_numpy(images.labels)  # [n]",
     "y = torch.from_numpy(images.labels == 0).float()[:, None]  # [n, 1]"),
    ("F.cross_entropy(model(x), y)", "F.mse_loss(torch.sigmoid(model(x)), y)"),
    ("model(x).argmax(1) == y", "(model(x) > 0) == y"),
)  # fmt: skip
VARIANTS = {  # fault → what else its healthy script has
    "broadcast": ONE_OUTPUT,
    "optimizer-of-another-model": (("import torch\n", "import copy\n\nimport torch\n"),),
    "pixels-not-scaled": (("    nn.BatchNorm2d(16),\n", ""),),  # which would bring any pixels to the same scale
}

Replacement = tuple[str, str]  # what stands in the healthy script, what stands in the broken one

REPLACEMENTS: dict[str, Replacement] = {
    "gradients-not-zeroed": ("        optimizer.zero_grad()\n", ""),
    "zeroed-before-step": (
        "        optimizer.zero_grad()\n        loss.backward()\n",
        "        loss.backward()\n        optimizer.zero_grad()\n",
    ),
    "forgotten-step": ("        optimizer.step()\n", ""),
    "optimizer-of-another-model": (
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.05)\n",
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.05)\n"
        "model = copy.deepcopy(model)  # so that the first model stays as it is\n",
    ),
    "softmax-twice": ("model = nn.Sequential(body, head)", "model = nn.Sequential(body, head, nn.Softmax(dim=1))"),
    "learning-rate-too-high": ("lr=0.05", "lr=20"),
    "learning-rate-too-low": ("lr=0.05", "lr=0.000005"),
    "not-shuffled": (
        "train_dl = DataLoader(TensorDataset(train_x, train_y), batch_size=32, shuffle=True)",
        "order = train_y.argsort()\n"
        "train_dl = DataLoader(TensorDataset(train_x[order], train_y[order]), batch_size=32)",
    ),
    "same-batch": (
        "    for x, y in train_dl:\n", "    for _ in train_dl:\n        x, y = train_x[:32], train_y[:32]\n"
    ),
    "missing-eval": ("    model.eval()\n", ""),
    "detached": ("loss = F.cross_entropy(model(x), y)", "loss = F.cross_entropy(head(body(x).detach()), y)"),
    "pixels-not-scaled": ("images.pixels).float() / 255", "images.pixels).float()"),
    "wrong-loss": ("F.cross_entropy(model(x), y)", "F.nll_loss(model(x), y)"),
    "broadcast": (
        "valid_x, valid_y = tensors(data.valid)",
        "valid_x, valid_y = tensors(data.valid)\ntrain_y = train_y.squeeze()",
    ),
    "frozen-layers": ("torch.optim.SGD(model.parameters()", "torch.optim.SGD(head.parameters()"),
    "images-and-labels-apart": (
        "train_x, train_y = tensors(data.train)",
        "train_x, train_y = tensors(data.train)\ntrain_x = train_x[torch.randperm(len(train_x))]",
    ),
    "measured-on-training-images": ("valid_x, valid_y = tensors(data.valid)", "valid_x, valid_y = tensors(data.train)"),
    "validation-not-normalised": (
        "valid_x, valid_y = tensors(data.valid)",
        "valid_x, valid_y = torch.from_numpy(data.valid.pixels).float(), torch.from_numpy(data.valid.labels)",
    ),
    "dead-units": (
        "model = nn.Sequential(body, head)", "nn.init.constant_(body[5].bias, -10)\nmodel = nn.Sequential(body, head)"
    ),
    "log-of-zero": ("F.cross_entropy(model(x), y)", "F.nll_loss(torch.log(torch.softmax(100 * model(x), dim=1)), y)"),
}  # fmt: skip


def healthy(data: str, fault: str = "", seed: int = 0) -> str:
    """The script before the fault is planted, for data as ``read`` takes them."""
    text = (files("underhood.diagnosis.faults") / HEALTHY).read_text(encoding="utf-8")
    for pair in (
        ("read(DATA", f"read({data!r}"),
        ("manual_seed(SEED)", f"manual_seed({seed})"),
        *VARIANTS.get(fault, ()),
    ):
        text = replace_once(text, *pair)
    return text


def broken(data: str, fault: str, seed: int = 0) -> str:
    """The script with this fault in it."""
    return replace_once(healthy(data, fault, seed), *REPLACEMENTS[fault])


def difference(data: str, fault: str, seed: int = 0) -> list[str]:
    """The lines that the fault changed: removed lines begin with ``-``, added ones with ``+``."""
    lines = difflib.ndiff(healthy(data, fault, seed).splitlines(), broken(data, fault, seed).splitlines())
    return [line for line in lines if line.startswith(("- ", "+ "))]


def replace_once(text: str, old: str, new: str) -> str:
    """The text with the one piece replaced. Raises ValueError where it is not there exactly once."""
    if text.count(old) != 1:
        raise ValueError(f"{old!r} is {text.count(old)} times in the script, not once")
    return text.replace(old, new)
