"""From what was asked to a learner that is ready to train: what ``train``, ``ladder`` and ``lr_find`` share."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from underhood.core.errors import RunError, UnderhoodError
from underhood.core.images import Dataset
from underhood.data.read import read
from underhood.preparation.paths import expanded
from underhood.runs.folder import Run, load_run
from underhood.training.config import Request
from underhood.training.distributed import ALONE, Ranks
from underhood.training.reporter import Listener
from underhood.training.run_log import Log

if TYPE_CHECKING:
    from torch import Tensor, nn

    from underhood.core.learner import Learner
    from underhood.core.models import Architecture
    from underhood.training.recipe import Recipe


@dataclass
class Ready:
    """All that a training needs. looks: what ``watch.look_at`` has seen so far, of a run that goes on."""

    dataset: Dataset
    recipe: "Recipe"
    learn: "Learner"
    architecture: "Architecture"
    looks: "list[Tensor]" = field(default_factory=list)


def read_requested(request: Request, earlier: Run | None, listener: Listener) -> Dataset:
    """Read the request's data, prepared as the earlier run's where there is one and nothing else was asked for."""
    preparation = None
    if earlier is not None and request.size is None and request.channels is None:
        preparation = replace(earlier.preparation, fit=request.fit or earlier.preparation.fit)
    return read(
        request.data, size=request.size, channels=request.channels, fit=request.fit, preparation=preparation,
        valid=request.valid, seed=request.seed, limit=request.limit, skip_bad=request.skip_bad,
        cache=request.cache, progress=listener.reading(), bar=listener.download,
    )  # fmt: skip


def make_ready(request: Request, log: Log, listener: Listener, ranks: Ranks = ALONE) -> Ready:
    """Read, choose, build. torch is imported after the pictures are read, so that bad input is refused at once."""
    if request.device == "cuda":
        choose_device(request.device)  # refuse before the pictures are read
    earlier = load_run(expanded(request.from_run)) if request.from_run is not None else None
    with ranks.in_order():  # what one decodes is kept for the others
        dataset = read_requested(request, earlier, listener)
    describe(dataset, log)

    from underhood.core.models import count_parameters

    model = request.model or (earlier.architecture.model if earlier else None)
    recipe = choose_recipe(dataset, request, model)
    ready = make_learner(dataset, recipe, request, ranks)
    if earlier is not None:
        log.say(start_from(ready.learn.model, earlier, dataset))
    count = count_parameters(ready.learn.model)
    where = f"{ranks.size} processes, each on " if ranks.size > 1 else "on "
    log.say(f"{recipe.model}, {count:,} parameters, {where}{ready.learn.device}; effort {request.effort}")
    log.say(f"{recipe.describe()} ({request.schedule}, {request.optimizer})")
    return ready


def describe(dataset: Dataset, log: Log) -> None:
    """Say what was read, what was chosen, and what to look at."""
    counts = ", ".join(f"{len(images):,} {part}" for part, images in dataset.parts.items())
    log.say(f"{dataset.name}: {len(dataset.classes)} classes, {counts}")
    for note in dataset.notes:
        log.say(note)
    for warning in dataset.warnings:
        log.warn(warning)


def choose_recipe(dataset: Dataset, request: Request, model: str | None) -> "Recipe":
    """What was asked for, and for the rest what suits the data, the effort and the device."""
    from underhood.training.recipe import choose, has_quick_bfloat16

    quick = has_quick_bfloat16(choose_device(request.device))
    recipe = choose(len(dataset.train), request.effort, model, request.epochs, quick)
    return replace(
        recipe,
        batch_size=request.batch_size or recipe.batch_size,
        lr=request.lr or recipe.lr,
        precision=request.precision or recipe.precision,
    )


def choose_device(device: str) -> str:
    """``auto`` is a CUDA GPU where there is one, else the CPU. Raises UnderhoodError for a GPU that is not there."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UnderhoodError("no CUDA GPU is available here: leave --device out or choose --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def make_learner(dataset: Dataset, recipe: "Recipe", request: Request, ranks: Ranks = ALONE) -> Ready:
    """A learner with fresh weights from the seed; torch's own random state is left as it was."""
    import torch

    from underhood.core.learner import Learner
    from underhood.core.loader import DataLoaders
    from underhood.core.losses import cross_entropy
    from underhood.core.models import Architecture, build_model
    from underhood.core.optim import OPTIMIZERS

    device = choose_device(request.device)
    preparation = dataset.preparation
    shape = preparation.channels, preparation.height, preparation.width
    architecture = Architecture(recipe.model, *shape, len(dataset.classes))
    mean = deviation = np.ones(preparation.channels)  # the first process tells the others, who need not look
    if ranks.first:
        mean, deviation = dataset.train.pixel_statistics()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        network = build_model(architecture, mean.tolist(), deviation.tolist())
    labels = dataset.train.labels
    rarity = len(labels) / (len(dataset.classes) * np.bincount(labels))  # 1 where all classes are equally common
    drawn = rarity[labels] if request.balance == "sampler" else None
    dls = DataLoaders.from_dataset(dataset, recipe.batch_size, request.seed, device, recipe.augmentation, drawn, ranks)
    weight = torch.tensor(rarity, dtype=torch.float32, device=device) if request.balance == "weights" else None
    loss = partial(cross_entropy, weight=weight, label_smoothing=recipe.label_smoothing)
    optimizer = OPTIMIZERS[request.optimizer]
    learn = Learner(
        dls, network, loss, optimizer, device=device, precision=recipe.precision, valid_loss_func=cross_entropy,
        ranks=ranks,
    )  # fmt: skip
    return Ready(dataset, recipe, learn, architecture)


def start_from(model: "nn.Module", earlier: Run, dataset: Dataset) -> str:
    """Copy another run's weights into a model; the last layer only where the classes are the same.

    Returns a line that says what was done. Raises RunError where the networks differ otherwise.
    """
    own, theirs = model.state_dict(), earlier.model.state_dict()
    last = f"{max(int(name.split('.')[0]) for name in own)}."
    head = {name for name in own if name.startswith(last)} if earlier.classes != dataset.classes else set()
    for name, tensor in own.items():
        if name not in head and (name not in theirs or theirs[name].shape != tensor.shape):
            what = f"{earlier.architecture.model} for {earlier.preparation.describe()}"
            raise RunError(f"{earlier.path} is {what}: leave --model, --size and --channels out to start from it")
    model.load_state_dict({name: own[name] if name in head else theirs[name] for name in own})
    return f"starts from {earlier.path}" + (", with a new last layer: its classes are others" if head else "")
