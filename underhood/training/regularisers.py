"""What keeps a network from learning its training images by heart, beside moving them: other colours, mixed images.

A batch's random numbers depend on (seed, epoch, batch) alone, as in ``core/augment.py``.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Regularisers:
    """What is done to a batch of training images. It is false if nothing is. Called with a batch, it returns another.

    classes: how many there are
    """

    classes: int
    jitter: float = 0.0  # largest change of brightness, contrast and, of colour images, saturation: a fraction
    cutmix: float = 0.0  # fraction of the batches in which a patch of each image is another's

    def __bool__(self) -> bool:
        return bool(self.jitter or self.cutmix)

    def __call__(
        self, batch: list[Tensor], key: tuple[int, ...], first: int = 0, count: int | None = None
    ) -> list[Tensor]:
        """(images [n, c, h, w], labels [n]) to images, float32, and labels, or [n, classes] where images are mixed.

        key, first, count: see ``core.augment.augment``. The images of a part of a batch are mixed with one another.
        """
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
        images, labels = batch
        if self.jitter:
            draws = torch.rand(3, count or len(images), generator=generator)[:, first : first + len(images)]
            images = change_colours(images.float(), 1 + self.jitter * (2 * draws - 1))
        if float(torch.rand((), generator=generator)) < self.cutmix:
            images, labels = mix(images, labels, self.classes, generator)
        return [images, labels]


def change_colours(images: Tensor, factors: Tensor) -> Tensor:
    """Images with other contrast, brightness and saturation: float32 [n, c, h, w].

    images: float32 [n, c, h, w], 0 to 255, a range that the result may leave; factors: of the three [3, n]
    """
    contrast, brightness, saturation = factors.to(images.device)[:, :, None, None, None]
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * contrast + mean * brightness
    grey = images.mean(dim=1, keepdim=True)
    return grey + (images - grey) * saturation


def mix(images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """CutMix (Yun et al., 2019): replace a patch of each image by that of the next one, and its label in proportion.

    The patch, at the same place in all images, is of the image's shape, and its area uniformly distributed.
    Returns images [n, c, h, w] and, for each class, its share of the image, float32 [n, classes].
    """
    height, width = images.shape[2:]
    area, y, x = torch.rand(3, generator=generator).tolist()
    h, w = round(height * area**0.5), round(width * area**0.5)
    top, left = round(y * (height - h)), round(x * (width - w))
    mixed = images.clone()
    mixed[:, :, top : top + h, left : left + w] = images.roll(-1, dims=0)[:, :, top : top + h, left : left + w]
    own = F.one_hot(labels, classes).float()
    share = h * w / (height * width)
    return mixed, own * (1 - share) + own.roll(-1, dims=0) * share
