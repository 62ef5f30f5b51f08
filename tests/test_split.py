"""The split into training and validation images, and copies, which must be on one side."""

from pathlib import Path

import numpy as np
import pytest
from conftest import fill, picture
from hypothesis import given, strategies as st

from underhood import check
from underhood.core.images import Images
from underhood.data.read import load_data, read
from underhood.data.split import digest, group_copies, hash_images, hold_out, image_hashes, join, sample


def images_of(kinds: list[int], labels: list[int]) -> Images:
    """Images of one pixel: equal kinds are copies."""
    pixels = np.array(kinds, np.uint8).reshape(-1, 1, 1, 1)
    return Images(pixels, np.array(labels), ("a", "b", "c"), [str(i) for i in range(len(kinds))])


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2)), min_size=1, max_size=80),
    st.floats(0.05, 0.95),
    st.integers(0, 9),
)
def test_every_image_is_on_one_side_and_copies_are_together(
    pairs: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    images = images_of([kind for kind, _ in pairs], [label for _, label in pairs])
    train, valid = hold_out(images, fraction, seed)
    assert sorted([*train, *valid]) == list(range(len(pairs)))
    assert not set(images.pixels[train].ravel()) & set(images.pixels[valid].ravel())
    assert set(images.labels[train]) == set(images.labels)
    again = hold_out(images, fraction, seed)
    assert (again[0] == train).all()


@given(st.lists(st.integers(2, 60), min_size=2, max_size=3), st.floats(0.1, 0.5), st.integers(0, 99))
def test_without_copies_each_class_gives_its_fraction(sizes: list[int], fraction: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    pixels = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    images = Images(pixels, labels, tuple("abc"[: len(sizes)]), [""] * len(labels))
    _, valid = hold_out(images, fraction, seed)
    expected = [min(max(1, round(fraction * size)), size - 1) for size in sizes]
    assert np.bincount(labels[valid], minlength=len(sizes)).tolist() == expected


def test_a_class_with_two_images_trains_with_a_warning(tmp_path: Path) -> None:
    fill(tmp_path, {f"a/{i}.png": i for i in range(10)} | {"b/1.png": 11, "b/2.png": 12})
    loaded = load_data(tmp_path)
    assert loaded.dataset.train.counts()["b"] == loaded.dataset.valid.counts()["b"] == 1
    assert any("few images of 'b' (2)" in warning for warning in loaded.warnings)


def test_the_seed_decides_the_split() -> None:
    assert read("digits", seed=1).valid.names == read("digits", seed=1).valid.names
    assert read("digits", seed=1).valid.names != read("digits", seed=2).valid.names
    assert len(read("digits", valid=0.5).valid) in range(893, 904)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=100), st.integers(1, 100), st.integers(0, 9))
def test_a_sample_takes_each_class_in_proportion(labels: list[int], count: int, seed: int) -> None:
    rows = sample(np.array(labels), count, seed)
    assert len(rows) == min(count, len(labels))
    assert len(set(rows.tolist())) == len(rows)
    sizes, taken = np.bincount(labels, minlength=4), np.bincount(np.array(labels)[rows], minlength=4)
    share = len(rows) / len(labels)
    assert (np.abs(taken - share * sizes) <= 2).all()
    if count >= len(set(labels)):
        assert ((taken > 0) == (sizes > 0)).all()


def test_limit_limits_training_alone(mnist: object) -> None:
    data = read("mnist", limit=1000)
    assert len(data.train) == 1000
    assert len(data.valid) == 10_000
    assert min(data.train.counts().values()) > 80


def test_copies_share_a_group_numbered_by_its_first_occurrence() -> None:
    one, other = np.zeros((2, 1, 3, 3), np.uint8), np.ones((1, 1, 3, 3), np.uint8)
    hashes = hash_images(np.concatenate([one, other, one]))
    assert group_copies(hashes).tolist() == [0, 0, 1, 0, 0]
    assert group_copies(np.array([9, 3, 9, 1], np.uint64)).tolist() == [0, 1, 0, 2]


def test_check_finds_each_kind_of_copy_once(tmp_path: Path) -> None:
    fill(tmp_path, {f"train/{c}/{i}.png": 10 * i + ord(c) for c in "ab" for i in range(4)})
    fill(tmp_path, {"valid/a/9.png": 900, "valid/b/9.png": 901})
    fill(tmp_path, {"train/a/twice.bmp": 10 + ord("a")})  # the same pixels in another format
    fill(tmp_path, {"train/a/both.png": 50, "train/b/both.png": 50})
    fill(tmp_path, {"valid/a/leak.png": 20 + ord("a")})
    (tmp_path / "valid/b/bad.png").write_text("no image")
    found = check(tmp_path)
    assert found["images"] == 14
    assert found["classes"] == {"a": 8, "b": 6}
    assert found["parts"] == {"train": 11, "valid": 3}
    assert [entry["paths"] for entry in found["duplicates"]] == [["train/a/1.png", "train/a/twice.bmp"]]
    assert [entry["paths"] for entry in found["conflicts"]] == [["train/a/both.png", "train/b/both.png"]]
    assert [entry["paths"] for entry in found["leaks"]] == [["train/a/2.png", "valid/a/leak.png"]]
    assert [Path(path).name for path in found["unreadable"]] == ["bad.png"]
    assert found["sizes"] == {"12x12": 14}


def test_a_duplicate_in_the_pool_does_not_leak_into_validation(tmp_path: Path) -> None:
    fill(tmp_path, {f"{c}/{i}.png": picture(i // 2 + 100 * ord(c)) for c in "ab" for i in range(20)})
    loaded = load_data(tmp_path)
    data = loaded.dataset
    train = {row.tobytes() for row in data.train.pixels}
    assert not any(row.tobytes() in train for row in data.valid.pixels)
    assert len(data.valid) == 8
    assert any("twice in one class" in warning for warning in loaded.warnings)


@pytest.mark.parametrize("seed", range(5))
def test_many_copies_do_not_change_the_number_held_out(seed: int) -> None:
    """100 images a class, 30 of them copies of one: 20 are held out."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4), dtype=np.uint8)
    labels = np.repeat([0, 1], 100)
    pixels[:30], pixels[100:130] = pixels[0], pixels[100]
    images = Images(pixels, labels, ("a", "b"), [str(i) for i in range(200)])
    _, valid = hold_out(images, 0.2, seed)
    assert np.bincount(labels[valid]).tolist() == [20, 20]


def test_readers_precompute_the_hashes_and_parts_keep_them(small_folder: Path) -> None:
    for data in ("digits", small_folder):
        for images in read(data).parts.values():
            assert images.precomputed_hashes is not None
            assert (images.precomputed_hashes == hash_images(images.pixels)).all()


def test_join_keeps_pixels_labels_names_and_hashes() -> None:
    one, other = images_of([1, 2, 1], [0, 1, 2]), images_of([3], [1])
    both = join([one, other])
    assert both.pixels.ravel().tolist() == [1, 2, 1, 3]
    assert both.labels.tolist() == [0, 1, 2, 1]
    assert both.names == ["0", "1", "2", "0"]
    assert (image_hashes(both) == hash_images(both.pixels)).all()
    assert digest(both.take(np.arange(3))) == digest(one)
