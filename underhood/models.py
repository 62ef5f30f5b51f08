"""The networks, by name. Each takes pictures as they are, uint8 [n, c, h, w], and gives one logit a class [n, classes].

The first layer subtracts the training pictures' mean and divides by their deviation, so that both travel with the
weights wherever the model goes.

    linear   one matrix: chapter 4's first model
    net      linear, ReLU, linear with 30 hidden activations: chapter 4's simple net
    conv     three convolutions: the default
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from underhood.errors import DataError, UnknownNameError


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a model anew: stored with the weights.

    channels, height, width: of the pictures it takes, in pixels
    classes: how many logits it gives
    """

    model: str
    channels: int
    height: int
    width: int
    classes: int

    def __post_init__(self) -> None:
        numbers = self.channels, self.height, self.width, self.classes
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise ValueError(f"channels, height, width and classes must be whole numbers above 0, not {numbers}")

    def as_dict(self) -> dict[str, Any]:
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
        return (x.float() - self.mean) / self.deviation  # [n, c, h, w]


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

    Pictures of 16 pixels or more are halved by the first convolution already: most of the time goes there.
    """
    if min(a.height, a.width) < 4:
        raise DataError(f"pictures of {a.width} × {a.height} are too small for conv: use --size 8 or --model linear")
    stride = 2 if min(a.height, a.width) >= 16 else 1
    height, width = (math.ceil(math.ceil(side / stride) / 4) for side in (a.height, a.width))  # after both poolings
    pool = math.ceil(height / 4), math.ceil(width / 4)
    positions = math.ceil(height / pool[0]) * math.ceil(width / pool[1])
    return [
        *_convolution(a.channels, 16, 5, stride),  # 28 × 28 → 14 × 14
        *_convolution(16, 32, 3),
        nn.MaxPool2d(2, ceil_mode=True),  # → 7 × 7
        *_convolution(32, 64, 3),
        nn.MaxPool2d(2, ceil_mode=True),  # → 4 × 4
        *([nn.AvgPool2d(pool, ceil_mode=True)] if pool != (1, 1) else []),
        nn.Flatten(),  # [n, 64·positions]
        nn.Linear(64 * positions, a.classes),
    ]


def _convolution(channels: int, features: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, features, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(features),
        nn.ReLU(),
    ]


MODELS = {"linear": _linear, "net": _net, "conv": _conv}
