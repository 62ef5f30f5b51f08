"""The networks, by name. Each takes pictures as they are, uint8 [n, c, h, w], and gives one logit a class [n, classes].

The first layer subtracts the training pictures' mean and divides by their deviation, so that both travel with the
weights wherever the model goes.

    linear   one matrix: chapter 4's first model
    net      linear, ReLU, linear with 30 hidden activations: chapter 4's simple net
    conv     three convolutions: small and quick
    vgg      five wider ones in pairs, after Simonyan and Zisserman (2014): the most accurate for its time
    resnet18 He and others' ResNet-18 (2015), with a stem that suits the pictures' size
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from underhood.core.errors import DataError, UnknownNameError


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a model anew: stored with the weights.

    channels, height, width: of the pictures it takes, in pixels
    classes: how many logits it gives
    stem: how resnet18 begins, one of ``STEMS``; without it, by size (``choose_stem``)
    """

    model: str
    channels: int
    height: int
    width: int
    classes: int
    stem: str | None = None

    def __post_init__(self) -> None:
        if self.model == "resnet18" and self.stem is None:
            object.__setattr__(self, "stem", choose_stem(min(self.height, self.width)))
        if self.stem not in (None, *STEMS):
            raise UnknownNameError("stem", str(self.stem), STEMS)
        numbers = self.channels, self.height, self.width, self.classes
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise ValueError(f"channels, height, width and classes must be whole numbers above 0, not {numbers}")

    def as_dict(self) -> dict[str, Any]:
        """As stored with the weights."""
        return asdict(self)


class Normalize(nn.Module):
    """Pixels 0 to 255 with mean 0 and deviation 1, channel by channel, as float32."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))  # [c, 1, 1]
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [n, c, h, w], uint8 or float: float32 [n, c, h, w]."""
        centred = x.float() - self.mean if x.is_floating_point() else x.float().sub_(self.mean)
        return centred.div_(self.deviation)  # [n, c, h, w]; in place: memory for whole batches costs more than this


def build_model(
    architecture: Architecture, mean: Sequence[float] | None = None, deviation: Sequence[float] | None = None
) -> nn.Sequential:
    """A network with fresh random weights (from torch's global random state).

    mean, deviation: of the training pixels, one for each channel, 0 to 255; without them those of an even spread
    Raises UnknownNameError, with a suggestion, for a model that is none of ``MODELS``.
    """
    if architecture.model not in MODELS:
        raise UnknownNameError("model", architecture.model, MODELS)
    count = architecture.channels
    normalize = Normalize(mean or [127.5] * count, deviation or [73.9] * count)
    network = nn.Sequential(normalize, *MODELS[architecture.model](architecture))
    # channels last: convolutions are a third faster so on CPUs
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs forget it


def count_parameters(model: nn.Module) -> int:
    """How many numbers training adjusts."""
    return sum(parameter.numel() for parameter in model.parameters())


def _linear(a: Architecture) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(a.channels * a.height * a.width, a.classes)]


def _net(a: Architecture, hidden: int = 30) -> list[nn.Module]:
    return [
        nn.Flatten(),  # [n, c·h·w]
        nn.Linear(a.channels * a.height * a.width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, a.classes),
    ]


def _conv(a: Architecture) -> list[nn.Module]:
    """5 × 5, then twice 3 × 3, each with batch normalization; halved in between; at most 4 × 4 positions at the end.

    Pictures of 16 pixels or more are halved by the first convolution already: most of the time goes there. What a
    pooling throws away need not be normalized, so it comes first (as in K. Jordan's airbench, 2024).
    """
    if min(a.height, a.width) < 4:
        raise DataError(f"pictures of {a.width} × {a.height} are too small for conv: use --size 8 or --model linear")
    stride = 2 if min(a.height, a.width) >= 16 else 1
    height, width = (math.ceil(side / stride) // 4 for side in (a.height, a.width))  # after both poolings
    pool = math.ceil(height / 4), math.ceil(width / 4)
    positions = math.ceil(height / pool[0]) * math.ceil(width / pool[1])
    return [
        *_convolution(a.channels, 16, 5, stride),  # 28 × 28 → 14 × 14
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.MaxPool2d(2),  # → 7 × 7
        BatchNorm(32),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, padding=1, bias=False),
        nn.MaxPool2d(2),  # → 3 × 3
        BatchNorm(48),
        nn.ReLU(),
        *([nn.AvgPool2d(pool, ceil_mode=True)] if pool != (1, 1) else []),
        nn.Flatten(),  # [n, 48·positions]
        nn.Linear(48 * positions, a.classes),
    ]


def _vgg(a: Architecture) -> list[nn.Module]:
    """5 × 5, then 3 × 3 in a pair of 64 features and a pair of 128, each with batch normalization; then the strongest
    answer of each feature, wherever it is. Pictures of 16 pixels or more are halved by the first convolution."""
    stride = 2 if min(a.height, a.width) >= 16 else 1
    return [
        *_convolution(a.channels, 64, 5, stride),  # 28 × 28 → 14 × 14
        *_convolution(64, 64, 3),
        *_convolution(64, 64, 3),
        nn.MaxPool2d(2, ceil_mode=True),  # → 7 × 7
        *_convolution(64, 128, 3),
        *_convolution(128, 128, 3),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),  # [n, 128]
        nn.Linear(128, a.classes),
    ]


def _convolution(channels: int, features: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, features, kernel, stride, padding=kernel // 2, bias=False),
        BatchNorm(features),
        nn.ReLU(),
    ]


STEMS = ("small", "halving", "published")


def choose_stem(side: int) -> str:
    """Which stem suits pictures of ``side`` pixels.

    published: 7 × 7 with stride 2, then a pooling with stride 2, made for 224 pixels; from 64 on
    halving: 3 × 3 with stride 2; from 16 on
    small: 3 × 3, nothing lost; below
    """
    return "published" if side >= 64 else "halving" if side >= 16 else "small"


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization that takes a training batch of one single value a channel, which has no deviation, by the
    running statistics: the short last batch may be one picture."""

    def forward(self, x: Tensor) -> Tensor:
        """Activations [n, features, h, w], normalized."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions around which the input takes a short cut; the first may halve the picture."""

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
        """Activations [n, inputs, h, w] to [n, features, h / stride, w / stride], rounded up."""
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.shortcut(x)).relu()


def _resnet18(a: Architecture) -> list[nn.Module]:
    """Four stages of two blocks, 64 to 512 features, each but the first halving; then the mean of all positions."""
    if min(a.height, a.width) < 8:
        size = f"{a.width} × {a.height}"
        raise DataError(f"pictures of {size} are too small for resnet18: use --size 8 or --model linear")
    kernel, stride = {"small": (3, 1), "halving": (3, 2), "published": (7, 2)}[a.stem or ""]
    pooling = [nn.MaxPool2d(3, 2, padding=1)] if a.stem == "published" else []
    stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = [
        block
        for inputs, features, stride in stages
        for block in (ResidualBlock(inputs, features, stride), ResidualBlock(features, features, 1))
    ]
    network = [
        *_convolution(a.channels, 64, kernel, stride),
        *pooling,
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),  # [n, 512]
        nn.Linear(512, a.classes),
    ]
    for module in nn.Sequential(*network).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


MODELS = {"linear": _linear, "net": _net, "conv": _conv, "vgg": _vgg, "resnet18": _resnet18}
