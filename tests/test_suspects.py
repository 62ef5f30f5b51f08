"""``check --labels`` finds labels that are wrong, and the report shows them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from hypothesis import given, strategies as st

from underhood.analysis.label_issues import find_suspects
from underhood.core.images import Dataset, Images, join
from underhood.data.read import Parts, Reading, read_parts
from underhood.data.split import copies, folds
from underhood.data.write import write_folder
from underhood.training.reporter import Listener

Command = Callable[..., Outcome]


def flip(parts: Parts, fraction: float) -> set[str]:
    """Give so many pictures of each part another label; returns their names."""
    rng, flipped = np.random.default_rng(0), set()
    for part, images in parts.images.items():
        rows = rng.permutation(len(images))[: round(fraction * len(images))]
        labels, count = images.labels.copy(), len(images.classes)
        labels[rows] = (labels[rows] + rng.integers(1, count, len(rows))) % count
        parts.images[part] = replace(images, labels=labels)
        flipped |= {images.names[i] for i in rows}
    return flipped


def test_of_labels_flipped_in_mnist_most_are_among_the_most_suspect(mnist: Dataset) -> None:
    parts = read_parts("mnist", Reading())
    total = sum(map(len, parts.images.values()))
    flipped = flip(parts, 0.02)
    assert len(flipped) == 1400
    suspects = find_suspects(parts, Listener())
    most_suspect = {row["path"] for row in suspects[: total * 4 // 100]}
    assert len(flipped & most_suspect) / len(flipped) >= 0.95


def test_few_flipped_digits_are_found_and_the_report_shows_them(underhood: Command, tmp_path: Path) -> None:
    parts = read_parts("digits", Reading())
    flipped = flip(parts, 0.01)
    images = parts.images["train"]
    where = {name: f"{label}/{Path(name).name}" for name, label in zip(images.names, images.labels, strict=True)}
    flipped = {where[name] for name in flipped}
    write_folder({"": replace(images, names=list(where.values()))}, tmp_path / "digits")
    plain = underhood("check", tmp_path / "digits", "--json").json
    assert "suspects" not in plain
    told = underhood("check", tmp_path / "digits", "--labels", "--json")
    assert told.code == 0
    rows = told.json["suspects"]
    assert len(flipped & {row["path"] for row in rows[:36]}) >= 16
    assert all(row["probability"] > row["label_probability"] and row["label"] != row["predicted"] for row in rows)
    doubts = [row["probability"] - row["label_probability"] for row in rows]
    assert doubts == pytest.approx(sorted(doubts, reverse=True), abs=1e-5)
    words = underhood("check", tmp_path / "digits", "--labels").out
    assert f"suspect: {rows[0]['path']} is {rows[0]['label']}, looks like {rows[0]['predicted']}" in words
    assert f"nothing amiss, {len(rows)} labels to look at" in words

    underhood("train", tmp_path / "digits", "--model", "linear", "--epochs", 1, "--out", "run")
    page = Path("run/report.html").read_text()
    assert f"Labels to look at: {len(rows)}" in page
    assert f"{rows[0]['label']}, looks like {rows[0]['predicted']}" in page
    mended = tmp_path / "digits" / rows[0]["path"]
    mended.rename(tmp_path / "digits" / rows[0]["predicted"] / "mended.png")
    underhood("train", tmp_path / "digits", "--model", "linear", "--epochs", 1, "--out", "again")
    assert f"Labels to look at: {len(rows) - 1}" in Path("again/report.html").read_text()
    underhood("get", "--clear-cache")
    underhood("report", "again")
    assert "Labels to look at" not in Path("again/report.html").read_text()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=80), st.integers(0, 9))
def test_folds_divide_each_class_and_keep_copies_together(kinds: list[tuple[int, int]], seed: int) -> None:
    labels = np.array([label for label, _ in kinds])
    pixels = np.array([10 * label + what for label, what in kinds], np.uint8).reshape(-1, 1, 1, 1)
    images = Images(pixels, labels, tuple("abcd"), [str(i) for i in range(len(kinds))])
    part = folds(images, 5, seed)
    group = copies(images.hashes)
    assert all(len(set(part[group == one].tolist())) == 1 for one in range(group.max() + 1))
    first = np.unique(group, return_index=True)[1]
    for label in range(4):
        sizes = np.bincount(part[first][(labels[first] == label) & (part[first] >= 0)], minlength=5)
        assert sizes.max() - sizes.min() <= 1
        judged = [number for number in range(5) if ((part == number) & (labels == label)).any()]
        assert all((labels[part != number] == label).any() for number in judged)


def test_a_class_of_one_is_not_judged(small_folder: Path, tmp_path: Path) -> None:
    parts = read_parts(small_folder, Reading())
    images = parts.images["train"]
    lonely = Images(images.pixels[:1] // 2, np.array([2]), (*images.classes, "lonely"), ["lonely/0.png"])
    parts.images["train"] = join([replace(images, classes=lonely.classes), lonely])
    assert "lonely/0.png" not in {row["path"] for row in find_suspects(parts, Listener())}
