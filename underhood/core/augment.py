"""Data augmentation: each training image is shifted, rotated and scaled a little, a whole batch at once on the device.

The random numbers depend on (seed, epoch, batch) alone, so that a run can be repeated and resumed bit for bit.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far images are moved at most, in both directions, uniformly distributed. It is false if it does nothing."""

    shift: float = 0.0  # fraction of the side
    rotation: float = 0.0  # degrees
    scale: float = 0.0  # fraction of the size
    flip: bool = False  # mirror half of the images: not by default, as a mirrored 2 is no digit

    def __bool__(self) -> bool:
        return self != Augmentation()


def augment(
    x: Tensor, augmentation: Augmentation, key: tuple[int, ...], first: int = 0, count: int | None = None
) -> Tensor:
    """Augment a batch of images, 0 to 255 [n, c, h, w]: float32 [n, c, h, w]. Border pixels are repeated outside.

    key: whole numbers, (seed, epoch, batch); first, count: x is a part, from ``first`` on, of a batch of ``count``
    """
    maps = affine_maps(augmentation, count or len(x), x.shape[3] / x.shape[2], key)[first : first + len(x)]
    if x.is_cuda:  # pinned memory is copied without waiting
        maps = maps.pin_memory().to(x.device, non_blocking=True)
    grid = F.affine_grid(maps, list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def affine_maps(augmentation: Augmentation, count: int, aspect: float, key: tuple[int, ...]) -> Tensor:
    """Random maps from output to input coordinates, for ``affine_grid``: [count, 2, 3]. aspect: width / height"""
    mixed = 0x9E3779B97F4A7C15
    for number in key:  # hashed into one seed, so that neighbouring keys draw unrelated numbers
        mixed = ((mixed ^ number) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    draws = torch.rand(5, count, generator=torch.Generator().manual_seed(mixed % 2**63)) * 2 - 1  # uniform in [−1, 1)
    angle = draws[0] * math.radians(augmentation.rotation)
    size = 1 / (1 + draws[1] * augmentation.scale)
    mirror = torch.where(draws[4] < 0, -1.0, 1.0) if augmentation.flip else torch.ones(count)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    x = torch.stack([cosine * mirror, -sine / aspect, 2 * draws[2] * augmentation.shift], dim=1)
    y = torch.stack([sine * mirror * aspect, cosine, 2 * draws[3] * augmentation.shift], dim=1)
    return torch.stack([x, y], dim=1)
