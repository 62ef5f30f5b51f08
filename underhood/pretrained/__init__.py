"""Backbones: networks that come with weights trained on ImageNet's 1.28 million photographs.

``create_model`` makes a network of any name, ``core``'s or a backbone, with new random weights; ``weights.py`` finds
published weights and copies them into one.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from underhood.core.errors import DataError
from underhood.core.models import Architecture, Normalize, build_model
from underhood.pretrained import efficientnet

BACKBONES = ("efficientnet_lite0",)  # that are too large to be trained from scratch on a few thousand images
SMALLEST = 32  # pixels a side: the last stage then has one position


class Network(nn.Sequential):
    """Layers one after the other, by name: ``normalize`` first, the linear layer that gives the logits last."""

    # of batch normalisation, from the next ``train()`` on: a few images say less than a million did
    keep_statistics = False
    mirrored = False  # whether to evaluate the mirror image, too: logits are then the mean of both

    def forward(self, x: Tensor) -> Tensor:
        """Images, uint8 or float [n, c, h, w], to logits [n, classes]."""
        return self.logits_and_features(x)[0]

    def logits_and_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of images, and the input of the last layer for the images as they are: float [n, features]."""
        *body, last = self
        features = x
        for layer in body:
            features = layer(features)
        logits = last(features)
        if self.training or not self.mirrored:
            return logits, features
        columns = torch.arange(x.shape[3] - 1, -1, -1, device=x.device)  # an index is exported as it is
        return (logits + super().forward(x.index_select(3, columns))) / 2, features

    def train(self, mode: bool = True) -> "Network":
        """Training or evaluation mode, as in torch."""
        super().train(mode)
        if self.keep_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def create_model(architecture: Architecture, mean: Sequence[float] = (), std: Sequence[float] = ()) -> Network:
    """A network with new random weights, drawn from torch's global generator. It takes uint8 [n, c, h, w].

    mean, std: see ``build_model``; a backbone has those of the pixels that its published weights were trained on
    Raises UnknownNameError for an unknown model, DataError where the images are too small for it or not in colour.
    """
    if architecture.model not in BACKBONES:
        network = Network(OrderedDict(build_model(architecture, mean, std).named_children()))
        network.mirrored = architecture.mirrored
        return network
    side = min(architecture.height, architecture.width)
    if side < SMALLEST:
        size = f"images of {architecture.width} × {architecture.height} are too small for {architecture.model}"
        raise DataError(f"{size}: use --size {SMALLEST} or more, 224 at best")
    if architecture.channels != 3:
        raise DataError(
            f"{architecture.model} takes colour images: leave --channels out, grey is then repeated; and in place of "
            "--fit digit, which is grey and for digits, use crop, pad or stretch"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=Normalize(efficientnet.MEAN, efficientnet.STD))
    network = Network(layers | efficientnet.efficientnet_lite0(architecture.classes))
    network.mirrored = architecture.mirrored
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
