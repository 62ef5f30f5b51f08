"""A folder per class: the layouts that are read, and the errors for those that cannot be."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import fill, picture
from PIL import Image

from underhood.core.errors import DataError, UnreadableError
from underhood.data.listing import list_folder, natural_order
from underhood.data.read import load_data, read, read_parts


def test_classes_are_in_natural_order_and_files_in_text_order(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/{i}.png": 100 * c + i for c in (1, 2, 9, 10) for i in (1, 2, 10)})
    listing = list_folder(tmp_path)
    assert listing.classes == ("1", "2", "9", "10")
    assert listing.parts["train"].names[:3] == ["1/1.png", "1/10.png", "1/2.png"]
    assert sorted(["img12", "x²", "img2", "IMG1", "7"], key=natural_order) == ["7", "IMG1", "img2", "img12", "x²"]


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("train", "valid"), ["train", "valid"]),
        (("train", "val"), ["train", "valid"]),
        (("training", "testing"), ["train", "test"]),
        (("Train", "Valid", "TEST"), ["train", "valid", "test"]),
    ],
)
def test_parts_are_known_by_their_usual_names(folders: tuple[str, ...], parts: list[str], tmp_path: Path) -> None:
    names = [f"{part}/{c}/{i}.png" for part in folders for c in "ab" for i in range(2)]
    fill(tmp_path, {name: seed for seed, name in enumerate(names)})
    assert list(list_folder(tmp_path).parts) == parts


def test_the_test_part_validates_if_there_is_no_validation_part(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {
            f"{p}/{c}/{i}.png": 10 * ord(c) + i + 500 * (p == "test")
            for p in ("train", "test")
            for c in "ab"
            for i in range(9)
        },
    )
    data = read(tmp_path)
    assert data.test is None
    assert data.valid.names[0] == "test/a/0.png"


def test_images_at_any_depth_and_suffix_are_found_and_the_rest_counted(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"a/x/y/1.PNG": 1, "a/2.JpEg": 2, "a/3.gif": 3, "b/4.BMP": 4, "b/5.webp": 5, "b/.6.png": 6, "b/7.tif": 7},
    )
    for name in ("README.md", "LICENSE", "prepare.py", "a/notes.txt", ".git"):
        (tmp_path / name).write_text("x")
    fill(tmp_path, {".cache/8.png": 8, "loose.png": 9})
    listing = list_folder(tmp_path)
    assert listing.parts["train"].names == ["a/2.JpEg", "a/3.gif", "a/x/y/1.PNG", "b/4.BMP", "b/5.webp", "b/7.tif"]
    assert listing.notes == [
        "ignored 8 files that are not labelled images (1 .md, 1 .png, 1 .py, 1 .txt, 3 hidden, 1 without suffix)"
    ]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/{i}.png": 10 * i + len(c) for c in ("bus", "train") for i in range(3)})
    assert list_folder(tmp_path).classes == ("bus", "train")


def test_links_to_folders_are_followed_and_cycles_end(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", {"1.png": 1})
    fill(tmp_path / "data", {"a/0.png": 0, "b/2.png": 2})
    (tmp_path / "data/a/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/circle").symlink_to(tmp_path / "data/a")
    assert list_folder(tmp_path / "data").parts["train"].names == ["a/0.png", "a/linked/1.png", "b/2.png"]


@pytest.mark.parametrize(
    ("files", "folders", "says"),
    [
        ({}, (), "holds no images"),
        ({"1.png": 1, "2.png": 2}, (), "2 images are in"),
        ({"a/1.png": 1}, ("b",), "b holds no images"),
        ({"a/1.png": 1, "a/2.png": 2}, (), "only one class, 'a'"),
        ({"train/a/1.png": 1, "train/b/2.png": 2, "valid/a/3.png": 3, "valid/c/4.png": 4}, (), "class 'c' of .*valid"),
        ({"valid/a/1.png": 1, "valid/b/2.png": 2}, (), "no train folder"),
        ({"train/a/1.png": 1, "train/b/2.png": 2, "valid/a/x.txt": 3}, (), "valid holds no images"),
        ({"train/a/1.png": 1, "train/b/2.png": 2, "val/a/3.png": 3, "valid/a/4.png": 4}, (), "both the valid part"),
    ],
)
def test_the_error_for_an_unusable_folder_names_it_and_the_reason(
    files: dict[str, int], folders: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    fill(root, {name: what for name, what in files.items() if name.endswith(".png")})
    for name in (name for name in files if not name.endswith(".png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    for folder in folders:
        (root / folder).mkdir()
    with pytest.raises(DataError, match=says) as error:
        read(root)
    assert str(root) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_missing_from_valid_is_a_warning(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a/1.png": 1, "train/b/2.png": 2, "valid/a/3.png": 3})
    assert any("no image of 'b'" in warning for warning in load_data(tmp_path).warnings)


def test_all_unreadable_images_are_listed_and_skip_bad_leaves_them_out(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/{i}.png": 10 * i + ord(c) for c in "ab" for i in range(6)})
    (tmp_path / "a/empty.png").touch()
    (tmp_path / "b/text.png").write_text("not an image")
    with pytest.raises(UnreadableError) as error:
        read(tmp_path)
    assert {Path(p).name for p in error.value.unreadable} == {"empty.png", "text.png"}
    loaded = load_data(tmp_path, skip_bad=True)
    data = loaded.dataset
    assert len(data.train) + len(data.valid) == 12
    assert {Path(p).name for p in loaded.left_out} == {"empty.png", "text.png"}
    names = [*data.train.names, *data.valid.names]
    for name in names:  # labels stay with their images when rows are left out
        images = data.train if name in data.train.names else data.valid
        i = list(images.names).index(name)
        assert images.classes[images.labels[i]] == name[0]
        assert (images.pixels[i, 0] == np.asarray(Image.open(tmp_path / name))).all()


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/{i}.png": 10 * i + ord(c) for c in "ab" for i in range(3)})
    (tmp_path / "a/1.png").chmod(0)
    for above in (tmp_path, *tmp_path.parents[:2]):  # pytest's own folders, which only their owner may enter
        above.chmod(0o755)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything: change to the user nobody
    try:
        with pytest.raises(UnreadableError, match=r"a/1\.png: cannot be read \(permission denied\)"):
            read(tmp_path)
    finally:
        os.seteuid(user)


def test_grey_unless_any_image_is_coloured(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/{i}.png": 10 * i + ord(c) for c in "ab" for i in range(4)})
    fill(tmp_path, {"a/grey as rgb.png": picture(50).convert("RGB")})
    assert read(tmp_path).train.pixels.shape[1] == 1
    fill(tmp_path, {"b/colour.png": picture(51, colour=True)})
    data = read(tmp_path)
    assert data.train.pixels.shape[1] == 3
    grey = data.train.pixels[0]
    assert (grey[0] == grey[1]).all()
    assert read(tmp_path, channels=1).train.pixels.shape[1] == 1


def test_the_common_size_is_kept_up_to_64_and_anything_else_becomes_64(tmp_path: Path) -> None:
    fill(tmp_path / "same", {f"{c}/{i}.png": picture(i + ord(c), 20, 28) for c in "ab" for i in range(4)})
    assert read(tmp_path / "same").train.pixels.shape[1:] == (1, 28, 20)
    assert read(tmp_path / "same", size=16).train.pixels.shape[1:] == (1, 16, 16)
    fill(tmp_path / "large", {f"{c}/{i}.png": picture(i + ord(c), 65, 65) for c in "ab" for i in range(4)})
    assert read(tmp_path / "large").train.pixels.shape[1:] == (1, 64, 64)
    fill(tmp_path / "mixed", {f"{c}/{i}.png": picture(i + ord(c), 12 + i, 12) for c in "ab" for i in range(4)})
    assert read(tmp_path / "mixed").train.pixels.shape[1:] == (1, 64, 64)


def test_one_image_of_another_size_outside_the_sample_changes_the_size_of_all(tmp_path: Path) -> None:
    names = {f"{c}/{i:03}.png": 1000 * (c == "b") + i for c in "ab" for i in range(200)}
    fill(tmp_path, names)
    assert load_data(tmp_path).preparation.width == 12
    fill(tmp_path, {"b/198.png": picture(7, 13, 12)})
    assert load_data(tmp_path).preparation.width == 64


def test_many_processes_read_what_one_reads(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/{i:03}.png": 1000 * (c == "b") + i for c in "ab" for i in range(300)})
    fill(tmp_path, {"b/299.png": picture(7, colour=True)})
    (tmp_path / "a/100.png").write_bytes(b"broken")
    parts = read_parts(tmp_path)
    images = parts.images["train"]
    assert list(map(os.path.basename, parts.unreadable)) == ["100.png"]
    assert len(images) == 599
    for i in range(0, 599, 50):
        plain = np.asarray(Image.open(tmp_path / images.names[i]).convert("RGB")).transpose(2, 0, 1)
        assert (images.pixels[i] == plain).all()
