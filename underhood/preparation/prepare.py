"""The one place where a picture becomes pixels.

Training, ``predict`` and whatever serves a model come through ``picture_to_pixels``, so that the way a picture is
prepared cannot drift apart between them.
"""

import io
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from underhood.core.errors import UnknownNameError
from underhood.preparation.digit import STEPS, WORKING, digit_to_pixels

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 8192 * 6144  # a photograph of 50 megapixels, whatever its kind: less than 1 GB while it is decoded
AT_ONCE = 65_536  # bytes: smaller files are read in one go
FITS = ("pad", "crop", "stretch", "digit")

Source = str | os.PathLike[str] | IO[bytes]


class BadPicture(ValueError):
    """A picture that cannot be read. Its text is the reason; whoever knows the file's name adds it."""


class TooLarge(BadPicture):
    """A picture of too many pixels: its header says so, and nothing of it was decoded."""


class Picture(NamedTuple):
    """An opened picture: its image, of mode L or RGB and upright, and its size as stored, in pixels."""

    image: Image.Image
    size: tuple[int, int]  # width, height


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes pixels: stored in the run and applied to every later picture.

    channels: 1 grey or 3 colour
    height, width: of the result, in pixels
    fit: what happens to a picture of another shape: ``pad`` with the border's colour, ``crop`` the centre, ``stretch``;
        ``digit`` finds the ink of any picture and brings it into MNIST's form (``digit.py``)
    """

    channels: int
    height: int
    width: int
    fit: str = "pad"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise UnknownNameError("fit", self.fit, FITS)
        sizes = self.height, self.width
        if self.channels not in (1, 3) or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"channels must be 1 or 3, height and width whole numbers above 0, not {self}")
        if self.fit == "digit" and (self.channels != 1 or self.height != self.width):
            raise ValueError(f"digits are grey and square, not {self}")

    @property
    def at_least(self) -> int:
        """How many pixels a side the preparation wants to see of a large picture."""
        return WORKING if self.fit == "digit" else max(self.height, self.width)

    def describe(self) -> str:
        """For instance ``28 × 28 grey``: width, height, kind."""
        return f"{self.width} × {self.height} {'grey' if self.channels == 1 else 'colour'}"

    def as_dict(self) -> dict[str, Any]:
        """As stored beside the data's counts and with the weights."""
        return asdict(self)


def picture_to_pixels(
    source: Source | Image.Image, preparation: Preparation, steps: Collection[str] = STEPS
) -> np.ndarray:
    """A picture file (a path or an open binary file) or a PIL image as uint8 [c, h, w].

    steps: of those that ``digit`` takes, which to take. Raises BadPicture with the reason if it cannot be read.
    """
    if isinstance(source, Image.Image):
        image = flatten(ImageOps.exif_transpose(source))
    else:
        image = open_picture(source, preparation.at_least).image
    if preparation.fit == "digit":
        return digit_to_pixels(image, preparation.width, steps)[None].copy()
    return images_to_pixels([fit_image(image, preparation)], preparation.channels)[0].copy()


def open_picture(source: Source, at_least: int = MAX_PIXELS) -> Picture:
    """A picture file as a PIL image and its stored size.

    The image is upright, its first frame, of mode L or RGB, 8 bits deep, and without transparency. A JPEG much larger
    than ``at_least`` pixels a side may be decoded at a half, quarter or eighth of its size (never below twice
    ``at_least``), which is many times faster. Raises BadPicture with the reason.
    """
    try:
        if not isinstance(source, (str, os.PathLike)):
            return _decode(source, at_least)
        start = _first_bytes(source)
        if len(start) < AT_ONCE:  # all of it
            return _decode(io.BytesIO(start), at_least)
        with open(source, "rb") as file:  # noqa: PTH123 (a Path for each of a million files costs seconds)
            return _decode(file, at_least)
    except BadPicture:
        raise
    except FileNotFoundError:
        raise BadPicture("there is no such file") from None
    except PermissionError:
        raise BadPicture("may not be read (permission denied)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(f"has more than {MAX_PIXELS:,} pixels: too large to decode") from None
    except Exception as error:  # Pillow meets broken data with errors of a dozen kinds; each is a reason
        raise BadPicture(f"is broken ({str(error) or type(error).__name__})") from None


def _first_bytes(path: str | os.PathLike[str]) -> bytes:
    """Up to ``AT_ONCE`` bytes of a file, without Python's file objects: a fifth of the time of a small picture."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(file, AT_ONCE)
    finally:
        os.close(file)


def header_size(path: str) -> tuple[int, int] | None:
    """A picture's width and height once upright, from its header alone; None where even that cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if sideways else image.size
    except Exception:  # the reason is found, and told, when the picture is decoded
        return None


def _decode(file: IO[bytes], at_least: int) -> Picture:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        known = f"is not a picture in a known format ({', '.join(FORMATS)})"
        raise BadPicture(known if file.read(1) else "is empty (0 bytes)") from None
    if image.width * image.height > MAX_PIXELS:
        raise TooLarge(f"has {image.width:,} × {image.height:,} pixels: more than {MAX_PIXELS:,}, too large to decode")
    size = image.size
    if image.format == "JPEG":
        image.draft(None, (2 * at_least, 2 * at_least))
    image.load()
    upright = ImageOps.exif_transpose(image) if image.info else image  # TIFF has turned itself by now
    return Picture(flatten(upright), size)


def flatten(image: Image.Image) -> Image.Image:
    """Any PIL image as mode L or RGB: transparency on white, palettes and CMYK as RGB, 1 and 16 bits as 8."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise BadPicture("has 32 bits a pixel: save it with 8 or 16")
        shallow = (deep >> 8).astype(np.uint8)
        if (see_through := image.info.get("transparency")) is not None:
            shallow[deep == see_through] = 255
        return Image.fromarray(shallow)
    if image.mode == "1":
        see_through = image.info.get("transparency")
        grey = image.convert("L")
        return grey if see_through is None else grey.point(lambda level: 255 if level == see_through else level)
    if image.mode == "F":
        raise BadPicture("has floating-point pixels: save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def fit_image(image: Image.Image, preparation: Preparation) -> Image.Image:
    """An image of mode L or RGB at the preparation's size; one that has it already is returned unchanged, unless the
    preparation looks for a digit and it has not MNIST's form."""
    target = width, height = preparation.width, preparation.height
    if 0 in image.size:
        raise BadPicture("has no pixels")
    if preparation.fit == "digit":
        return Image.fromarray(digit_to_pixels(image, width))
    if image.size == target:
        return image
    if preparation.fit == "stretch":
        return image.resize(target, Image.Resampling.BILINEAR, reducing_gap=3.0)
    if preparation.fit == "crop":
        return ImageOps.fit(image, target, Image.Resampling.BILINEAR)
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    whole = Image.new(image.mode, target, border_colour(image))
    whole.paste(
        image.resize(inner, Image.Resampling.BILINEAR, reducing_gap=3.0),
        ((width - inner[0]) // 2, (height - inner[1]) // 2),
    )
    return whole


def border_colour(image: Image.Image) -> int | tuple[int, ...]:
    """The median of the outermost pixels, channel by channel: what a picture is padded with."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # [2w + 2h, c]
    colour = tuple(np.median(border, axis=0).astype(int).tolist())
    return colour if len(colour) > 1 else colour[0]


def images_to_pixels(images: Sequence[Image.Image], channels: int) -> np.ndarray:
    """Images of mode L or RGB, all of one size, as uint8 [n, channels, h, w]."""
    mode = "L" if channels == 1 else "RGB"
    raw = b"".join((image if image.mode == mode else image.convert(mode)).tobytes() for image in images)
    width, height = images[0].size
    return np.frombuffer(raw, np.uint8).reshape(len(images), height, width, channels).transpose(0, 3, 1, 2)


def is_coloured(image: Image.Image) -> bool:
    """Whether any pixel of an L or RGB image has colour: a grey picture saved as RGB has none."""
    if image.mode == "L":
        return False
    pixels = np.asarray(image)
    return bool((pixels[..., 0] != pixels[..., 1]).any() or (pixels[..., 1] != pixels[..., 2]).any())


def refit(pixels: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Pixels that never were files (IDX, digits), uint8 [n, c, h, w], at another preparation: uint8 [n, c', h', w'].

    Returned as they are where they have that shape already.
    """
    if pixels.shape[1:] == (preparation.channels, preparation.height, preparation.width):
        return pixels
    if preparation.fit == "digit":  # they are digits already
        preparation = replace(preparation, fit="pad")
    ready = np.empty((len(pixels), preparation.channels, preparation.height, preparation.width), np.uint8)
    for i, picture in enumerate(pixels):
        image = Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0))
        ready[i] = images_to_pixels([fit_image(image, preparation)], preparation.channels)[0]
    return ready
