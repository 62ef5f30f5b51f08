"""What to train with: the recipe, chosen from the number of images, the effort, the model and the device.

docs/recipes.md has the trials behind the numbers.
"""

import inspect
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from underhood.core.errors import UnderhoodError
from underhood.core.images import Dataset
from underhood.training.config import TrainConfig

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from underhood.core.augment import Augmentation
    from underhood.core.learner import OptFunc

LEARNING_RATE = 0.01  # suits AdamW, one cycle and every model here from 250 images to 60,000
LEAST_EPOCHS_TO_AUGMENT = 4  # images that are seen fewer times need no variety
HEAD_LEARNING_RATE, HEAD_BATCH, HEAD_STEPS = 0.002, 64, 200  # of a last layer on features; at least so many steps
TUNE_LEARNING_RATE, TUNE_BATCH, TUNE_EPOCHS = 0.0005, 16, 6  # of all layers; those near the input learn more slowly
MODEL = {"fast": "conv", "normal": "conv", "best": "vgg"}  # by effort, where none is asked for and nothing is compared
SMOOTHING = 0.1  # of labels
FEW = 1440  # training images, below which a network sees each often
MIXED: dict[str, Any] = {"jitter": 0.3, "cutmix": 0.5, "weight_decay": 0.1}  # for many epochs: training/regularisers.py
CONVOLUTIONAL = ("conv", "vgg", "resnet18")
# the efforts with which it saves time: conv gains little from it, so only where time is what counts
BFLOAT16 = {"conv": ("fast",), "vgg": ("fast", "normal", "best"), "resnet18": ("fast", "normal", "best")}


@dataclass(frozen=True)
class Recipe:
    """What to train with: stored in ``config.json``."""

    model: str
    epochs: int
    batch_size: int
    lr: float
    precision: str
    augmentation: "Augmentation"
    label_smoothing: float
    tune: str = "none"  # which layers of a network with published weights are trained; none: it has none
    weight_decay: float | None = None  # None: the optimizer's own
    jitter: float = 0.0  # of colours, and
    cutmix: float = 0.0  # fraction of batches whose images are mixed: see ``training/regularisers.py``
    mirrored: bool = False  # whether predictions are the mean over the image and its mirror image

    def describe(self) -> str:
        """One line, for the log."""
        a = self.augmentation
        words = f"{self.epochs} epoch{'s' * (self.epochs != 1)} of batches of {self.batch_size}, lr {self.lr:g}"
        changes = {"shift": f"{a.shift:.0%}", "rotation": f"{a.rotation:g}°", "scale": f"{a.scale:.0%}"}
        changes |= {"colours": f"{self.jitter:.0%}", "CutMix": f"{self.cutmix:.0%} of the batches"}
        amounts = [a.shift, a.rotation, a.scale, self.jitter, self.cutmix]
        told = [f"{name} {text}" for (name, text), amount in zip(changes.items(), amounts, strict=True) if amount]
        told += ["mirrored"] if a.flip else []
        words += f"; data augmentation: {', '.join(told)}" if told else ""
        words += "; predicts the mirror image, too" if self.mirrored else ""
        words += f"; weight decay {self.weight_decay:g}" if self.weight_decay is not None else ""
        words += "; matrix products in bfloat16" if self.precision == "bfloat16" else ""
        return words + (f"; label smoothing {self.label_smoothing:g}" if self.label_smoothing else "")

    def as_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)


def choose_recipe(
    count: int, effort: str = "normal", model: str | None = None, epochs: int | None = None,
    fast_bfloat16: bool = False, tune: str = "none", augment: str | None = None, flip: bool | None = None,
) -> Recipe:  # fmt: skip
    """The recipe for ``count`` training images: a pure function. What is given of the other options is kept.

    fast_bfloat16: whether the device multiplies it faster than float32 (``has_fast_bfloat16``)
    docs/recipes.md has the trials behind these numbers. Few images need many epochs and small batches.
    """
    if tune != "none":
        return choose_tuning(count, str(model), tune, effort, epochs, fast_bfloat16, augment, flip)
    best = effort == "best"
    model = model or MODEL[effort]
    epochs = epochs or usual_epochs(count, model, effort)
    augment = augment or usual_augmentation(model, effort, epochs)
    mixed = augment == "strong" or all((best, flip, augment != "none", model in CONVOLUTIONAL))
    return Recipe(
        model=model,
        epochs=epochs,
        batch_size=min(128, max(16, 2 ** round(math.log2(max(1, count / 12))))),
        lr=LEARNING_RATE,
        precision="bfloat16" if fast_bfloat16 and effort in BFLOAT16.get(model, ()) else "float32",
        augmentation=augmentation(augment, bool(flip)),
        label_smoothing=SMOOTHING if best or (model == "vgg" and count < FEW) else 0.0,
        mirrored=bool(best and flip),
        **(MIXED if mixed else {}),
    )


def usual_epochs(count: int, model: str, effort: str) -> int:
    """The number of epochs from scratch for ``count`` training images: the more, the fewer images there are."""
    power = 0.5 if model == "vgg" and count < FEW else 0.3
    usual = min(60, max(6 if model == "vgg" else 3, round(15 * (FEW / count) ** power)))
    return max(1, int(usual * {"fast": 0.35, "normal": 1, "best": 4}[effort]))


def usual_augmentation(model: str, effort: str, epochs: int) -> str:
    """The strength of augmentation where none is asked for and there is no evidence.

    One matrix cannot recognise a 7 in all its places: only convolutions gain from augmentation.
    """
    augmented = effort != "fast" and epochs >= LEAST_EPOCHS_TO_AUGMENT and model in CONVOLUTIONAL
    return "standard" if augmented else "none"


def augmentation(strength: str, flip: bool) -> "Augmentation":
    """What a strength of augmentation does to the place of an image: ``light`` shifts it, others turn and scale it."""
    from underhood.core.augment import Augmentation

    if strength == "none":
        return Augmentation(flip=flip)
    if strength == "light":
        return Augmentation(shift=0.04, flip=flip)
    return Augmentation(shift=0.07, rotation=10.0, scale=0.1, flip=flip)


def choose_tuning(
    count: int, model: str, tune: str, effort: str = "normal", epochs: int | None = None, fast_bfloat16: bool = False,
    augment: str | None = None, flip: bool | None = None,
) -> Recipe:  # fmt: skip
    """The recipe for a network with published weights. tune: ``head`` trains the last layer alone, ``all`` all layers.

    A head sees features, of which an epoch takes milliseconds. All layers start with a head that is trained already.
    """
    if tune == "head":
        usual = min(30, max(10, math.ceil(HEAD_STEPS / math.ceil(count / HEAD_BATCH))))
        return Recipe(
            model, epochs or usual, HEAD_BATCH, HEAD_LEARNING_RATE, "float32", augmentation("none", False), SMOOTHING,
            tune,
        )  # fmt: skip
    precision = "bfloat16" if fast_bfloat16 else "float32"
    moved = augmentation(augment or "standard", flip is not False)
    return Recipe(
        model, epochs or TUNE_EPOCHS, TUNE_BATCH, TUNE_LEARNING_RATE, precision, moved, SMOOTHING, tune,
        mirrored=bool(effort == "best" and flip), **(MIXED if augment == "strong" else {}),
    )  # fmt: skip


def choose_for(dataset: Dataset, config: TrainConfig, model: str | None) -> Recipe:
    """What was asked for and, for the rest, what suits the data, the effort and the device. Raises UnderhoodError."""
    fast = has_fast_bfloat16(choose_device(config.device))
    recipe = choose_recipe(
        len(dataset.train), config.effort, model, config.epochs, fast, choose_tune(model, config), config.augment,
        config.flip,
    )  # fmt: skip
    return replace(
        recipe,
        batch_size=config.batch_size or recipe.batch_size,
        lr=config.lr or recipe.lr,
        precision=config.precision or recipe.precision,
        weight_decay=choose_weight_decay(recipe, config),
    )


def choose_weight_decay(recipe: Recipe, config: TrainConfig) -> float | None:
    """What was asked for, or the recipe's, which suits AdamW alone; None: the optimizer's own."""
    if config.weight_decay is None and config.optimizer == "adamw":
        return recipe.weight_decay
    return config.weight_decay


def choose_tune(model: str | None, config: TrainConfig) -> str:
    """Which layers are trained: of a backbone the last one, if nothing else was asked for. Raises UnderhoodError."""
    from underhood.training.config import BACKBONES, WITH_WEIGHTS

    if config.tune not in (None, "none") and model not in WITH_WEIGHTS:
        raise UnderhoodError(f"--tune {config.tune} needs --model {' or '.join(WITH_WEIGHTS)}: others have no weights")
    tune = config.tune or ("head" if model in BACKBONES or config.weights is not None else "none")
    if config.weights is not None and (tune == "none" or model not in WITH_WEIGHTS or config.from_run is not None):
        needed = f"--model {' or '.join(WITH_WEIGHTS)}"
        raise UnderhoodError(f"--weights needs {needed}, with --tune head or all and without --from: omit it")
    return tune


def choose_device(device: str) -> str:
    """``auto`` is a CUDA GPU where there is one, else the CPU. Raises UnderhoodError for a GPU that is not there."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UnderhoodError("no CUDA GPU is available here: omit --device or choose --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def has_fast_bfloat16(device: str) -> bool:
    """Whether a device has instructions for bfloat16; without them it is slower than float32."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def optimizers() -> "dict[str, OptFunc]":
    """torch's optimizers by name, fused: one pass over all parameters, in a tenth of the time."""
    import torch

    return {
        "adamw": partial(_eager(torch.optim.AdamW), fused=True),
        "adam": partial(_eager(torch.optim.Adam), fused=True),
        "sgd": partial(_eager(torch.optim.SGD), momentum=0.9, nesterov=True, fused=True),
    }


def _eager(kind: "type[Optimizer]") -> Any:
    """The same optimizer without its decorators for ``torch.compile``, which import 800 modules: 76 MB and 1.6 s."""
    import torch

    names = "add_param_group", "zero_grad", "state_dict", "load_state_dict"
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(inspect.unwrap(kind.step))})
