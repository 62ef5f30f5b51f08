"""Augmentation: each picture a little shifted, turned and scaled, whole batches at once on the device.

A model that has seen a 7 in a hundred places and slants has learned what stays a 7. What moves how comes from
(seed, epoch, batch) alone, so that a run can be repeated and resumed to the bit.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far a picture may be moved, to both sides of what it is, evenly spread.

    shift: fraction of the side; rotation: degrees; scale: fraction of the size
    flip: whether left and right may be exchanged: never for digits and letters, so only where asked for
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    flip: bool = False

    def __bool__(self) -> bool:
        return self != Augmentation()

    def as_dict(self) -> dict[str, Any]:
        """As stored in a run."""
        return asdict(self)


def affine_maps(augmentation: Augmentation, count: int, aspect: float, key: tuple[int, ...]) -> Tensor:
    """Random maps from places in the result to places in the picture, as ``affine_grid`` takes them: [count, 2, 3].

    aspect: width over height; key: whole numbers such as (seed, epoch, batch)
    """
    generator = torch.Generator().manual_seed(_mixed(key))
    draws = torch.rand(5, count, generator=generator) * 2 - 1  # evenly between −1 and 1
    angle = draws[0] * math.radians(augmentation.rotation)
    size = 1 / (1 + draws[1] * augmentation.scale)
    mirror = torch.where(draws[4] < 0, -1.0, 1.0) if augmentation.flip else torch.ones(count)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    x = torch.stack([cosine * mirror, -sine / aspect, 2 * draws[2] * augmentation.shift], dim=1)
    y = torch.stack([sine * mirror * aspect, cosine, 2 * draws[3] * augmentation.shift], dim=1)
    return torch.stack([x, y], dim=1)


def augment(
    x: Tensor, augmentation: Augmentation, key: tuple[int, ...], first: int = 0, count: int | None = None
) -> Tensor:
    """The batch, pictures of 0 to 255 [n, c, h, w], each moved a little: float32. The border goes on outside.

    first, count: where x begins in a batch of ``count``, if it is only a part of one: it moves as it would there
    """
    maps = affine_maps(augmentation, count or len(x), x.shape[3] / x.shape[2], key)[first : first + len(x)]
    if x.is_cuda:  # from pinned memory the copy waits for nothing
        maps = maps.pin_memory().to(x.device, non_blocking=True)
    grid = F.affine_grid(maps, list(x.shape), align_corners=False)
    return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def _mixed(key: tuple[int, ...]) -> int:
    """A seed of 63 bits from whole numbers, so that neighbouring keys draw unlike numbers."""
    mixed = 0x9E3779B97F4A7C15
    for number in key:
        mixed = ((mixed ^ number) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return mixed % 2**63
