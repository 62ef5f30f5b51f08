"""A small file cannot make decoding take much time or memory, and only regular files are opened.

The hostile images of issue 17 and their neighbours. Memory is measured in processes of their own.
"""

import io
import os
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import fill, picture
from PIL import Image

from underhood.core.errors import DataError, UnreadableError
from underhood.data.read import load_data
from underhood.preparation.files import BadImageError, header_pixels, open_image, read_header_size

MB = 10**6
Image.init()  # importing Pillow's plugins loads an image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)


def grey_rows(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IDAT", zlib.compress(bytes((width + 1) * height))


def progressive_with(scans: int, width: int, height: int) -> bytes:
    """A grey progressive JPEG of six scans, to which the last one is added ``scans`` times."""
    content = saved(Image.new("L", (width, height), 99), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*segments: bytes) -> bytes:
    """A JPEG with more segments after its beginning."""
    content = saved(picture(0), "JPEG")
    return content[:2] + b"".join(segments) + content[2:]


def tiff(width: int, height: int, *more: tuple[int, int, int, bytes], body: bytes = bytes(64)) -> bytes:
    """A grey TIFF. more: tags as (tag, type, count, value of at most 4 bytes, or bytes to store elsewhere)."""
    tags = {
        256: (4, 1, struct.pack("<I", width)), 257: (4, 1, struct.pack("<I", height)),
        258: (3, 1, struct.pack("<I", 8)),
        259: (3, 1, struct.pack("<I", 1)), 262: (3, 1, struct.pack("<I", 1)), 277: (3, 1, struct.pack("<I", 1)),
        273: (4, 1, b"body"), 279: (4, 1, struct.pack("<I", len(body))), 278: (4, 1, struct.pack("<I", height)),
    }  # fmt: skip
    for tag, kind, count, value in more:
        tags[tag] = (kind, count, value)
        if tag == 322:
            del tags[273], tags[278], tags[279]
    place = 8 + 2 + 12 * len(tags) + 4
    directory, after = struct.pack("<H", len(tags)), body
    for tag, (kind, count, value) in sorted(tags.items()):
        if value == b"body":
            value = struct.pack("<I", place)
        elif len(value) > 4:
            value, after = struct.pack("<I", place + len(after)), after + value
        directory += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + after


def tiled(side: int, compression: int, body: bytes) -> bytes:
    """An 8 × 8 TIFF in one tile of this side."""
    long = lambda value: struct.pack("<I", value)  # noqa: E731
    return tiff(
        8, 8, (259, 3, 1, long(compression)), (322, 4, 1, long(side)), (323, 4, 1, long(side)),
        (324, 4, 1, b"body"), (325, 4, 1, long(len(body))), body=body,
    )  # fmt: skip


def riff(chunk: bytes, body: bytes, length: int | None = None) -> bytes:
    inner = b"WEBP" + chunk + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(inner) if length is None else length) + inner


def lossless_webp(width: int, height: int, more: bytes) -> bytes:
    return riff(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + more)


def bmp(width: int, height: int, body: bytes) -> bytes:
    """A run-length encoded BMP of 8 bits."""
    start = 54 + 1024
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0) + bytes(1024) + body


def gif_with(before: bytes = b"", width: int = 12, height: int = 12) -> bytes:
    """A GIF with blocks before its image, whose frame has a size of its own."""
    content = saved(picture(0), "GIF")
    at = 13 + (3 << (content[10] & 7) + 1)
    return content[:at] + before + content[at : at + 5] + struct.pack("<HH", width, height) + content[at + 9 :]


def exif_tiff(count: int) -> bytes:
    """A TIFF whose EXIF directory has a tag of this many fractions, which Pillow unpacks."""
    content = tiff(8, 8, (34665, 4, 1, b"\xee\xee\xee\xee"))
    directory = struct.pack("<H", 1) + struct.pack("<HHII", 40000, 5, count, len(content) + 18) + bytes(4)
    return content.replace(b"\xee" * 4, struct.pack("<I", len(content))) + directory + bytes(8 * count)


END = (b"IEND", b"")
PROFILE = (b"iCCP", b"a\0\0" + zlib.compress(bytes(MB)))
HOSTILE = {
    "a progressive JPEG of 3,006 scans": (progressive_with(3_000, 4_000, 3_000), "segments"),
    "a progressive JPEG of 106 scans": (progressive_with(100, 64, 64), "too many scans"),
    "a JPEG of 50 megapixels in 26 scans": (progressive_with(20, 8_192, 6_144), "too many scans"),
    "a JPEG of 90,000 EXIF segments": (jpeg_with(*[segment(0xE1, b"Exif\0\0" + bytes(90))] * 90_000), "segments"),
    "a JPEG of 1,000 EXIF segments": (jpeg_with(*[segment(0xE1, b"Exif\0\0" + bytes(9_000))] * 1_000), "EXIF segments"),
    "a JPEG of a million comments": (jpeg_with(*[segment(0xFE, b"")] * MB), "segments"),
    "a JPEG with bytes between its segments": (jpeg_with(segment(0xFE, b""), bytes(MB)), "bytes between"),
    "an 8 × 8 TIFF in one tile of 32,768 × 32,768": (tiled(32_768, 5, b"\x80\x0b\x60\x50\x22"), "tiles of 32,768"),
    "the same, not compressed": (tiled(32_768, 1, bytes(64)), "tiles of 32,768"),
    "a TIFF with two widths of a tile": (
        tiff(
            8, 8, (259, 3, 1, struct.pack("<I", 5)), (322, 4, 2, struct.pack("<II", 16, 16)), (324, 4, 1, b"body"),
            (323, 4, 1, struct.pack("<I", 400_000_000)), (325, 4, 1, struct.pack("<I", 5)),
        ), "tiles of 16 × 400,000,000|tag 322",
    ),
    "a TIFF of a million strips": (tiff(8, 8, (273, 4, MB, struct.pack("<I", 8) * MB)), "1,000,000 values in tag 273"),
    "a TIFF with two million fractions": (exif_tiff(2 * MB), "2,000,000 values in tag 40000"),
    "a truncated WebP of 49 megapixels": (lossless_webp(16_383, 3_000, bytes(90))[:34], "shorter than its header"),
    "a WebP of 268 megapixels": (lossless_webp(16_383, 16_383, b"\x88\x88\x08"), "too large"),
    "the same, lossy": (riff(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383)), "too large"),
    "the same, extended": (riff(b"VP8X", bytes(4) + b"\xfe\x3f\0" * 2), "too large"),
    "a PNG with a second header of 27 megapixels": (
        png(png_header(8, 8), png_header(9_000, 3_000), grey_rows(9_000, 3_000), END), "two IHDR",
    ),
    "a PNG with a second header after its pixels": (
        png(png_header(8, 8), grey_rows(8, 8), png_header(9_000, 3_000), END), "two IHDR",
    ),
    "a PNG with 5,000 colour profiles of a megabyte": (png(png_header(8, 8), *[PROFILE] * 5_000, END), "two iCCP"),
    "the same after its pixels": (png(png_header(8, 8), grey_rows(8, 8), *[PROFILE] * 5_000, END), "two iCCP"),
    "a PNG with gigabytes of text": (
        png(png_header(8, 8), *[(b"zTXt", PROFILE[1])] * 5_000, grey_rows(8, 8), END), "Too much memory",
    ),
    "a PNG of a million empty chunks": (png(png_header(8, 8), *[(b"IDAT", b"")] * MB, END), "chunks"),
    "a GIF with a million blocks of comment": (gif_with(b"!\xfe" + b"\x01a" * MB + b"\0"), "blocks"),
    "a GIF with a frame larger than its screen": (gif_with(width=9_000, height=9_000), "9,000 × 9,000 pixels"),
    "a run-length encoded BMP of 50 megapixels": (bmp(8_192, 6_144, b"\1\1\0\0" * 6_144), "run-length"),
    "a run-length encoded BMP that never fills its rows": (bmp(8, 8, b"\1\1" * 3 * MB), "run-length"),
    "a BMP of one row": (bmp(49_000_000, 1, b"\0\2\xff\xff" * 10), "too large"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bomb_is_refused_before_it_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.Image.Image.load", decoded)
    content, reason = HOSTILE[name]
    with pytest.raises(BadImageError, match=reason) as bad:
        open_image(io.BytesIO(content))
    assert "\n" not in str(bad.value)
    assert header_pixels(content) is None


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_refusing_all_of_them_takes_little_memory(tmp_path: Path) -> None:
    for number, (content, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"{number}.png").write_bytes(content)
    largest = max(file.stat().st_size for file in tmp_path.iterdir())
    script = (
        "import re, sys; from pathlib import Path; from PIL import Image; Image.init(); "
        "from underhood.preparation.files import BadImageError, open_image; "
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024; "
        "before = peak(); refused = 0\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try: open_image(path)\n"
        "    except BadImageError: refused += 1\n"
        "print(refused, peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    refused, more = map(int, done.stdout.split())
    assert refused == len(HOSTILE)
    assert more < 3 * largest + 20 * MB  # a JPEG is read whole


def test_what_cameras_and_programs_write_is_read() -> None:
    photo = picture(0, 640, 480, colour=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, options in (
        ("JPEG", {"progressive": True, "exif": exif, "icc_profile": bytes(200_000), "comment": "x" * 1_000}),
        ("TIFF", {"compression": "tiff_lzw", "exif": exif, "icc_profile": bytes(200_000)}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"big_tiff": True}),
        ("PNG", {"exif": exif, "icc_profile": bytes(200_000)}),
        ("WEBP", {"exif": exif, "icc_profile": bytes(200_000)}),
        ("GIF", {"comment": b"x" * 10_000}),
    ):  # fmt: skip
        content = saved(photo, kind, **options)
        turned = "exif" in options
        assert open_image(io.BytesIO(content)).image.size == ((480, 640) if turned else (640, 480)), kind
        assert header_pixels(content) == 640 * 480, kind
    assert open_image(io.BytesIO(tiled(1_024, 1, bytes(1_024 * 1_024)))).size == (8, 8)
    assert open_image(io.BytesIO(bmp(8, 2, b"\x08\1\0\0\x08\2\0\1"))).size == (8, 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_stands_upright(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(picture(0, 16, 12), "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert (np.asarray(open_image(io.BytesIO(content)).image) == expected).all()


def test_a_video_appended_to_a_photograph_is_not_read(tmp_path: Path) -> None:
    """Motion photos: bytes after the image look like thousands of scans."""
    content = saved(picture(0, 64, 64), "JPEG") + b"\xff\xda\0\2" * 10_000
    assert open_image(io.BytesIO(content)).size == (64, 64)


def test_the_header_tells_how_many_pixels_will_be_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(0, 20, 10).save(path)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert header_pixels(source) == 200
    assert header_pixels(lossless_webp(16_383, 3_000, b"\x88\x88\x08")) == 49_149_000  # 34 bytes that are no error
    for nothing in (b"", b"text", tmp_path / "none.png"):
        assert header_pixels(nothing) is None


@pytest.fixture
def in_time() -> Iterator[None]:
    """Opening a pipe would wait for ever."""

    def late(*_: object) -> None:
        raise AssertionError("still waiting after a minute")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
class TestRegularFilesOnly:
    @pytest.fixture(autouse=True)
    def _in_time(self, in_time: None) -> None:
        pass

    @pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
    def test_a_table_that_lists_something_else_names_it(self, kind: str, tmp_path: Path) -> None:
        fill(tmp_path, {f"{i}.png": i for i in range(6)})
        odd = tmp_path / "odd.png"
        if kind == "pipe":
            os.mkfifo(odd)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(odd))
        elif kind == "device":
            odd.symlink_to("/dev/zero")
        else:
            odd.mkdir()
        rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(6)]
        (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows, "odd.png,a"]))
        with pytest.raises(UnreadableError, match=r"odd\.png: (is not a regular file|cannot be read)"):
            load_data(tmp_path / "list.csv")
        assert len(load_data(tmp_path / "list.csv", skip_bad=True).left_out) == 1
        assert read_header_size(str(odd)) is None

    def test_a_pipe_in_a_class_folder_is_ignored(self, small_folder: Path) -> None:
        os.mkfifo(small_folder / "dark" / "pipe.png")
        assert "ignored 1 files" in load_data(small_folder).notes[1]

    def test_a_pipe_as_table_or_idx_file_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "list.csv")
        with pytest.raises(DataError, match="neither a folder nor"):
            load_data(tmp_path / "list.csv")
        os.mkfifo(tmp_path / "train-images-idx3-ubyte")
        with pytest.raises(DataError):
            load_data(tmp_path)
