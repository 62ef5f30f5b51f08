"""The options of a training, declared once: type, default, range and help.

``TrainConfig`` is what a run stores in ``config.json``. The command line's flags are made from it. ``TrainOptions``
says the same to type checkers, for ``underhood.train(**options)``; a test compares the two.
"""

import operator
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypedDict, get_args, get_origin

from underhood.core.errors import UnknownNameError

ModelName = Literal["linear", "net", "conv", "vgg", "resnet18", "efficientnet_lite0"]
Tune = Literal["none", "head", "all"]
ScheduleName = Literal["onecycle", "flat"]
OptimizerName = Literal["adamw", "adam", "sgd"]
Effort = Literal["fast", "normal", "best"]
Balance = Literal["none", "weights", "sampler"]
Precision = Literal["float32", "bfloat16"]
Augment = Literal["none", "light", "standard", "strong"]
FitName = Literal["pad", "crop", "stretch", "digit"]
Device = Literal["auto", "cpu", "cuda"]
Tracker = Literal["tensorboard"]  # needs the library of its name
BACKBONES = ("efficientnet_lite0",)  # that are used with published weights, if nothing else is asked for
WITH_WEIGHTS = ("efficientnet_lite0", "resnet18")  # that others have published weights for
DATA_SETS = ("digits", "mnist", "mnist-3v7", "fashion-mnist")
DIGIT_SETS = ("digits", "mnist", "mnist-3v7")  # of which is known what suits them
MAX_LR = 1000.0
MAX_THREADS = 1024
KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}  # for error messages


def option(default: Any, help: str, flag: str = "", **limits: float) -> Any:
    """A field of ``TrainConfig``.

    help: for ``--help``; flag: on the command line, where it is not the field's name
    limits: of a number, any of ``least``, ``most`` (which it may be), ``above`` and ``below`` (which it may not be)
    """
    metadata = {"help": help, "flag": flag} | dict.fromkeys(("least", "most", "above", "below")) | limits
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """The options of ``train``. None: chosen from the data. Raises ValueError or UnderhoodError."""

    data: str | Path = "digits"
    model: ModelName | None = option(
        None, "linear, net, conv, vgg, resnet18 or efficientnet_lite0. Chosen by cross-validation, or as --from."
    )
    tune: Tune | None = option(
        None, "Of a model with published weights: train the head (the last layer), all layers, or none: from scratch."
    )
    weights: str | Path | None = option(
        None, "Published weights: a file, a folder, or a repository on the Hugging Face hub. Chosen by model."
    )
    epochs: int | None = option(None, "Passes over the training images. Chosen from their number.", least=1, most=10**6)
    batch_size: int | None = option(None, "Images per step. Chosen from their number.", least=1)
    lr: float | None = option(
        None,
        "Highest learning rate. Chosen by model: 0.01 from scratch, 0.002 for a head, 0.0005 for all layers.",
        above=0,
        most=MAX_LR,
    )
    schedule: ScheduleName = option("onecycle", "Learning-rate schedule: onecycle or flat.")
    optimizer: OptimizerName = option("adamw", "adamw, adam, or sgd with Nesterov momentum.")
    weight_decay: float | None = option(
        None,
        "Weight decay. Chosen by recipe and optimizer: 0.01 for adamw, 0.1 where images are mixed, else 0.",
        least=0,
        most=MAX_LR,
    )
    augment: Augment | None = option(
        None, "Data augmentation: none, light, standard or strong. Chosen by cross-validation, or by model and effort."
    )
    flip: bool | None = option(
        None,
        "Mirror half of the training images, or none. Chosen by cross-validation; with --model: of --tune all alone.",
        flag="--flip/--no-flip",
    )
    effort: Effort = option("normal", "fast, normal or best: how much time may be spent on accuracy.")
    balance: Balance = option("none", "For rare classes: none, weights (in the loss) or sampler (drawn more often).")
    precision: Precision | None = option(
        None, "float32, or bfloat16 for the model's matrix products. Chosen by model and device."
    )
    size: int | None = option(None, "Pixels per side. Chosen from the images.", least=1, most=1024)
    channels: Literal[1, 3] | None = option(None, "1 grey, 3 colour. Chosen from the images.")
    fit: FitName | None = option(
        None, "How an image of another shape fits: pad, crop or stretch; digit: prepared like MNIST."
    )
    valid: float | None = option(None, "Fraction held out where DATA has no validation part: 0.2.", above=0, below=1)
    seed: int = option(
        0, "Random seed of the split, the initial weights and the order of the images.", least=0, most=2**32 - 1
    )
    device: Device = option("auto", "auto, cpu or cuda.")
    threads: int | None = option(
        None, "CPU threads. Chosen from the work in a step and the CPUs that may be used.", least=1, most=MAX_THREADS
    )
    from_run: str | Path | None = option(None, "Start from another run's weights.", flag="--from")
    group_by: str | None = option(
        None, "Regular expression: images with equal matches in their paths are a group, which no split divides."
    )
    folds: int | None = option(
        None, "Also cross-validate on the training images, in this many folds. Trains that many more models.",
        least=2, most=100,
    )  # fmt: skip
    limit: int | None = option(None, "Use at most this many training images, each class in proportion.", least=2)
    skip_bad: bool = option(False, "Leave unreadable images out, and record them.")
    cache: bool = option(True, "Do not cache decoded pixels.", flag="--no-cache")
    verify_cache: bool = option(False, "Compare all cached pixels with their hashes, and not only a sample.")
    save_every: float = option(30.0, "Seconds between two saved states within an epoch.", least=0, most=1e9)
    reject: float = option(
        0.01, "Fraction of images like the validation images that the model may reject.", least=0, below=1
    )
    coverage: float = option(
        0.95, "Fraction of images whose prediction set is to hold their class.", least=0.5, below=1
    )
    report: bool = option(True, "Write no report.html.", flag="--no-report")
    snapshots: bool = option(
        True, "Keep no snapshots of the weights, which `replay` and `explore` show.", flag="--no-snapshots"
    )
    track: Tracker | None = option(
        None, "tensorboard: also write losses, learning rate and metrics to RUN/tensorboard."
    )

    def __post_init__(self) -> None:
        for one in fields(self)[1:]:
            check_value(one, getattr(self, one.name))
        if self.fit is not None:
            from underhood.preparation import check_options

            check_options(self.fit, self.channels)
        if self.group_by is not None:
            from underhood.data.groups import check_pattern

            check_pattern(self.group_by)
        if self.folds is not None and self.from_run is not None:
            raise ValueError("folds and --from do not go together: that run may know the images of a fold. Omit one")

    @property
    def label(self) -> str:
        """The data's name, for the name of a run folder."""
        return str(self.data) if str(self.data) in DATA_SETS else _absolute(self.data).name

    def as_dict(self) -> dict[str, Any]:
        """For ``config.json``: with absolute paths, so that it holds wherever it is read."""
        data = str(self.data) if str(self.data) in DATA_SETS else str(_absolute(self.data))
        from_run = None if self.from_run is None else str(_absolute(self.from_run))
        weights = None if self.weights is None else str(self.weights)
        if weights and _absolute(weights).exists():  # else it is a name on the hub
            weights = str(_absolute(weights))
        return asdict(self) | {"data": data, "from_run": from_run, "weights": weights}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "TrainConfig":
        """The configuration in a stored one; other keys are ignored."""
        return cls(**{one.name: stored[one.name] for one in fields(cls) if one.name in stored})


class TrainOptions(TypedDict, total=False):
    """The options of ``train`` as keyword arguments: the fields of ``TrainConfig`` without ``data``."""

    model: ModelName | None
    tune: Tune | None
    weights: str | Path | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    schedule: ScheduleName
    optimizer: OptimizerName
    weight_decay: float | None
    augment: Augment | None
    flip: bool | None
    effort: Effort
    balance: Balance
    precision: Precision | None
    size: int | None
    channels: Literal[1, 3] | None
    fit: FitName | None
    valid: float | None
    seed: int
    device: Device
    threads: int | None
    from_run: str | Path | None
    group_by: str | None
    folds: int | None
    limit: int | None
    skip_bad: bool
    cache: bool
    verify_cache: bool
    save_every: float
    reject: float
    coverage: float
    report: bool
    snapshots: bool
    track: Tracker | None


TYPES: dict[str, Any] = {one.name: one.type for one in fields(TrainConfig)}


def choices(name: str) -> tuple[Any, ...]:
    """The values that an option can have, where its type lists them; () elsewhere."""
    for kind in get_args(TYPES[name]) if isinstance(TYPES[name], UnionType) else (TYPES[name],):
        if get_origin(kind) is Literal:
            return get_args(kind)
    parts = get_args(TYPES[name])  # typing's own union of a Literal and None
    return next((get_args(part) for part in parts if get_origin(part) is Literal), ())


def _absolute(path: str | Path) -> Path:
    from underhood.preparation.files import expanduser  # imports numpy, which --help need not wait for

    return expanduser(path).resolve()


def _accepted(name: str) -> tuple[type, ...]:
    """The classes of an option's values: of its type without None; a Literal's values have theirs."""
    if choices(name):
        return (type(choices(name)[0]),)
    declared = get_args(TYPES[name]) or (TYPES[name],)
    kinds = [kind for kind in declared if kind is not type(None)]
    return (*kinds, *((int,) if float in kinds else ()))


def check_value(one: "Field[Any]", value: Any) -> None:
    """Raise UnknownNameError or ValueError unless ``value`` is allowed for the option, a field of TrainConfig."""
    if value is None and one.default is None:
        return
    known, meta = choices(one.name), one.metadata
    if not isinstance(value, _accepted(one.name)) or (isinstance(value, bool) and bool not in _accepted(one.name)):
        raise ValueError(f"{one.name} must be {KINDS[_accepted(one.name)[0]]}, not {value!r}")
    if value not in known and isinstance(next(iter(known), None), str):
        raise UnknownNameError(one.name, str(value), known)
    if known and value not in known:
        raise ValueError(f"{one.name} must be {' or '.join(map(str, known))}, not {value}")
    limits: dict[str, tuple[Any, Any]] = {
        "at least": (meta["least"], operator.ge),
        "at most": (meta["most"], operator.le),
        "above": (meta["above"], operator.gt),
        "below": (meta["below"], operator.lt),
    }
    for words, (limit, holds) in limits.items():
        if limit is not None and not holds(value, limit):
            raise ValueError(f"{one.name} must be {words} {limit:g}, not {value}")
