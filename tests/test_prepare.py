"""Image files of all kinds become pixels."""

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from hypothesis import given, strategies as st
from PIL import Image

from underhood.core.errors import UnderhoodError, UnknownNameError
from underhood.data.decode import decode_files
from underhood.preparation import Preparation, check_options, fit_image, prepare_image, refit
from underhood.preparation.digit import STEPS
from underhood.preparation.files import BadImageError, read_header_size
from underhood.preparation.resize import border_colour

GREY, COLOUR = Preparation(1, 12, 12), Preparation(3, 12, 12)


def saved(image: Image.Image, kind: str, **options: object) -> BytesIO:
    file = BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_grey_image_keeps_its_pixels_in_every_lossless_format(kind: str) -> None:
    image = picture(1)
    assert (prepare_image(saved(image, kind), GREY)[0] == np.asarray(image)).all()


def test_webp_keeps_its_pixels_when_saved_lossless() -> None:
    image = picture(1, colour=True)
    assert (prepare_image(saved(image, "WEBP", lossless=True), COLOUR) == np.asarray(image).transpose(2, 0, 1)).all()


def test_an_image_rotated_by_exif_stands_upright() -> None:
    upright = Image.fromarray(np.repeat(np.repeat(np.array([[0, 255], [90, 160]], np.uint8), 6, 0), 6, 1))
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # orientation 6 in EXIF: turn it back
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, options in (("JPEG", {"quality": 100}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        pixels = prepare_image(saved(turned, kind, exif=exif, **options), GREY)[0]
        assert np.abs(pixels.astype(int) - np.asarray(upright)).max() <= 2, kind


def test_transparency_is_flattened_on_white() -> None:
    clear = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
    clear.paste((10, 20, 30, 255), (0, 0, 6, 12))
    pixels = prepare_image(saved(clear, "PNG"), COLOUR)
    assert pixels[:, 0, 0].tolist() == [10, 20, 30]
    assert pixels[:, 0, 11].tolist() == [255, 255, 255]
    palette = clear.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    see_through = int(np.asarray(palette)[0, 11])
    assert prepare_image(saved(palette, "GIF", transparency=see_through), COLOUR)[:, 0, 11].tolist() == [255] * 3
    grey_alpha = Image.new("LA", (12, 12), (0, 128))
    assert prepare_image(saved(grey_alpha, "PNG"), GREY)[0, 0, 0] == 127


def test_one_bit_sixteen_bit_palette_and_cmyk_become_eight_bits() -> None:
    bits = Image.fromarray(np.eye(12, dtype=bool))
    assert (prepare_image(saved(bits, "PNG"), GREY)[0] == np.eye(12) * 255).all()
    deep = Image.fromarray((np.arange(144, dtype=np.uint16) * 455).reshape(12, 12))
    for kind in ("PNG", "TIFF"):
        assert (prepare_image(saved(deep, kind), GREY)[0] == np.asarray(deep) // 256).all()
    flag = picture(3, colour=True).quantize(16)
    expected = np.asarray(flag.convert("RGB")).transpose(2, 0, 1)
    assert (prepare_image(saved(flag, "PNG"), COLOUR) == expected).all()
    red = Image.new("CMYK", (12, 12), (0, 255, 255, 0))
    assert prepare_image(saved(red, "TIFF"), COLOUR)[:, 5, 5].tolist() == [255, 0, 0]


def test_only_the_first_frame_of_an_animation_counts() -> None:
    first, second = picture(1), picture(2)
    moving = saved(first, "GIF", save_all=True, append_images=[second])
    assert (prepare_image(moving, GREY)[0] == np.asarray(first)).all()


def test_pad_keeps_the_shape_and_continues_the_border() -> None:
    wide = Image.new("L", (40, 20), 200)
    wide.paste(10, (10, 5, 30, 15))
    padded = np.asarray(fit_image(wide, Preparation(1, 20, 20, "pad")))
    assert (padded[:5] == 200).all()
    assert (padded[15:] == 200).all()
    assert padded[10, 10] == 10


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (500, 300), (1, 60_000), (60_000, 1)])
@pytest.mark.parametrize("colour", [False, True])
def test_the_border_colour_is_the_median_of_all_four_edges(size: tuple[int, int], colour: bool) -> None:
    image = picture(0, *size, colour=colour)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    expected = np.median(edges, axis=0).astype(int).tolist()
    assert border_colour(image) == (tuple(expected) if colour else expected[0])


def test_crop_takes_the_centre_and_stretch_takes_all() -> None:
    halves = Image.fromarray(np.repeat([[0] * 10 + [100] * 20 + [255] * 10], 20, 0).astype(np.uint8))
    cropped = np.asarray(fit_image(halves, Preparation(1, 20, 20, "crop")))
    assert set(np.unique(cropped)) == {100}
    stretched = np.asarray(fit_image(halves, Preparation(1, 20, 20, "stretch")))
    assert stretched[0, 0] == 0
    assert stretched[0, -1] == 255


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(["pad", "crop", "stretch"]),
    st.integers(1, 40),
    st.booleans(),
)
def test_every_image_gets_the_preparations_shape(width: int, height: int, fit: str, size: int, colour: bool) -> None:
    preparation = Preparation(3 if colour else 1, size, size, fit)
    pixels = prepare_image(picture(0, width, height, colour=not colour), preparation)
    assert pixels.shape == (preparation.channels, size, size)
    assert pixels.dtype == np.uint8


@given(st.integers(0, 255), st.integers(1, 90), st.integers(1, 90), st.sampled_from(["pad", "crop", "stretch"]))
def test_a_plain_image_stays_plain(level: int, width: int, height: int, fit: str) -> None:
    pixels = prepare_image(Image.new("L", (width, height), level), Preparation(1, 16, 16, fit))
    assert (pixels == level).all()


def test_a_large_jpeg_is_decoded_small_but_looks_the_same() -> None:
    big = picture(0, 8, 8).resize((2000, 1500), Image.Resampling.BICUBIC)
    fast = prepare_image(saved(big, "JPEG", quality=95), Preparation(1, 32, 32)).astype(int)
    slow = prepare_image(big, Preparation(1, 32, 32)).astype(int)
    assert np.abs(fast - slow).max() <= 6


def test_pixels_stored_as_arrays_are_prepared_the_same_way() -> None:
    image = picture(4, 20, 20)
    target = Preparation(3, 8, 8)
    assert (refit(np.asarray(image)[None, None], target)[0] == prepare_image(image, target)).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"I am a text, not an image", "not an image"),
        (saved(picture(0, 64, 64), "PNG").getvalue()[:600], "broken"),
        (saved(picture(0, 64, 64), "JPEG").getvalue()[:700], "broken"),
    ],
)
def test_a_bad_file_is_refused_with_a_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=reason):
        prepare_image(path, GREY)


def png_header(width: int, height: int) -> bytes:
    """A PNG file with a size and no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_an_image_of_fifty_thousand_squared_is_refused_before_decoding() -> None:
    with pytest.raises(BadImageError, match="too large"):
        prepare_image(BytesIO(png_header(50_000, 50_000)), GREY)
    with pytest.raises(BadImageError, match="too large"):  # between Pillow's warning and its error
        prepare_image(BytesIO(png_header(10_000, 10_000)), GREY)


def test_transparent_one_bit_and_sixteen_bit_images_are_flattened_too() -> None:
    for mode, dark in (("1", 0), ("I;16", 0)):
        image = Image.new(mode, (4, 4), dark)
        file = BytesIO()
        image.save(file, "PNG", transparency=dark)
        file.seek(0)
        assert (prepare_image(file, Preparation(1, 4, 4)) == 255).all(), mode


def test_an_invalid_preparation_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pad'"):
        Preparation(1, 8, 8, "padd")
    for wrong in ((2, 8, 8), (1, 0, 8), (1, 8, "8")):
        with pytest.raises(ValueError, match="channels must be 1 or 3"):
            Preparation(*wrong)


def test_a_huge_image_in_a_folder_is_listed_with_its_size(tmp_path: Path) -> None:
    """In the code that decodes folders, where Pillow's warnings are silenced."""
    (tmp_path / "huge.png").write_bytes(png_header(50_000, 50_000))
    decoded = decode_files([str(tmp_path / "huge.png")])
    assert "too large to decode" in decoded.unreadable[str(tmp_path / "huge.png")]
    (tmp_path / "large.png").write_bytes(png_header(10_000, 10_000))
    assert "too large to decode" in decode_files([str(tmp_path / "large.png")]).unreadable[str(tmp_path / "large.png")]


def test_header_sizes_are_those_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (10, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_header_size(str(tmp_path / "turned.jpg")) == (4, 10)
    assert read_header_size(str(tmp_path / "none.jpg")) is None


def test_a_few_large_images_keep_every_core_busy(tmp_path: Path) -> None:
    for i in range(6):
        picture(i, 700, 700).save(tmp_path / f"{i}.png")
    calls = []
    decode_files([str(tmp_path / f"{i}.png") for i in range(6)], progress=lambda done, total: calls.append(done))
    assert calls == list(range(1, 7))


def test_importing_preparation_imports_neither_scipy_nor_torch() -> None:
    script = "import sys, underhood.preparation; print([name for name in ('scipy', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_fit_says_what_it_makes() -> None:
    pad, digit = Preparation(3, 12, 14), Preparation(1, 28, 28, "digit")
    assert (pad.steps, pad.applies_to_stored, pad.reads_digits, pad.decode_size) == ((), True, False, 14)
    assert (digit.steps, digit.applies_to_stored, digit.reads_digits, digit.decode_size) == (STEPS, False, True, 192)
    assert digit.as_dict() == {"channels": 1, "height": 28, "width": 28, "fit": "digit"}
    for wrong in ((3, 28, 28), (1, 28, 20)):
        with pytest.raises(ValueError, match="'digit' cannot make"):
            Preparation(*wrong, "digit")


def test_digit_makes_grey_images_only() -> None:
    for fit, channels in ((None, 3), ("pad", 3), ("digit", 1), ("digit", None)):
        check_options(fit, channels)
    with pytest.raises(UnderhoodError, match="--fit digit makes grey images: leave --channels out"):
        check_options("digit", 3)
