"""A network, its data and its recipe as a learner: of the whole network, or of its last layer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from underhood.core.images import Images
from underhood.data.read import LoadedData
from underhood.runs.interventions import Intervention
from underhood.training.config import TrainConfig
from underhood.training.distributed import SINGLE_PROCESS, Processes
from underhood.training.recipe import Recipe, choose_device, optimizers

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from underhood.core.learner import Learner, OptFunc, SingleProcess
    from underhood.core.loader import DataLoaders
    from underhood.core.models import Architecture
    from underhood.pretrained import Network

LAYER_DECAY = 0.7  # of the learning rate, from each group of layers to the one before it
Progress = Callable[[int, int], None]  # (done, total)


@dataclass
class Setup:
    """Everything that a training needs."""

    loaded: LoadedData
    recipe: Recipe
    architecture: "Architecture"
    network: "Network"  # from pixels to logits: what is measured and saved
    processes: Processes = SINGLE_PROCESS
    learn: "Learner" = field(init=False)  # trains the network, or its last layer
    weights: str | None = None  # SHA-256 of the file that they come from; None: random
    published: dict[str, str | None] | None = None  # where published weights come from
    note: str = ""  # where the weights come from, for the log
    layer_stats: "list[Tensor]" = field(default_factory=list)  # rows so far, of a resumed run: [layers, LAYER_COLUMNS]
    interventions: list[Intervention] = field(default_factory=list)  # changes by hand that were recorded


def sampling_weights(images: Images, config: TrainConfig) -> np.ndarray | None:
    """How often to draw each image, float [n], with ``--balance sampler``; None otherwise."""
    return _rarity(images)[images.labels] if config.balance == "sampler" else None


def _rarity(images: Images) -> np.ndarray:
    """How rare each class is, float [classes]: 1 where all are equally frequent."""
    counts = np.bincount(images.labels, minlength=len(images.classes))
    return len(images) / (len(images.classes) * np.maximum(counts, 1))  # a fold may have none of a rare class


def learner_on(dls: "DataLoaders", model: "nn.Module", setup: Setup, config: TrainConfig) -> "Learner":
    """A learner of a model, all of the network or its last layer, on batches of what the model takes."""
    import torch

    from underhood.core.learner import Learner
    from underhood.core.losses import cross_entropy

    device, recipe = choose_device(config.device), setup.recipe
    weight = None
    if config.balance == "weights":
        weight = torch.tensor(_rarity(setup.loaded.dataset.train), dtype=torch.float32, device=device)
    loss_func = partial(cross_entropy, weight=weight, label_smoothing=recipe.label_smoothing)
    optimizer = optimizers()[config.optimizer]
    if recipe.weight_decay is not None:
        optimizer = partial(optimizer, weight_decay=recipe.weight_decay)
    if recipe.tune == "all":  # of a network, whose parameters come in groups
        optimizer = partial(_of_groups, optimizer, layer_groups(setup.network))
    setup.processes.shard_loader(dls.train)
    learn = Learner(dls, model, loss_func, optimizer, processes=cast("SingleProcess", setup.processes))
    learn.valid_loss_func = cross_entropy
    learn.forward = autocast(setup.processes.wrap(model), device, recipe.precision)
    return learn


def _of_groups(optimizer: "OptFunc", groups: list[dict[str, Any]], _: Any, lr: float) -> "Optimizer":
    return optimizer(groups, lr=lr)


def autocast(model: "nn.Module", device: str, precision: str) -> Any:
    """The model as a function of images [n, c, h, w], its matrix products at this precision: float32 [n, classes]."""
    if precision == "float32":
        return model
    import torch

    def forward(x: "Tensor") -> "Tensor":
        with torch.autocast(device, torch.bfloat16):
            return model(x).float()

    return forward


def layer_groups(network: "nn.Sequential") -> list[dict[str, Any]]:
    """The parameters as an optimizer's groups, in their order, each with ``lr_scale``: 1 for the last layer."""
    from torch import nn

    units: list[nn.Module] = []
    for child in network.children():
        units += child.children() if isinstance(child, nn.Sequential) else [child]
    groups = [{"params": list(unit.parameters())} for unit in units]
    groups = [group for group in groups if group["params"]]
    return [group | {"lr_scale": LAYER_DECAY ** (len(groups) - 1 - i)} for i, group in enumerate(groups)]
