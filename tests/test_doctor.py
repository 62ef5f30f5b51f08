"""``underhood doctor`` finds out by experiments why any loop does not learn, and leaves it as it is."""

import json
import random
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Outcome
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import underhood
from underhood.core.errors import UnderhoodError
from underhood.core.images import Images
from underhood.diagnosis import CHECKS, Finding, examine, fine
from underhood.diagnosis.case import Case
from underhood.diagnosis.checks.channels import compare_channels
from underhood.diagnosis.hooks import watching
from underhood.diagnosis.loops import script_loop
from underhood.diagnosis.trace import Change
from underhood.diagnosis.widen import widened
from underhood.jobs.doctor import doctor, parse_budget

Command = Callable[..., Outcome]
examined = partial(doctor, budget=600)  # this machine may have other work

HEALTHY = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from underhood import read

def tensors(images):
    return torch.from_numpy(images.pixels).float() / 255, torch.from_numpy(images.labels).long()

data = read("digits")
torch.manual_seed(SEED)
train_x, train_y = tensors(data.train)
valid_x, valid_y = tensors(data.valid)
train_dl = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)
valid_dl = DataLoader(TensorDataset(valid_x, valid_y), batch_size=256)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(),
    nn.Dropout(0.2), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(4):
    model.train()
    for x, y in train_dl:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        print(sum((model(x).argmax(1) == y).sum().item() for x, y in valid_dl))
"""

FAULTS = {  # what stands in the healthy script → in the broken one, and the check that names it
    "gradients not cleared": ("        optimizer.zero_grad()\n", "", "zero-grad"),
    "gradients cleared before the step": (
        "optimizer.zero_grad()\n        loss.backward()", "loss.backward()\n        optimizer.zero_grad()", "zero-grad",
    ),
    "no step": ("        optimizer.step()\n", "", "no-step"),
    "step without parentheses": ("optimizer.step()", "optimizer.step", "no-step"),
    "another model's optimizer": ("SGD(model.parameters()", "SGD(nn.Linear(3, 3).parameters()", "no-step"),
    "the last layer's parameters only": ("SGD(model.parameters()", "SGD(model[-1].parameters()", "frozen-parameters"),
    "softmax twice": ("nn.Linear(64, 10))", "nn.Linear(64, 10), nn.Softmax(dim=1))", "double-softmax"),
    "a ReLU at the end": ("nn.Linear(64, 10))", "nn.Linear(64, 10), nn.ReLU())", "wrong-loss"),
    "nll_loss of logits": ("F.cross_entropy(model(x), y)", "F.nll_loss(model(x), y)", "wrong-loss"),
    "a minus": ("F.cross_entropy(model(x), y)", "-F.cross_entropy(model(x), y)", "wrong-loss"),
    "detached": ("model(x), y)\n", "model[7](model[:7](x).detach()), y)\n", "no-gradient"),
    "no graph at all": ("model(x), y)\n", "model(x).detach(), y)\n", "no-gradient"),
    "rate too high": ("lr=0.1", "lr=50", "learning-rate"),
    "rate too low": ("lr=0.1", "lr=0.00001", "learning-rate"),
    "sorted": (
        "train_dl = DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True)",
        "order = train_y.argsort(); train_dl = DataLoader(TensorDataset(train_x[order], train_y[order]), 64)",
        "data-order",
    ),
    "the first batch only": ("in train_dl:", "in [next(iter(DataLoader(train_dl.dataset, 64)))] * 30:", "data-order"),
    "never back to train()": ("    model.train()\n", "", "train-eval"),
    "measured in train()": ("    model.eval()\n", "", "train-eval"),
    "divided twice": ("/ 255", "/ 255 / 255", "input-scale"),
    "validation inverted": ("valid_dl = ", "valid_x = 1 - valid_x; valid_dl = ", "preparation"),
    "images shuffled without their labels": (
        "train_dl = ", "train_x = train_x[torch.randperm(len(train_x))]; train_dl = ", "labels",
    ),
    "other class numbers in validation": ("valid_dl = ", "valid_y = 9 - valid_y; valid_dl = ", "labels"),
    "measured on training images": ("valid_dl = ", "valid_x, valid_y = train_x, train_y; valid_dl = ", "leak"),
    "broadcast": ("F.cross_entropy(model(x), y)", "F.mse_loss(model(x)[:, :1], (y > 4).float())", "broadcast"),
    "dead from the start": ("optimizer = ", "nn.init.constant_(model[4].bias, -5.0); optimizer = ", "dead-units"),
    "updates lost in bfloat16": (
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)",
        "model.bfloat16(); train_x, valid_x = train_x.bfloat16(), valid_x.bfloat16(); "
        "train_dl = DataLoader(TensorDataset(train_x, train_y), 64, shuffle=True); "
        "valid_dl = DataLoader(TensorDataset(valid_x, valid_y), 256); "
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.01)",
        "nan",
    ),
    "gradients too small for float16": (
        "        loss = F.cross_entropy(model(x), y)",
        "        optimizer.param_groups[0]['lr'] = 1e5\n"
        "        with torch.autocast('cpu', torch.float16): loss = F.cross_entropy(model(x), y) * 1e-6",
        "nan",
    ),
    "log of 0": ("F.cross_entropy(model(x), y)", "-(model(x).softmax(1)[:, 0] * 0).log().mean()", "nan"),
}  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "train.py"
    path.write_text(dedent(text))
    return path


def found(result: Any) -> list[str]:
    return [one["check"] for one in result["findings"] if one["verdict"] == "found"]


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_found_in_a_healthy_script(seed: int, tmp_path: Path) -> None:
    result = examined(write(tmp_path, HEALTHY.replace("SEED", str(seed))))
    assert {one["verdict"] for one in result["findings"]} == {"fine"}
    assert {one["check"] for one in result["findings"]} >= {"zero-grad", "learning-rate", "labels", "train-eval"}
    assert not result["not_examined"]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_in_a_script_is_the_first_finding(fault: str, tmp_path: Path) -> None:
    old, new, check = FAULTS[fault]
    assert HEALTHY.count(old) == 1
    result = examined(write(tmp_path, HEALTHY.replace(old, new).replace("SEED", "3")))
    first = result["findings"][0]
    assert (first["check"], first["verdict"]) == (check, "found")
    assert any(character.isdigit() for character in first["evidence"])
    assert first["fix"]


BY_HAND = """
import torch
from underhood import DataLoader, read
from underhood.scratch.sgd import init_params, linear1, sigmoid

data = read("digits")
torch.manual_seed(0)
x = torch.from_numpy(data.train.pixels).float().flatten(1) / 255
y = torch.from_numpy(data.train.labels % 2 == 0).float().unsqueeze(1)
weights, bias = init_params((64, 1), std=0.1), init_params(1, std=0.1)

def mnist_loss(predictions, targets):
    predictions = predictions.sigmoid()
    return torch.where(targets == 1, 1 - predictions, predictions).mean()

for epoch in range(8):
    for xb, yb in DataLoader((x, y), batch_size=30, shuffle=True):
        loss = mnist_loss(linear1(xb, weights, bias), yb)
        loss.backward()
        for p in (weights, bias):
            p.data -= p.grad * 1.0
            p.grad.zero_()
"""


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ("p.grad.zero_()", "pass", "zero-grad"),
        ("p.data -= p.grad * 1.0", "p.data - p.grad * 1.0", "no-step"),
        ("linear1(xb, weights, bias)", "sigmoid(linear1(xb, weights, bias))", "double-softmax"),
        ("bias), yb)", "bias), yb.squeeze())", "broadcast"),
        ("* 1.0", "* 0.00001", "learning-rate"),
        ("DataLoader((x, y), batch_size=30, shuffle=True)", "DataLoader((x[y[:, 0].argsort()], y.sort(0)[0]), 30)",
         "data-order"),
    ],
)  # fmt: skip
def test_loops_without_module_and_optimizer_are_watched_like_others(
    old: str, new: str, check: str, tmp_path: Path
) -> None:
    assert found(examined(write(tmp_path, BY_HAND))) == []
    assert BY_HAND.count(old) == 1
    assert found(examined(write(tmp_path, BY_HAND.replace(old, new))))[0] == check


LOOPS = {  # loops that are right, each in another way
    "accumulated gradients": """
        for number, (x, y) in enumerate(train_dl):
            (F.cross_entropy(model(x), y) / 4).backward()
            if number % 4 == 3:
                optimizer.step(); optimizer.zero_grad()
        """,
    "autocast and a scaler": """
        for x, y in train_dl:
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad(); scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()
        """,
    "torch.autograd.grad": """
        for x, y in train_dl:
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
            with torch.no_grad():
                for p, g in zip(parameters, gradients): p -= 0.1 * g
        """,
    "torch.autograd.grad by keywords": """
        for x, y in train_dl:
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(outputs=F.cross_entropy(model(x), y), inputs=parameters)
            with torch.no_grad():
                for p, g in zip(parameters, gradients): p -= 0.1 * g
        """,
    "batches sliced by hand": """
        order = torch.randperm(len(train_x))
        for first in range(0, len(order), 64):
            rows = order[first : first + 64]
            loss = nn.CrossEntropyLoss(label_smoothing=0.1)(model(train_x[rows]), train_y[rows])
            model.zero_grad(); loss.backward(); nn.utils.clip_grad_norm_(model.parameters(), 1.0); optimizer.step()
        """,
    "a closure": """
        for x, y in train_dl:
            def closure():
                optimizer.zero_grad(); loss = F.cross_entropy(model(x), y); loss.backward()
                return loss
            optimizer.step(closure)
        """,
}


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_found_in_other_ways_to_train(loop: str, tmp_path: Path) -> None:
    head, _, rest = HEALTHY.replace("SEED", "4").partition("    for x, y in train_dl:\n")
    tail = rest[rest.index("    model.eval()") :].replace(
        "with torch.no_grad():", "if True:"
    )  # validates with gradients
    body = "".join(f"    {line}\n" for line in dedent(LOOPS[loop]).strip().splitlines())
    text = head.replace("for epoch", 'scaler = torch.amp.GradScaler("cpu")\nfor epoch').replace("range(4)", "range(8)")
    result = examined(write(tmp_path, text + body + tail))
    assert found(result) == []


def digits_batches(images: Images, **options: Any) -> DataLoader[tuple[Tensor, ...]]:
    x, y = torch.from_numpy(images.pixels).float() / 255, torch.from_numpy(images.labels).long()
    return DataLoader(TensorDataset(x, y), batch_size=64, **options)


def test_a_model_with_its_batches_is_examined_and_stays_as_it_is() -> None:
    """Copies are trained: its weights, and the caller's random numbers, are as before."""
    data = underhood.read("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 30), nn.ReLU(), nn.Linear(30, 10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train, valid = digits_batches(data.train, shuffle=True), digits_batches(data.valid)
    torch.manual_seed(5), random.seed(5)
    expected = torch.rand(1), random.random()
    torch.manual_seed(5), random.seed(5)
    result = examined(model, train, F.cross_entropy, lr=0.1, valid=valid)
    assert (torch.rand(1), random.random()) == expected
    assert found(result) == []
    assert result["kind"] == "model"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert found(examined(nn.Sequential(model, nn.Softmax(1)), train, F.cross_entropy, lr=0.1)) == ["double-softmax"]


def test_a_model_that_is_too_small_is_told_from_one_that_is_not() -> None:
    """The same training with twice as many units in each hidden layer gets much further with one of the two."""
    train = digits_batches(underhood.read("digits").train, shuffle=True)
    torch.manual_seed(0)
    small, large = (nn.Sequential(nn.Flatten(), nn.Linear(64, n), nn.ReLU(), nn.Linear(n, 10)) for n in (3, 64))
    verdicts = {}
    for name, model in (("small", small), ("large", large)):
        findings = examined(model, train, F.cross_entropy, lr=0.3)["findings"]
        verdicts[name] = next(one for one in findings if one["check"] == "underfit")
    assert verdicts["small"]["verdict"] == "suspicious"
    assert "with twice as many units in each hidden layer it is" in verdicts["small"]["evidence"]
    assert verdicts["large"]["verdict"] == "fine"


@pytest.mark.parametrize("model", ["net", "conv", "vgg"])
def test_a_widened_model_has_twice_the_units_and_takes_the_same_images(model: str) -> None:
    network = underhood.build_model(underhood.Architecture(model, 3, 16, 20, 7))
    wide = widened(network)
    assert wide is not None
    assert wide(torch.zeros(2, 3, 16, 20)).shape == (2, 7)
    hidden = [one.weight.shape[0] for one in network.modules() if isinstance(one, (nn.Linear, nn.Conv2d))][:-1]
    assert [one.weight.shape[0] for one in wide if isinstance(one, (nn.Linear, nn.Conv2d))][:-1] == [
        2 * units for units in hidden
    ]


def test_a_model_of_other_layers_is_not_widened() -> None:
    assert widened(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))) is None  # no hidden layer
    assert widened(underhood.build_model(underhood.Architecture("resnet18", 1, 28, 28, 10))) is None
    assert widened(nn.Linear(64, 10)) is None


def test_a_learner_is_examined_with_its_own_batches_and_loss() -> None:
    data = underhood.read("digits")
    dls = underhood.DataLoaders.from_dataset(data)
    learner = underhood.Learner(dls, underhood.build_model(underhood.Architecture("net", 1, 8, 8, 10)))
    assert found(examined(learner)) == []
    for _ in learner.epochs(1, 0.01):
        pass
    assert found(examined(learner)) == []


def test_data_and_a_run_are_examined_and_the_report_shows_it(underhood: Command, tmp_path: Path) -> None:
    result = underhood("doctor", "digits", "--json")
    assert result.json["kind"] == "data"
    assert found(result.json) == []
    run = tmp_path / "run"
    underhood("train", "digits", "--epochs", "2", "--out", run, "--no-report")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    shown = underhood("doctor", run).out
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"doctor.json"}
    assert "checks in" in shown
    kept = json.loads(after["doctor.json"])
    kept["findings"][0].update(verdict="found", evidence="the number <7>")
    (run / "doctor.json").write_text(json.dumps(kept))
    underhood("report", run)
    assert "the number &lt;7&gt;" in (run / "report.html").read_text()
    (run / "doctor.json").write_text('{"findings": [1]}')
    assert "doctor.json is damaged: remove it" in underhood("report", run).err


def test_the_exit_code_and_the_first_line_say_what_is_found(underhood: Command, tmp_path: Path) -> None:
    script = write(tmp_path, HEALTHY.replace("        optimizer.step()\n", "").replace("SEED", "0"))
    result = underhood("doctor", script)
    assert result.code == 1
    named = [line for line in result.out.splitlines() if line.startswith(("found: ", "suspicious: "))]
    assert named[0].startswith("found: no-step (")  # after what says how far it is, on a slow machine
    assert "fix: call optimizer.step() after loss.backward()" in result.out


def test_a_script_gets_its_arguments_and_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("lr = 0.1")
    text = "import sys, mine\n" + HEALTHY.replace("lr=0.1", "lr=mine.lr * float(sys.argv[1])").replace("SEED", "0")
    assert found(examined(write(tmp_path, text), arguments=["1"])) == []
    assert found(examined(write(tmp_path, text), arguments=["0.0001"])) == ["learning-rate"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import torch\nx = torch.zeros(3)\nx @ torch.zeros(4)\n", "line 3: RuntimeError"),
        ("raise SystemExit('no data')\n", "exits with no data"),
        ("print('hello')\n", "never calls backward"),
        ("def f(:\n", "SyntaxError"),
    ],
)
def test_a_script_that_trains_nothing_is_a_line_that_says_why(
    text: str, line: str, underhood: Command, tmp_path: Path
) -> None:
    code, _, error = underhood("doctor", write(tmp_path, text))
    assert code == 1
    assert line in error
    assert len(error.strip().splitlines()) == 1


def test_bad_requests_are_refused_in_a_line(underhood: Command, tmp_path: Path) -> None:
    assert "no such script" in underhood("doctor", tmp_path / "none.py").err
    assert "60s" in underhood("doctor", "digits", "--budget", "soon").err
    assert "takes no arguments" in underhood("doctor", "digits", "more").err
    with pytest.raises(UnderhoodError, match="model, dataloader, loss_func"):
        doctor(nn.Linear(2, 2))
    assert [parse_budget(text) for text in ("90", "90s", "1.5m")] == [90, 90, 90]


def test_watching_changes_nothing_and_ends_without_a_trace() -> None:
    """The same steps to the bit, and torch afterwards as before."""

    def train() -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(20):
            loss = F.cross_entropy(model(torch.rand(8, 1, 8, 8)), torch.randint(0, 3, (8,)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    functions = torch.autograd.backward, torch.autograd.grad, DataLoader.__iter__, underhood.DataLoader.batches
    alone = train()
    with watching(Change(repeat=True)) as watch:
        watched = train()
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert len(watch.finish().steps) == 20
    assert functions == (
        torch.autograd.backward, torch.autograd.grad, DataLoader.__iter__, underhood.DataLoader.batches,
    )  # fmt: skip
    train()
    assert len(watch.trace.steps) == 20


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_updates_that_are_scaled_are_those_of_another_learning_rate(factor: float, tmp_path: Path) -> None:
    """SGD with a tenth of each step is SGD with a tenth of the learning rate."""
    text = HEALTHY.replace("nn.BatchNorm2d(16), ", "").replace("nn.Dropout(0.2)", "nn.Identity()").replace("SEED", "0")
    scaled = script_loop(write(tmp_path, text))(Change(updates=factor, steps=20)).losses
    lower = script_loop(write(tmp_path, text.replace("lr=0.1", f"lr={0.1 * factor}")))(Change(steps=20)).losses
    np.testing.assert_allclose(scaled, lower, rtol=2e-3, atol=1e-5)


def test_a_budget_is_kept_and_what_was_not_examined_is_named(tmp_path: Path) -> None:
    slow = HEALTHY.replace("for x, y in train_dl:", "for x, y in train_dl:\n        import time; time.sleep(0.05)")
    result = doctor(write(tmp_path, slow.replace("SEED", "0")), budget=3)
    assert result["seconds"] < 30  # this machine may have other work; all checks take a minute and more
    assert "learning-rate" in result["not_examined"]
    assert {one["check"] for one in result["findings"]} >= {"no-step", "zero-grad"}


def test_a_check_of_another_package_runs_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(case: Case) -> Finding | None:
        return fine(f"{len(case.trace.steps)} steps were seen") if case.trace else None

    check = SimpleNamespace(SUSPICION="mine", SECONDS=0.0, AFTER=(), examine=look)
    group_name = "underhood.diagnosis.checks"
    entry = EntryPoint("mine", "a:b", group_name)
    monkeypatch.setattr(type(entry), "load", lambda _: check)
    monkeypatch.setattr(examine, "entry_points", lambda group: [entry] if group == group_name else [])
    result = examined("digits")
    assert next(one for one in result["findings"] if one["check"] == "mine")["suspicion"] == "mine"


def test_every_check_is_a_file_with_the_same_interface() -> None:
    checks = examine.load_checks()
    assert list(checks) == list(CHECKS)
    assert len(CHECKS) == 24
    for check in checks.values():
        assert check.SUSPICION
        assert check.SECONDS >= 0
        assert set(check.AFTER) <= set(CHECKS)
        assert check.examine(Case("nothing", "model")) is None


def test_swapped_channels_are_told_from_other_differences() -> None:
    rng = np.random.default_rng(0)
    colours = rng.normal((0.5, 0.45, 0.3), 0.1, (300, 3))
    assert compare_channels(colours[:150], colours[150:]).verdict == "fine"  # type: ignore[union-attr]
    swapped = compare_channels(colours[:150], colours[150:, ::-1])
    assert swapped is not None
    assert (swapped.verdict, "BGR" in swapped.evidence) == ("found", True)
    assert compare_channels(colours[:150], colours[150:] + 0.2).verdict == "fine"  # type: ignore[union-attr]
