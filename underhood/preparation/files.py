"""Open image files: any common format as an upright PIL image of mode L or RGB, of 8 bits and without transparency."""

import io
import os
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 8192 * 6144  # a photograph of 50 megapixels: decoding it takes less than 1 GB in every format
READ_WHOLE = 65_536  # bytes: smaller files are read with a single system call

Source = str | os.PathLike[str] | IO[bytes]


class BadImageError(ValueError):
    """An image cannot be read. The text is the reason; the caller adds the name of the file."""


class ImageTooLargeError(BadImageError):
    """An image has too many pixels according to its header. Nothing was decoded."""


class OpenedImage(NamedTuple):
    """An opened image file: the upright image of mode L or RGB, and the size as stored in the file, in pixels."""

    image: Image.Image
    size: tuple[int, int]  # width, height


def expanduser(path: str | Path) -> Path:
    """The path with ``~`` replaced by the home folder. Unlike in pathlib, ``~name`` of an unknown user is kept."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def open_image(source: Source, at_least: int = MAX_PIXELS) -> OpenedImage:
    """Open an image file (a path or an open binary file).

    The image is upright and the first frame of the file. A JPEG much larger than ``at_least`` pixels a side may be
    decoded at a half, quarter or eighth of its size (never below twice ``at_least``), which is many times faster.
    Raises BadImageError with the reason.
    """
    try:
        if not isinstance(source, (str, os.PathLike)):
            return _decode(source, at_least)
        start = _first_bytes(source)
        if len(start) < READ_WHOLE:  # this is the whole file
            return _decode(io.BytesIO(start), at_least)
        with open(source, "rb") as file:  # noqa: PTH123 (a Path for each of a million files costs seconds)
            return _decode(file, at_least)
    except BadImageError:
        raise
    except FileNotFoundError:
        raise BadImageError("there is no such file") from None
    except PermissionError:
        raise BadImageError("cannot be read (permission denied)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLargeError(f"has more than {MAX_PIXELS:,} pixels: too large to decode") from None
    except Exception as error:  # Pillow raises a dozen types of errors on damaged files
        raise BadImageError(f"is broken ({str(error) or type(error).__name__})") from None


def read_header_size(path: str) -> tuple[int, int] | None:
    """Width and height of the upright image, in pixels, from the file's header. None if the header cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if sideways else image.size
    except Exception:  # decoding the image later finds the reason and reports it
        return None


def flatten(image: Image.Image) -> Image.Image:
    """Any PIL image as mode L or RGB: transparency on white, palettes and CMYK as RGB, 1 and 16 bits as 8.

    Raises BadImageError for images of 32 bits or floating-point numbers a pixel.
    """
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _flatten_deep(image)
    if image.mode == "1":
        transparent = image.info.get("transparency")
        grey = image.convert("L")
        return grey if transparent is None else grey.point(lambda level: 255 if level == transparent else level)
    if image.mode == "F":
        raise BadImageError("has floating-point pixels: save it with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def is_coloured(image: Image.Image) -> bool:
    """Whether any pixel of an image of mode L or RGB has a colour. A grey image saved as RGB has none."""
    if image.mode == "L":
        return False
    pixels = np.asarray(image)  # [h, w, 3]
    return bool((pixels[..., 0] != pixels[..., 1]).any() or (pixels[..., 1] != pixels[..., 2]).any())


def _first_bytes(path: str | os.PathLike[str]) -> bytes:
    """Up to ``READ_WHOLE`` bytes of a file. Python's file objects would cost a fifth of the time of a small image."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(file, READ_WHOLE)
    finally:
        os.close(file)


def _decode(file: IO[bytes], at_least: int) -> OpenedImage:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        reason = f"is not an image in a known format ({', '.join(FORMATS)})"
        raise BadImageError(reason if file.read(1) else "is empty (0 bytes)") from None
    if image.width * image.height > MAX_PIXELS:
        raise ImageTooLargeError(
            f"has {image.width:,} × {image.height:,} pixels: more than {MAX_PIXELS:,}, too large to decode"
        )
    size = image.size
    if image.format == "JPEG":
        image.draft(None, (2 * at_least, 2 * at_least))
    image.load()
    upright = ImageOps.exif_transpose(image) if image.info else image  # Pillow has already turned a TIFF
    return OpenedImage(flatten(upright), size)


def _flatten_deep(image: Image.Image) -> Image.Image:
    """An image of 16 bits a pixel as mode L: the upper 8 bits."""
    deep = np.asarray(image)
    if deep.min() < 0 or deep.max() > 65535:
        raise BadImageError("has 32 bits a pixel: save it with 8 or 16")
    shallow = (deep >> 8).astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        shallow[deep == transparent] = 255
    return Image.fromarray(shallow)
