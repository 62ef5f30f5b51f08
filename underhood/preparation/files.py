"""Open image files: any common format as an upright PIL image of mode L or RGB, of 8 bits and without transparency.

A small file can ask a decoder for much time or memory. Each format is therefore checked before Pillow opens it.
"""

import io
import math
import os
import re
import stat
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 8192 * 6144  # a photograph of 50 megapixels: decoding it takes less than 1 GB in every format
MAX_SIDE = 65_535  # pixels: the most that JPEG and GIF can store
MAX_SCANS = 100  # of a JPEG: a progressive one usually has 10, and each passes over all pixels
MAX_SCANNED = 20 * MAX_PIXELS  # scans × pixels
MAX_SEGMENTS = 2_000  # of a JPEG; Pillow reads those before the first scan in Python, byte by byte between them
MAX_EXIF_SEGMENTS = 16  # of a JPEG: Pillow copies all earlier ones for each
MAX_CHUNKS = 50_000  # of a PNG, and blocks of a GIF before its first image
MAX_TIFF_TAGS, MAX_TIFF_VALUES = 4_096, 250_000  # numbers in a tag: 50 megapixels in tiles of 16 × 16 have fewer
MAX_RLE = 4_000_000  # pixels, and bytes, of a run-length encoded BMP, which Pillow decodes in Python
MAX_TILE = 4096 * 4096  # pixels of a TIFF's tile, if the image has not more
TIFF_BYTES = frozenset({1, 2, 6, 7})  # the types of tags that stay bytes: colour profiles and such may be long
TIFF_DIRECTORIES = frozenset({34665, 34853, 40965})  # the tags that name other directories: EXIF, GPS, interoperability
READ_WHOLE = 65_536  # bytes: smaller files are read with a single system call
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # of a JPEG, followed by its length
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
TURNS = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), strict=True))  # EXIF orientation → upright

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
        with _open_regular(source) if isinstance(source, (str, os.PathLike)) else nullcontext(source) as file:
            return _decode(file, at_least)
    except BadImageError:
        raise
    except FileNotFoundError:
        raise BadImageError("there is no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLargeError(f"has more than {MAX_PIXELS:,} pixels: too large to decode") from None
    except Exception as error:  # Pillow raises a dozen types of errors on damaged files
        why = getattr(error, "strerror", None)  # of the system's errors
        reason = f"cannot be read ({why.lower()})" if why else f"is broken ({str(error) or type(error).__name__})"
        raise BadImageError(reason) from None


def header_pixels(source: Source | bytes) -> int | None:
    """The number of pixels, width × height, for which ``open_image`` would take memory. Nothing is decoded.

    source: a path, an open binary file, or a file's content. None if ``open_image`` refuses it by its header.
    """
    size = read_header_size(io.BytesIO(source) if isinstance(source, bytes) else source)
    return size and size[0] * size[1]


def read_header_size(source: Source) -> tuple[int, int] | None:
    """Width and height of the upright image, in pixels, from the header. None if ``open_image`` refuses it there."""
    try:
        with _open_regular(source) if isinstance(source, (str, os.PathLike)) else nullcontext(source) as file:
            image = _open(file)
            return image.size[::-1] if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5 else image.size
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


def _open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """A regular file, opened: a small one is read whole, as Python's file objects cost a fifth of a small image's time.

    Raises BadImageError for anything else. Opening a pipe would wait for a writer, and a device may never end.
    """
    number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise BadImageError("is not a regular file")
        start = os.read(number, READ_WHOLE)
        if len(start) < READ_WHOLE:  # this is the whole file
            return io.BytesIO(start)
        os.lseek(number, 0, os.SEEK_SET)
        return os.fdopen(os.dup(number), "rb")
    finally:
        os.close(number)


def _decode(file: IO[bytes], at_least: int) -> OpenedImage:
    image = _open(file)
    size = image.size
    if image.format == "JPEG":
        image.draft(None, (2 * at_least, 2 * at_least))
    image.load()
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1)) if image.info else None
    return OpenedImage(flatten(image if turn is None else image.transpose(turn)), size)  # Pillow has turned a TIFF


def _open(file: IO[bytes]) -> ImageFile.ImageFile:
    """An image whose header is read and whose decoding takes a bounded time and memory. Raises BadImageError."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start in CHECKS:
        CHECKS[start](file)
        file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        reason = f"is not an image in a known format ({', '.join(FORMATS)})"
        raise BadImageError(reason if start else "is empty (0 bytes)") from None
    _check_size(*image.size)
    if image.format == "TIFF":
        tile_width, tile_height = (int(image.tag_v2.get(tag, 0)) for tag in (322, 323))  # type: ignore[attr-defined]
        if tile_width * tile_height > max(MAX_TILE, image.width * image.height):  # a whole one is decoded at a time
            raise ImageTooLargeError(f"has tiles of {tile_width:,} × {tile_height:,} pixels: too large to decode")
    packed = image.format == "BMP" and image.tile[0][0] == "bmp_rle"
    if packed and max(image.width * image.height, file.seek(0, os.SEEK_END)) > MAX_RLE:
        raise ImageTooLargeError("is a large run-length encoded BMP: save it as PNG")
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(f"has {width:,} × {height:,} pixels: more than {MAX_PIXELS:,}, too large to decode")


def _check_webp(file: IO[bytes]) -> None:
    """Pillow allocates all pixels of a WebP image when it opens the file."""
    head = file.read(30).ljust(30, b"\0")
    (declared,) = struct.unpack_from("<I", head, 4)
    if declared + 8 > file.seek(0, os.SEEK_END) + 1:  # some programs count a byte of padding that they do not write
        raise BadImageError("is broken (it is shorter than its header declares)")
    if head[12:16] == b"VP8X":
        _check_size(int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        _check_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    else:
        _check_size(*(side & 0x3FFF for side in struct.unpack_from("<HH", head, 26)))


def _check_png(file: IO[bytes]) -> None:
    """The chunks. The second of two headers would count, and each colour profile may unpack to a megabyte."""
    start = file.read(READ_WHOLE)
    if len(start) < READ_WHOLE and start.count(b"IHDR") < 2 and start.count(b"iCCP") < 2:
        return  # a small file, as most are: this takes a tenth of the time of the loop below
    file.seek(8)
    seen = set()
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        kind = head[4:]
        if len(head) < 8 or kind == b"IEND":
            return
        if kind in (b"IHDR", b"iCCP"):
            if kind in seen:
                raise BadImageError(f"is broken (two {kind.decode()} chunks)")
            seen.add(kind)
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    raise BadImageError(f"has more than {MAX_CHUNKS:,} chunks: save it again")


def _check_jpeg(file: IO[bytes]) -> None:
    """The segments. A scan may cost little more than its marker in the file, and passes over all pixels."""
    content = file.read(2**28)  # bytes: 50 megapixels are fewer
    at, scans, pixels, exif = 2, 0, 0, 0
    for _ in range(MAX_SEGMENTS):
        found = MARKER.search(content, at)
        if found is None or (scans and found[0] == b"\xff\xd9"):  # the end of the image
            break
        marker, body = found[0][1], found.end()
        if not scans and found.start() - at > READ_WHOLE:
            raise BadImageError("is broken (bytes between its segments)")
        if marker == 0xDA:
            scans += 1
        elif marker in FRAME_MARKERS:
            pixels = math.prod(struct.unpack_from(">HH", content, body + 3))
        elif marker == 0xE1:
            exif += content.startswith(b"Exif\0\0", body + 2)
        at = body + int.from_bytes(content[body : body + 2], "big")
    else:
        raise BadImageError(f"has more than {MAX_SEGMENTS:,} segments: save it again")
    if scans > MAX_SCANS or scans * pixels > MAX_SCANNED or exif > MAX_EXIF_SEGMENTS:
        raise BadImageError("has too many scans or EXIF segments: save it again")


def _check_gif(file: IO[bytes]) -> None:
    """The blocks of comments and extensions before the first image, which Pillow reads one by one."""
    head = file.read(13)
    if len(head) == 13 and head[10] & 0x80:
        file.seek(3 << (head[10] & 7) + 1, os.SEEK_CUR)  # the palette
    blocks = 0
    while (kind := file.read(1)) and kind not in b",;":
        length = file.read(2)[1:] if kind == b"!" else b""
        while length and length[0] and blocks < MAX_CHUNKS:
            file.seek(length[0], os.SEEK_CUR)
            length = file.read(1)
            blocks += 1
        blocks += 1
        if blocks > MAX_CHUNKS:
            raise BadImageError(f"has more than {MAX_CHUNKS:,} blocks before its first image: save it again")


def _check_tiff(file: IO[bytes], at: int | None = None) -> None:
    """The tags of the first image and of the directories that it names, ``at`` these places: Pillow unpacks them."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    pointer, length, entry = ("Q", "Q", "HHQQ") if head[2] == 43 else ("I", "H", "HHII")  # 43: BigTIFF
    (start,) = struct.unpack_from(order + pointer, head, struct.calcsize(order + pointer))
    file.seek(start if at is None else at)
    (count,) = struct.unpack_from(order + length, file.read(struct.calcsize(order + length)).ljust(8, b"\0"))
    if count > MAX_TIFF_TAGS:
        raise BadImageError(f"has more than {MAX_TIFF_TAGS:,} tags: save it again")
    layout = struct.Struct(order + entry)
    for tag, kind, values, value in layout.iter_unpack(
        file.read(count * layout.size).ljust(count * layout.size, b"\0")
    ):
        if values > MAX_TIFF_VALUES and kind not in TIFF_BYTES:
            raise BadImageError(f"has {values:,} values in tag {tag}: save it again")
        if at is None and tag in TIFF_DIRECTORIES:
            file.seek(0)
            _check_tiff(file, value)


CHECKS = {
    b"RIFF": _check_webp, b"\x89PNG": _check_png, b"GIF8": _check_gif,
    **dict.fromkeys((b"\xff\xd8\xff" + bytes([marker]) for marker in range(256)), _check_jpeg),
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"), _check_tiff),
}  # fmt: skip


def _flatten_deep(image: Image.Image) -> Image.Image:
    """An image of 16 bits a pixel as mode L: the upper 8 bits."""
    deep = np.asarray(image)
    if deep.min() < 0 or deep.max() > 65535:
        raise BadImageError("has 32 bits a pixel: save it with 8 or 16")
    shallow = (deep >> 8).astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        shallow[deep == transparent] = 255
    return Image.fromarray(shallow)
