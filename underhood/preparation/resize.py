"""The fits for images of any content: ``pad``, ``crop`` and ``stretch``."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

Size = tuple[int, int]  # width, height, in pixels
FEW_PIXELS = 50_000  # of an image that is faster converted as a whole than cut to its edges


def pad(image: Image.Image, size: Size) -> Image.Image:
    """Scale the image into ``size`` and fill the rest with the colour of its border."""
    width, height = size
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    whole = Image.new(image.mode, size, border_colour(image))
    whole.paste(
        image.resize(inner, Image.Resampling.BILINEAR, reducing_gap=3.0),
        ((width - inner[0]) // 2, (height - inner[1]) // 2),
    )
    return whole


def crop(image: Image.Image, size: Size) -> Image.Image:
    """Scale the image to cover ``size`` and keep the centre."""
    return ImageOps.fit(image, size, Image.Resampling.BILINEAR)


def stretch(image: Image.Image, size: Size) -> Image.Image:
    """Scale width and height independently."""
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


@dataclass
class Resize:
    """Scales images with one of the functions above. An image that has the size already is returned unchanged."""

    scale: Callable[[Image.Image, Size], Image.Image]
    steps: tuple[str, ...] = ()
    applies_to_stored: bool = True
    reads_digits: bool = False
    channels: int | None = None
    default_size: int | None = None
    decode_size: int | None = None

    def allows(self, channels: int, height: int, width: int) -> bool:  # noqa: ARG002
        """Always: every size can be made, grey and colour."""
        return True

    def apply(self, image: Image.Image, size: Size, steps: Collection[str]) -> Image.Image:  # noqa: ARG002
        """The image at ``size``. There are no steps to leave out."""
        return image if image.size == size else self.scale(image, size)


def border_colour(image: Image.Image) -> int | tuple[int, ...]:
    """The median of the outermost pixels of each channel: the colour that an image is padded with."""
    width, height = image.size
    if width * height < FEW_PIXELS:
        pixels = np.asarray(image).reshape(height, width, -1)
        border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    else:
        edges = (0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)
        border = [np.asarray(image.crop(edge)).reshape(-1, len(image.getbands())) for edge in edges]
    colour = tuple(np.median(np.concatenate(border), axis=0).astype(int).tolist())  # of [2w + 2h, c]
    return colour if len(colour) > 1 else colour[0]
