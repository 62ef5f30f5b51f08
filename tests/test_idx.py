"""IDX files, plain and gzip, and damaged ones."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from underhood.core.errors import DataError
from underhood.data.idx import read_idx
from underhood.data.read import load_data, read

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 5, 4), dtype=np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 4


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_set(folder: Path, packed: bool = True, valid: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in ("train", "t10k") if valid else ("train",):
        for kind, array in (("images-idx3", PIXELS), ("labels-idx1", LABELS)):
            path = folder / f"{stem}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["", "MNIST/raw", "raw"])
def test_idx_files_are_read_plain_or_gzip_where_people_keep_them(packed: bool, below: str, tmp_path: Path) -> None:
    write_set(tmp_path / below, packed)
    loaded = load_data(tmp_path)
    data = loaded.dataset
    assert (data.train.pixels[:, 0] == PIXELS).all()
    assert (data.valid.labels == LABELS).all()
    assert data.classes == ("0", "1", "2", "3")
    assert data.train.names[:2] == ["train/0/0.png", "train/1/1.png"]
    assert loaded.preparation.width == 4
    assert loaded.preparation.height == 5


def test_without_the_10000_a_fifth_is_held_out(tmp_path: Path) -> None:
    data = read(write_set(tmp_path, valid=False))
    assert len(data.train) == 32
    assert len(data.valid) == 8


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS))[:-20], "damaged gzip"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS))[:8] + b"\0" * 50, "damaged gzip"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"\1\2\3\4" + bytes(40)), "begins with 01 02 03 04"),
        ("train-images-idx3-ubyte.gz", b"", "begins with nothing"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS)[:-1]), "holds fewer"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS) + b"\0"), "holds more"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS)[:10]), "too short"),
        ("train-images-idx3-ubyte.gz", gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, *[2**31] * 3)), "so small"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS[:-1])), "39 images but .* 40 labels"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS[:0])), "holds no images"),
        ("train-images-idx3-ubyte.gz", None, "labels but no train-images"),
        ("train-labels-idx1-ubyte.gz", None, "no train-labels"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS + 1)), "label 4, which is none of 0, 1, 2, 3"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS * 0)), "label 1, which is none of 0"),
    ],
)
def test_the_error_for_a_damaged_set_names_the_file_and_the_fix(
    name: str, content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = write_set(tmp_path) / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says) as error:
        read(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_only_the_10000_are_not_enough(tmp_path: Path) -> None:
    for path in write_set(tmp_path).glob("train*"):
        path.unlink()
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        read(tmp_path)


@given(content=st.binary(max_size=60), packed=st.booleans())
def test_any_bytes_give_an_array_or_a_data_error(
    content: bytes, packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-idx"
    for prefix in (b"", b"\0\0\x08\x01", b"\0\0\x08\x03\0\0\0\2\0\0\0\1\0\0\0\1"):
        path.write_bytes(gzip.compress(prefix + content) if packed else prefix + content)
        try:
            array = read_idx(path)
        except DataError:
            continue
        assert array.dtype == np.uint8
        assert array.ndim in (1, 3)


@pytest.mark.parametrize("name", ["train-images", "train-labels", "t10k-images", "t10k-labels"])
def test_the_real_files_declare_what_they_hold(name: str, mnist: object) -> None:
    from underhood.data.named import fetch

    path = next(fetch("mnist", download=False).glob(f"{name}-*"))
    assert len(read_idx(path)) == (60_000 if name.startswith("train") else 10_000)
