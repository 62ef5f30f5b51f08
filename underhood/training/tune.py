"""Training on published weights: the last layer alone, on features that are computed once, or then all layers.

A last layer with random weights would spoil the layers before it by its first steps. So it is trained alone first.
Layers near the input see edges and colours, which are the same in all photographs: they learn the most slowly.
"""

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from underhood.core.images import Images
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.schedule import SCHEDULES
from underhood.pretrained.features import image_features
from underhood.pretrained.weights import copy_weights, find_weights
from underhood.training.config import TrainConfig
from underhood.training.distributed import SINGLE_PROCESS
from underhood.training.learners import Progress, Setup, learner_on, sampling_weights
from underhood.training.recipe import choose_device, choose_tuning
from underhood.training.threads import cpu_threads

if TYPE_CHECKING:
    from underhood.training.recipe import Recipe


def start_from_published(setup: Setup, config: TrainConfig) -> None:
    """Copy published weights into the network, but for the last layer, which starts at zero. Raises UnderhoodError."""
    if setup.processes.is_main:
        weights = find_weights(setup.recipe.model, None if config.weights is None else str(config.weights))
        copy_weights(setup.network, weights)
        setup.weights, setup.published = weights.sha256, weights.record()
        setup.note = f"starts from the weights of {weights.source}"
    reset_head(setup)


def reset_head(setup: Setup) -> None:
    """Set the last layer to zero: every class is then equally probable."""
    for parameter in last_layer(setup.network).parameters():
        nn.init.zeros_(parameter)


def last_layer(network: nn.Sequential) -> nn.Sequential:
    """The linear layer that gives the logits, under its own name. It is shared with the network."""
    name, layer = list(network.named_children())[-1]
    return nn.Sequential(OrderedDict({name: layer}))


def features_of(
    setup: Setup, images: Images, config: TrainConfig, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """(features float32 [n, features], labels [n]) of images. The main process computes them for all."""
    found = None
    if setup.processes.is_main:
        with cpu_threads(setup, config.threads):
            weights = setup.weights if config.cache else None
            found = image_features(setup.network, images, weights, choose_device(config.device), progress)
    return setup.processes.broadcast(found), torch.from_numpy(images.labels)


def head_setup(setup: Setup, config: TrainConfig, progress: Progress | None = None) -> Setup:
    """A setup whose learner trains the last layer on features."""
    dataset = setup.loaded.dataset
    train = features_of(setup, dataset.train, config, progress)
    valid = features_of(setup, dataset.valid, config, progress)
    return head_on(setup, train, valid, config)


def head_on(setup: Setup, train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor], config: TrainConfig) -> Setup:
    """``head_setup`` for features that are computed already [n, features], with their labels [n]."""
    device = choose_device(config.device)
    weights = sampling_weights(setup.loaded.dataset.train, config)
    loader = DataLoader(train, setup.recipe.batch_size, shuffle=True, seed=config.seed, device=device, weights=weights)
    dls = DataLoaders(loader, DataLoader(valid, 256, device=device), setup.loaded.dataset.classes)
    setup.learn = learner_on(dls, last_layer(setup.network), setup, config)
    return setup


def train_head(setup: Setup, config: TrainConfig, progress: Progress | None = None) -> None:
    """Train the last layer alone, before all layers are trained."""
    train = setup.loaded.dataset.train
    recipe: Recipe = choose_tuning(len(train), setup.recipe.model, "head")
    alone = replace(setup, recipe=recipe, processes=SINGLE_PROCESS)  # the other processes wait for the result
    known = features_of(alone, train, config, progress)
    head = head_on(alone, known, known, config)
    for _ in head.learn.steps(recipe.epochs, recipe.lr, SCHEDULES["onecycle"]):
        pass
