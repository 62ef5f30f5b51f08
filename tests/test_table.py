"""Tables of images, and the functions that read and write CSV files and PNG files."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import fill
from PIL import Image

from underhood.core.errors import DataError, UnreadableError
from underhood.data.files import csv_text, data_url, encode_png, read_csv
from underhood.data.read import read


def write_table(tmp_path: Path, lines: list[str], name: str = "list.csv") -> Path:
    fill(tmp_path, {f"pictures/{i}.png": i for i in range(12)})
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_a_table_without_split_holds_out_a_fifth(tmp_path: Path) -> None:
    rows = [f"pictures/{i}.png,{'ab'[i % 2]}" for i in range(12)]
    data = read(write_table(tmp_path, ["path,label", *rows]))
    assert data.classes == ("a", "b")
    assert len(data.train) == 10
    assert len(data.valid) == 2


def test_a_table_may_say_the_split_and_be_separated_by_tabs(tmp_path: Path) -> None:
    rows = [f"{'ab'[i % 2]}\t{'train' if i < 8 else 'val' if i < 10 else 'Test'}\tpictures/{i}.png" for i in range(12)]
    data = read(write_table(tmp_path, ["label\tsplit\tpath", *rows], "list.tsv"))
    assert (len(data.train), len(data.valid)) == (8, 2)
    assert data.test is not None
    assert data.test.names == ["pictures/10.png", "pictures/11.png"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["file,class", "pictures/0.png,a"], "needs path and label"),
        ([""], "needs path and label"),
        (["path,label"], "lists no images"),
        (["path,label", "pictures/0.png,"], "line 2: the label is missing"),
        (["path,label", ",a"], "line 2: the path is missing"),
        (["path,label,split", "pictures/0.png,a,tarin"], "line 2: split is 'tarin'"),
        (["path,label,split", "pictures/0.png,a,valid"], "no row whose split is train"),
        (
            ["path,label,split", "pictures/0.png,a,train", "pictures/1.png,c,valid"],
            "class 'c' of valid is not in train",
        ),
        (["path,label", "pictures/0.png,a", "pictures/1.png,a"], "only one class"),
    ],
)
def test_the_error_for_an_unusable_table_names_the_line(lines: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as error:
        read(write_table(tmp_path, lines))
    assert "list" in str(error.value)


def test_an_image_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    table = write_table(tmp_path, ["path,label", "pictures/0.png,a", "pictures/gone.png,b", "pictures/1.png,b"])
    with pytest.raises(UnreadableError, match=r"gone\.png: there is no such file"):
        read(table)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path, ["path,label"])
    path.write_bytes(b"path,label\npictures/0.png,\xff\xfe\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read(path)


def test_csv_text_reads_back_whatever_the_names(tmp_path: Path) -> None:
    rows = [["a,b", 'say "x"'], ["line\nbreak", ""], ["\udcff.png", "ü"]]
    path = tmp_path / "names.csv"
    path.write_bytes(csv_text(["path", "label"], rows).encode("utf-8", "surrogateescape"))
    assert [list(row.values()) for row in read_csv(path, ["path", "label"])] == rows


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        ("", None, "no header"),
        ("a,b\n1,2\n", ["a", "c"], "expected the columns a, c"),
        ("a,b\n1,2\n3\n", ["a", "b"], "line 3: expected 2 fields, not 1"),
        ('a,b\n1,"2\n', None, "line 2: unexpected end of data"),
    ],
)
def test_read_csv_gives_a_reason(content: str, columns: list[str] | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=says):
        read_csv(path, columns)


def test_without_expected_columns_short_rows_are_filled(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    path.write_text("a,b\n1\n\n2,3,4\n")
    assert read_csv(path) == [{"a": "1", "b": ""}, {"a": "2", "b": "3"}]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_and_data_url_hold_the_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    content = encode_png(pixels)
    shown = np.asarray(Image.open(io.BytesIO(content)))
    assert (shown == (pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))).all()
    assert base64.b64decode(data_url(content).removeprefix("data:image/png;base64,")) == content
