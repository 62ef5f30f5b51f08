"""The networks, by name. Each takes pixels as they are, uint8 [n, c, h, w], and returns logits [n, classes].

The first layer normalises with the training images' mean and standard deviation, so that both travel with the weights.

    linear   one matrix: chapter 4's first model
    net      linear to 30 activations, ReLU, linear: chapter 4's simple net
    conv     three convolutions: small and fast
    vgg      five wider ones, after Simonyan and Zisserman (2014): the most accurate in ten minutes on two cores
    resnet18 He et al.'s ResNet-18 (2015), with a stem that suits the images' size
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from underhood.core.errors import DataError, UnknownNameError

STEMS = {"small": (3, 1), "halving": (3, 2), "published": (7, 2)}  # resnet18's first convolution: kernel size, stride


@dataclass(frozen=True)
class Architecture:
    """Everything that is needed to build a model: stored with the weights."""

    model: str
    channels: int
    height: int  # pixels
    width: int
    classes: int  # how many logits
    stem: str | None = None  # how resnet18 begins, one of ``STEMS``: by default what suits the shorter side
    mirrored: bool = False  # whether predictions are the mean over the image and its mirror image

    def __post_init__(self) -> None:
        if self.model == "resnet18" and self.stem is None:
            side = min(self.height, self.width)
            object.__setattr__(self, "stem", "published" if side >= 64 else "halving" if side >= 16 else "small")
        if self.stem not in (None, *STEMS):
            raise UnknownNameError("stem", str(self.stem), STEMS)
        numbers = self.channels, self.height, self.width, self.classes
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise ValueError(f"channels, height, width and classes must be whole numbers above 0, not {numbers}")


def build_model(architecture: Architecture, mean: Sequence[float] = (), std: Sequence[float] = ()) -> nn.Sequential:
    """A network with new random weights, drawn from torch's global generator.

    mean, std: of the training pixels, one for each channel, 0 to 255; by default those of a uniform distribution
    Raises UnknownNameError for a model that is none of ``MODELS``, DataError where the images are too small for it.
    """
    if architecture.model not in MODELS:
        raise UnknownNameError("model", architecture.model, MODELS)
    height, width, count = architecture.height, architecture.width, architecture.channels
    if min(height, width) < {"conv": 4, "resnet18": 8}.get(architecture.model, 1):
        size = f"images of {width} × {height} are too small for {architecture.model}"
        raise DataError(f"{size}: use --size 8 or --model linear")
    normalize = Normalize(mean if len(mean) else [127.5] * count, std if len(std) else [73.9] * count)
    network = nn.Sequential(normalize, *MODELS[architecture.model](architecture))
    # On a CPU, convolutions are a third faster with channels last. torch's stubs do not know the argument.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Normalize(nn.Module):
    """Pixels from 0 to 255, uint8 or float [n, c, h, w], to mean 0 and standard deviation 1, float32 [n, c, h, w]."""

    mean: Tensor
    deviation: Tensor  # the standard deviation, under the name that it has in saved weights

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))  # [c, 1, 1]
        self.register_buffer("deviation", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))  # [c, 1, 1]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pixels, float32 [n, c, h, w]."""
        centred = x.float() - self.mean if x.is_floating_point() else x.float().sub_(self.mean)  # in place on a copy
        return centred.div_(self.deviation)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that takes a batch of one value per channel, as a last batch of one image may be."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalised activations [n, features, h, w]."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            statistics = self.running_mean, self.running_var
            return nn.functional.batch_norm(x, *statistics, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _linear(a: Architecture) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(a.channels * a.height * a.width, a.classes)]


def _net(a: Architecture, hidden: int = 30) -> list[nn.Module]:
    inputs = a.channels * a.height * a.width
    return [nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, a.classes)]


def _conv(a: Architecture) -> list[nn.Module]:
    """5 × 5, then twice 3 × 3. From 16 pixels on, the first convolution, the slowest, halves the image."""
    stride = 2 if min(a.height, a.width) >= 16 else 1
    height, width = (math.ceil(side / stride) // 4 for side in (a.height, a.width))  # after both poolings
    pool = math.ceil(height / 4), math.ceil(width / 4)  # leaves at most 4 × 4 positions
    positions = math.ceil(height / pool[0]) * math.ceil(width / pool[1])
    return [
        *_convolution(a.channels, 16, 5, stride),  # [n, 16, 14, 14] for 28 × 28 pixels
        # Pooling before normalising: what it drops need not be normalised (as in K. Jordan's airbench, 2024).
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.MaxPool2d(2), BatchNorm(32), nn.ReLU(),  # [n, 32, 7, 7]
        nn.Conv2d(32, 48, 3, padding=1, bias=False), nn.MaxPool2d(2), BatchNorm(48), nn.ReLU(),  # [n, 48, 3, 3]
        *([nn.AvgPool2d(pool, ceil_mode=True)] if pool != (1, 1) else []),
        nn.Flatten(),  # [n, 48 · positions]
        nn.Linear(48 * positions, a.classes),
    ]  # fmt: skip


def _vgg(a: Architecture) -> list[nn.Module]:
    """5 × 5, then pairs of 3 × 3 with 64 and 128 features; last, each feature's maximum over the image."""
    stride = 2 if min(a.height, a.width) >= 16 else 1
    return [
        *_convolution(a.channels, 64, 5, stride),  # [n, 64, 14, 14] for 28 × 28 pixels
        *_convolution(64, 64, 3), *_convolution(64, 64, 3), nn.MaxPool2d(2, ceil_mode=True),  # [n, 64, 7, 7]
        *_convolution(64, 128, 3), *_convolution(128, 128, 3), nn.AdaptiveMaxPool2d(1),  # [n, 128, 1, 1]
        nn.Flatten(), nn.Linear(128, a.classes),
    ]  # fmt: skip


def _convolution(channels: int, features: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(channels, features, kernel, stride, padding=kernel // 2, bias=False)
    return [conv, BatchNorm(features), nn.ReLU()]


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut around them."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(features)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != features:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, features, 1, stride, bias=False), BatchNorm(features))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] to [n, features, h / stride, w / stride]."""
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.shortcut(x)).relu()


def _resnet18(a: Architecture) -> list[nn.Module]:
    """Four stages of two blocks, 64 to 512 features, each but the first halving; then the mean over the image."""
    pooled = [nn.MaxPool2d(3, 2, padding=1)] if a.stem == "published" else []
    network = [*_convolution(a.channels, 64, *STEMS[a.stem or ""]), *pooled]
    for inputs, features, stride in [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]:
        network += [ResidualBlock(inputs, features, stride), ResidualBlock(features, features, 1)]
    network += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, a.classes)]  # [n, 512] to [n, classes]
    for module in nn.Sequential(*network).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


MODELS = {"linear": _linear, "net": _net, "conv": _conv, "vgg": _vgg, "resnet18": _resnet18}  # layers after Normalize
