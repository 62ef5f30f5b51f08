"""From a configuration to a learner that is ready to train: the data, the recipe, the model."""

import inspect
import math
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.core.images import Dataset
from underhood.data.read import LoadedData, load_data
from underhood.data.split import digest
from underhood.preparation import Preparation
from underhood.preparation.files import expanduser
from underhood.runs.checkpoint import Run, load_run
from underhood.training import Reporter, RunLog
from underhood.training.config import TrainConfig
from underhood.training.distributed import SINGLE_PROCESS, Processes

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from underhood.core.augment import Augmentation
    from underhood.core.learner import Learner, OptFunc, SingleProcess
    from underhood.core.models import Architecture

LEARNING_RATE = 0.01  # suits AdamW, one cycle and every model here from 250 images to 60,000
LEAST_EPOCHS_TO_AUGMENT = 4  # images that are seen fewer times need no variety


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

    def describe(self) -> str:
        """One line, for the log."""
        a = self.augmentation
        words = f"{self.epochs} epoch{'s' * (self.epochs != 1)} of batches of {self.batch_size}, lr {self.lr:g}"
        if a:
            words += f"; data augmentation: shift {a.shift:.0%}, rotation {a.rotation:g}°, scale {a.scale:.0%}"
        words += "; matrix products in bfloat16" if self.precision == "bfloat16" else ""
        return words + (f"; label smoothing {self.label_smoothing:g}" if self.label_smoothing else "")

    def as_dict(self) -> dict[str, Any]:
        """For ``config.json``."""
        return asdict(self)


@dataclass
class Setup:
    """Everything that a training needs."""

    loaded: LoadedData
    recipe: Recipe
    learn: "Learner"
    architecture: "Architecture"
    layer_stats: "list[Tensor]" = field(default_factory=list)  # rows so far, of a resumed run: [layers, LAYER_COLUMNS]


def make_setup(
    config: TrainConfig, log: RunLog, processes: Processes = SINGLE_PROCESS, preparation: Preparation | None = None
) -> Setup:
    """Read the data, choose what was not asked for, build the learner. Raises UnderhoodError.

    preparation: of a resumed run, where it is another than the data and the options give
    torch is imported after the images are read, so that bad input is refused at once.
    """
    if config.device == "cuda":
        choose_device(config.device)  # refuse before the images are read
    earlier = load_run(expanduser(config.from_run)) if config.from_run is not None else None
    # what one process decodes is in the cache for the others on its machine
    loaded = processes.read_in_turn(lambda: load_config_data(config, earlier, log.reporter, preparation))
    log_data(loaded, log)
    model = config.model or (earlier.architecture.model if earlier else None)
    recipe = choose_for(loaded.dataset, config, model)
    if processes.world_size > 1:
        processes.require_same(shared_facts(loaded, recipe, config, earlier))
    setup = make_learner(loaded, recipe, config, processes)
    if earlier is not None:
        log.log(start_from(setup.learn.model, earlier, loaded.dataset.classes))
    count = count_parameters(setup.learn.model)
    where = f"{processes.world_size} processes, each on " if processes.world_size > 1 else "on "
    log.log(f"{setup.recipe.model}, {count:,} parameters, {where}{setup.learn.device}; effort {config.effort}")
    log.log(f"{setup.recipe.describe()} ({config.schedule}, {config.optimizer})")
    return setup


def shared_facts(loaded: LoadedData, recipe: Recipe, config: TrainConfig, earlier: Run | None) -> dict[str, Any]:
    """What must be equal in all processes that train together: descriptions and values.

    Otherwise each would train on images and labels of its own, or for another number of steps.
    """
    import underhood

    options, parts = config.as_dict(), loaded.dataset.parts.items()
    return {
        "underhood": underhood.__version__,
        "preparation": loaded.preparation.as_dict(),
        "classes": ", ".join(loaded.dataset.classes),
        **{f"numbers of {name} images": images.counts() for name, images in parts},
        **{f"{name} images": f"sha256 {digest(images)[:16]}" for name, images in parts},
        **{name: options[name] for name in ("schedule", "optimizer", "balance", "seed")},
        **recipe.as_dict(),
        "weights in --from": earlier and [float(values.sum()) for values in earlier.model.state_dict().values()],
    }


def load_config_data(
    config: TrainConfig, earlier: Run | None, reporter: Reporter, preparation: Preparation | None = None
) -> LoadedData:
    """Read the data, prepared like the earlier run's where there is one and nothing else was asked for.

    Raises UnderhoodError.
    """
    if earlier is not None and config.size is None and config.channels is None:
        preparation = replace(earlier.preparation, fit=config.fit or earlier.preparation.fit)
    return load_data(
        config.data, size=config.size, channels=config.channels, fit=config.fit, preparation=preparation,
        valid=config.valid, seed=config.seed, limit=config.limit, skip_bad=config.skip_bad,
        cache=config.cache, verify_cache=config.verify_cache, progress=reporter.read_progress(), bar=reporter.download,
    )  # fmt: skip


def log_data(loaded: LoadedData, log: RunLog) -> None:
    """Log what was read, what was chosen, and what to look at."""
    counts = ", ".join(f"{len(images):,} {part}" for part, images in loaded.dataset.parts.items())
    log.log(f"{loaded.dataset.name}: {len(loaded.dataset.classes)} classes, {counts}")
    for note in loaded.notes:
        log.log(note)
    for warning in loaded.warnings:
        log.warn(warning)


def choose_recipe(
    count: int,
    effort: str = "normal",
    model: str | None = None,
    epochs: int | None = None,
    fast_bfloat16: bool = False,
) -> Recipe:
    """The recipe for ``count`` training images: a pure function. ``model`` and ``epochs`` are kept where given.

    fast_bfloat16: whether the device multiplies it faster than float32 (``has_fast_bfloat16``)
    docs/recipes.md has the trials behind these numbers. Few images need many epochs and small batches.
    """
    from underhood.core.augment import Augmentation

    model = model or ("vgg" if effort == "best" else "conv")
    convolutional = model in ("conv", "vgg", "resnet18")
    usual = min(60, max(3, round(15 * (1440 / count) ** 0.3)))
    chosen = epochs or max(1, int(usual * {"fast": 0.35, "normal": 1, "best": 4}[effort]))
    batch_size = min(128, max(16, 2 ** round(math.log2(max(1, count / 12)))))
    # one matrix cannot recognise a 7 in all its places: only convolutions gain from augmentation
    augmented = effort != "fast" and chosen >= LEAST_EPOCHS_TO_AUGMENT and convolutional
    augmentation = Augmentation(shift=0.07, rotation=10.0, scale=0.1) if augmented else Augmentation()
    # conv gains little from bfloat16, so only where time is what counts
    halved = fast_bfloat16 and convolutional and (model != "conv" or effort == "fast")
    precision = "bfloat16" if halved else "float32"
    return Recipe(
        model, chosen, batch_size, LEARNING_RATE, precision, augmentation, 0.1 if effort == "best" else 0.0
    )  # fmt: skip


def choose_for(dataset: Dataset, config: TrainConfig, model: str | None) -> Recipe:
    """What was asked for and, for the rest, what suits the data, the effort and the device. Raises UnderhoodError."""
    fast = has_fast_bfloat16(choose_device(config.device))
    recipe = choose_recipe(len(dataset.train), config.effort, model, config.epochs, fast)
    return replace(
        recipe,
        batch_size=config.batch_size or recipe.batch_size,
        lr=config.lr or recipe.lr,
        precision=config.precision or recipe.precision,
    )


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


def make_learner(
    loaded: LoadedData, recipe: Recipe, config: TrainConfig, processes: Processes = SINGLE_PROCESS
) -> Setup:
    """A learner with new weights, drawn from the seed. torch's global random state is restored. Raises DataError."""
    import torch

    from underhood.core.learner import Learner
    from underhood.core.loader import DataLoaders
    from underhood.core.losses import cross_entropy
    from underhood.core.models import Architecture, build_model

    dataset, preparation, device = loaded.dataset, loaded.preparation, choose_device(config.device)
    shape = preparation.channels, preparation.height, preparation.width
    architecture = Architecture(recipe.model, *shape, len(dataset.classes))
    mean = std = np.ones(preparation.channels)  # other processes get the main one's with its weights
    if processes.is_main:
        mean, std = dataset.train.pixel_statistics()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build_model(architecture, mean.tolist(), std.tolist()).to(device)
    labels = dataset.train.labels
    rarity = len(labels) / (len(dataset.classes) * np.bincount(labels))  # 1 where all classes are equally frequent
    dls = DataLoaders.from_dataset(
        dataset, recipe.batch_size, config.seed, device=device, augmentation=recipe.augmentation,
        weights=rarity[labels] if config.balance == "sampler" else None,
    )  # fmt: skip
    processes.shard_loader(dls.train)
    weight = torch.tensor(rarity, dtype=torch.float32, device=device) if config.balance == "weights" else None
    loss_func = partial(cross_entropy, weight=weight, label_smoothing=recipe.label_smoothing)
    optimizer = optimizers()[config.optimizer]
    learn = Learner(dls, network, loss_func, optimizer, processes=cast("SingleProcess", processes))
    learn.valid_loss_func = cross_entropy
    learn.forward = autocast(processes.wrap(network), device, recipe.precision)
    return Setup(loaded, recipe, learn, architecture)


def autocast(model: "nn.Module", device: str, precision: str) -> Any:
    """The model as a function of images [n, c, h, w], its matrix products at this precision: float32 [n, classes]."""
    if precision == "float32":
        return model
    import torch

    def forward(x: "Tensor") -> "Tensor":
        with torch.autocast(device, torch.bfloat16):
            return model(x).float()

    return forward


def start_from(model: "nn.Module", earlier: Run, classes: tuple[str, ...]) -> str:
    """Copy another run's weights into a model; the last layer only where the classes are the same.

    Returns a line for the log. Raises RunError where the networks differ otherwise.
    """
    own, theirs = model.state_dict(), earlier.model.state_dict()
    last = f"{max(int(name.split('.')[0]) for name in own)}."
    head = {name for name in own if name.startswith(last)} if earlier.classes != classes else set()
    for name, tensor in own.items():
        if name not in head and (name not in theirs or theirs[name].shape != tensor.shape):
            what = f"{earlier.architecture.model} for {earlier.preparation.describe()}"
            raise RunError(f"{earlier.path} is {what}: omit --model, --size and --channels to start from it")
    model.load_state_dict({name: own[name] if name in head else theirs[name] for name in own})
    return f"starts from {earlier.path}" + (", with a new last layer, as its classes differ" if head else "")


def count_parameters(model: "nn.Module") -> int:
    """How many numbers training adjusts."""
    return sum(parameter.numel() for parameter in model.parameters())
