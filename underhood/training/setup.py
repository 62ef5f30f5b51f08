"""From a configuration to a learner that is ready to train: the data, the recipe, the model."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.core.errors import RunError
from underhood.data.read import LoadedData, load_data
from underhood.data.split import digest
from underhood.preparation import Preparation, get_fit
from underhood.preparation.files import expanduser
from underhood.runs import sha256
from underhood.runs.checkpoint import Run, load_run
from underhood.training import Reporter, RunLog
from underhood.training.config import BACKBONES, WITH_WEIGHTS, TrainConfig
from underhood.training.distributed import SINGLE_PROCESS, Processes
from underhood.training.learners import Progress, Setup, learner_on, sampling_weights
from underhood.training.recipe import Recipe, choose_device, choose_for

if TYPE_CHECKING:
    from torch import nn


BACKBONE_SIZES = {"fast": 128, "normal": 224, "best": 288}  # pixels a side, by effort: docs/recipes.md


def make_setup(
    config: TrainConfig, log: RunLog, processes: Processes = SINGLE_PROCESS, preparation: Preparation | None = None,
    restored: bool = False, recipe: Recipe | None = None, loaded: LoadedData | None = None,
) -> Setup:  # fmt: skip
    """Read the data, choose what was not asked for, build the learner. Raises UnderhoodError.

    preparation: of a resumed run, where it is another than the data and the options give
    restored: whether a state of what the learner trains will be loaded, so that its weights need not be found
    recipe: of a resumed run, which is not chosen again; loaded: the data, where it is read already
    torch is imported after the images are read, so that bad input is refused at once.
    """
    if config.device == "cuda":
        choose_device(config.device)  # refuse before the images are read
    earlier = load_run(expanduser(config.from_run)) if config.from_run is not None else None
    # what one process decodes is in the cache for the others on its machine
    loaded = processes.read_in_turn(lambda: loaded or load_config_data(config, earlier, log.reporter, preparation))
    log_data(loaded, log)
    model = config.model or (earlier.architecture.model if earlier else None)
    recipe = recipe or choose_for(loaded.dataset, config, model)
    if processes.world_size > 1:
        processes.require_same(shared_facts(loaded, recipe, config, earlier))
    if recipe.tune == "head" and (config.augment or config.flip is not None):
        log.warn(
            "--augment and --flip have no effect on a frozen backbone: its features are those of images as they are"
        )
    progress = partial(log.reporter.progress, "computing features")
    setup = make_learner(loaded, recipe, config, processes, earlier, progress, restored)
    if setup.note:
        log.log(setup.note)
    count = count_parameters(setup.network)
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


def has_published_weights(config: TrainConfig) -> bool:
    """Whether the model that was asked for has weights that were trained on photographs."""
    return config.model in BACKBONES or (config.model in WITH_WEIGHTS and config.tune not in (None, "none"))


def why_no_backbone(config: TrainConfig) -> str:
    """Why the options leave no room for a backbone; empty where they do."""
    from underhood.pretrained import SMALLEST

    if config.tune == "none":
        return "--tune none trains from scratch"
    if config.channels == 1:
        return "--channels 1, and a backbone takes colour images"
    if config.size is not None and config.size < SMALLEST:
        return f"--size {config.size}, and a backbone takes {SMALLEST} pixels or more"
    if config.fit is not None and get_fit(config.fit).reads_digits:
        return f"--fit {config.fit} prepares digits"
    return ""


def load_config_data(
    config: TrainConfig, earlier: Run | None, reporter: Reporter, preparation: Preparation | None = None
) -> LoadedData:
    """Read the data, prepared like the earlier run's where there is one and nothing else was asked for.

    Raises UnderhoodError.
    """
    size, channels, fit = shape_for(config, earlier)
    if earlier is not None and config.size is None and config.channels is None:
        preparation = replace(earlier.preparation, fit=config.fit or earlier.preparation.fit)
    loaded = load_data(
        config.data, size=size, channels=channels, fit=fit, preparation=preparation,
        valid=config.valid, seed=config.seed, limit=config.limit, skip_bad=config.skip_bad,
        cache=config.cache, verify_cache=config.verify_cache, progress=reporter.read_progress(), bar=reporter.download,
        group_by=config.group_by,
    )  # fmt: skip
    if earlier is None and has_published_weights(config):
        loaded.notes[0] = f"{loaded.preparation.describe()} (for {config.model}, {fit})"
    return loaded


def shape_for(config: TrainConfig, earlier: Run | None = None) -> tuple[int | None, int | None, str | None]:
    """Size, channels and fit that were asked for, and else those of a backbone; None: chosen from the images."""
    if earlier is not None and earlier.architecture.model in BACKBONES:  # which take images of any size
        before = earlier.preparation
        return config.size or before.height, config.channels or before.channels, config.fit or before.fit
    if has_published_weights(config):
        return config.size or BACKBONE_SIZES[config.effort], config.channels or 3, config.fit or "crop"
    return config.size, config.channels, config.fit


def log_data(loaded: LoadedData, log: RunLog) -> None:
    """Log what was read, what was chosen, and what to look at."""
    counts = ", ".join(f"{len(images):,} {part}" for part, images in loaded.dataset.parts.items())
    log.log(f"{loaded.dataset.name}: {len(loaded.dataset.classes)} classes, {counts}")
    for note in loaded.notes:
        log.log(note)
    first = loaded.dataset.train.pixels[:1000]
    if first.shape[1] == 3 and (first == first[:, :1]).all():
        log.log("the images are grey: repeated in three channels")
    for warning in loaded.warnings:
        log.warn(warning)


def make_network(
    loaded: LoadedData, recipe: Recipe, config: TrainConfig, processes: Processes, earlier: Run | None,
    restored: bool = False,
) -> Setup:  # fmt: skip
    """The network to train, without a learner. Raises UnderhoodError.

    Its weights are random, drawn from the seed; published ones where ``tune`` is not ``none``; or another run's. Only
    the main process needs to read them: the others get them from there.
    """
    import torch

    from underhood.core.models import Architecture
    from underhood.pretrained import create_model
    from underhood.training.tune import start_from_published

    preparation, dataset = loaded.preparation, loaded.dataset
    shape = preparation.channels, preparation.height, preparation.width
    stem = "published" if recipe.model == "resnet18" and recipe.tune != "none" else None
    architecture = Architecture(recipe.model, *shape, len(dataset.classes), stem, recipe.mirrored)
    mean = std = np.ones(preparation.channels)
    if processes.is_main and recipe.tune == "none":  # published weights come with theirs
        mean, std = dataset.train.pixel_statistics()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = create_model(architecture, mean.tolist(), std.tolist())
    network.keep_statistics = recipe.tune != "none"
    setup = Setup(loaded, recipe, architecture, network, processes)
    if earlier is not None and processes.is_main:
        setup.note = start_from(network, earlier, dataset.classes)
        setup.weights = sha256(earlier.path / "weights.safetensors")
        setup.published = earlier.pretrained
    elif recipe.tune == "head" or (recipe.tune == "all" and not restored):
        start_from_published(setup, config)
    network.to(choose_device(config.device))
    return setup


def make_learner(
    loaded: LoadedData, recipe: Recipe, config: TrainConfig, processes: Processes = SINGLE_PROCESS,
    earlier: Run | None = None, progress: Progress | None = None, restored: bool = False,
) -> Setup:  # fmt: skip
    """A learner and its network. torch's global random state is restored. Raises UnderhoodError.

    earlier: a run whose weights it starts from; restored: see ``make_setup``; progress: called while features are
    computed, see ``image_features``
    """
    from underhood.core.loader import DataLoaders
    from underhood.training.regularisers import Regularisers
    from underhood.training.tune import head_setup, train_head

    setup = make_network(loaded, recipe, config, processes, earlier, restored)
    if recipe.tune == "head":
        return head_setup(setup, config, progress)
    if recipe.tune == "all" and processes.is_main and not restored:
        train_head(setup, config, progress)
    dls = DataLoaders.from_dataset(
        loaded.dataset, recipe.batch_size, config.seed, device=choose_device(config.device),
        augmentation=recipe.augmentation, weights=sampling_weights(loaded.dataset.train, config),
        transform=Regularisers(len(loaded.dataset.classes), recipe.jitter, recipe.cutmix),
    )  # fmt: skip
    setup.learn = learner_on(dls, setup.network, setup, config)
    return setup


def start_from(model: "nn.Module", earlier: Run, classes: tuple[str, ...]) -> str:
    """Copy another run's weights into a model; the last layer only where the classes are the same.

    Returns a line for the log. Raises RunError where the networks differ otherwise.
    """
    own, theirs = model.state_dict(), earlier.model.state_dict()
    last = f"{[name for name, _ in model.named_children()][-1]}."
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
