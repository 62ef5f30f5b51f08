"""Tables of pictures: CSV and TSV."""

from pathlib import Path

import pytest
from conftest import fill

from underhood.core.errors import DataError, UnreadableError
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
        (["path,label"], "lists no pictures"),
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
def test_a_table_that_cannot_be_used_names_the_line(lines: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as error:
        read(write_table(tmp_path, lines))
    assert "list" in str(error.value)


def test_a_picture_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    table = write_table(tmp_path, ["path,label", "pictures/0.png,a", "pictures/gone.png,b", "pictures/1.png,b"])
    with pytest.raises(UnreadableError, match=r"gone\.png: there is no such file"):
        read(table)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path, ["path,label"])
    path.write_bytes(b"path,label\npictures/0.png,\xff\xfe\n")
    with pytest.raises(DataError, match="not UTF-8"):
        read(path)
