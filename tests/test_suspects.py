"""``check --labels`` finds label issues, and the report shows them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from hypothesis import given, strategies as st

from underhood import DivergedError
from underhood.core.images import Dataset, Images
from underhood.data.read import Parts, ReadOptions, read_parts
from underhood.data.split import folds, group_copies, image_hashes, join
from underhood.jobs.check import cache_label_issues, cached_label_issues, find_label_issues
from underhood.jobs.get import write_folder
from underhood.runs.folder import LabelIssue
from underhood.training import Reporter, recipe

Command = Callable[..., Outcome]


def flip(parts: Parts, fraction: float) -> set[str]:
    """Change the labels of this fraction of each part; returns the images' names."""
    rng, flipped = np.random.default_rng(0), set()
    for part, images in parts.images.items():
        rows = rng.permutation(len(images))[: round(fraction * len(images))]
        labels, count = images.labels.copy(), len(images.classes)
        labels[rows] = (labels[rows] + rng.integers(1, count, len(rows))) % count
        parts.images[part] = replace(images, labels=labels)
        flipped |= {images.names[i] for i in rows}
    return flipped


def test_most_labels_flipped_in_mnist_are_among_the_first_issues(mnist: Dataset) -> None:
    parts = read_parts("mnist", ReadOptions())
    total = sum(map(len, parts.images.values()))
    flipped = flip(parts, 0.02)
    assert len(flipped) == 1400
    issues = find_label_issues(parts, Reporter())
    first = {row["path"] for row in issues[: total * 4 // 100]}
    assert len(flipped & first) / len(flipped) >= 0.95


def test_flipped_digits_are_found_and_the_report_shows_them(underhood: Command, tmp_path: Path) -> None:
    parts = read_parts("digits", ReadOptions())
    flipped = flip(parts, 0.01)
    images = parts.images["train"]
    where = {name: f"{label}/{Path(name).name}" for name, label in zip(images.names, images.labels, strict=True)}
    flipped = {where[name] for name in flipped}
    write_folder({"": replace(images, names=list(where.values()))}, tmp_path / "digits")
    plain = underhood("check", tmp_path / "digits", "--json").json
    assert "suspects" not in plain
    checked = underhood("check", tmp_path / "digits", "--labels", "--json")
    assert checked.code == 0
    rows = checked.json["suspects"]
    assert cached_label_issues(str((tmp_path / "digits").resolve())) == rows
    assert len(flipped & {row["path"] for row in rows[:36]}) >= 16
    assert all(row["probability"] > row["label_probability"] and row["label"] != row["predicted"] for row in rows)
    differences = [row["probability"] - row["label_probability"] for row in rows]
    assert differences == pytest.approx(sorted(differences, reverse=True), abs=1e-5)
    words = underhood("check", tmp_path / "digits", "--labels").out
    assert f"label issue: {rows[0]['path']} is {rows[0]['label']}, looks like {rows[0]['predicted']}" in words
    assert f"no problems found, {len(rows)} label issues" in words

    underhood("train", tmp_path / "digits", "--model", "linear", "--epochs", 1, "--out", "run")
    page = Path("run/report.html").read_text()
    assert f"Label issues: {len(rows)}" in page
    assert f"{rows[0]['label']}, looks like {rows[0]['predicted']}" in page
    fixed = tmp_path / "digits" / rows[0]["path"]
    fixed.rename(tmp_path / "digits" / rows[0]["predicted"] / "fixed.png")
    underhood("train", tmp_path / "digits", "--model", "linear", "--epochs", 1, "--out", "again")
    assert f"Label issues: {len(rows) - 1}" in Path("again/report.html").read_text()
    page = Path("again/report.html").read_text()
    underhood("get", "--clear-cache")
    assert underhood("report", "again").code == 0
    assert Path("again/report.html").read_text() == page, "the run folder has its own copy"
    Path("again/suspects.csv").unlink()
    underhood("report", "again")
    assert "Label issues" not in Path("again/report.html").read_text()


def test_a_fold_that_diverges_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "LEARNING_RATE", 1e30)
    parts = read_parts("digits", ReadOptions())
    with pytest.raises(DivergedError, match=r"fold 1 of 5 diverged \(NaN or infinite loss at step \d+\)") as error:
        find_label_issues(parts, Reporter())
    assert "\n" not in str(error.value)


def test_a_damaged_cache_has_no_issues(cache_folder: Path) -> None:
    issue = LabelIssue(path="0.png", label="a", predicted="b", probability=1e-06, label_probability=0.0)
    cache_label_issues("data", [issue])
    (file,) = cache_folder.glob("suspects-*.csv")
    assert cached_label_issues("data") == [issue]
    file.write_text("path,label\n")
    assert cached_label_issues("data") == cached_label_issues("other data") == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=80), st.integers(0, 9))
def test_folds_divide_each_class_and_keep_copies_together(kinds: list[tuple[int, int]], seed: int) -> None:
    labels = np.array([label for label, _ in kinds])
    pixels = np.array([10 * label + what for label, what in kinds], np.uint8).reshape(-1, 1, 1, 1)
    images = Images(pixels, labels, tuple("abcd"), [str(i) for i in range(len(kinds))])
    part = folds(images, 5, seed)
    group = group_copies(image_hashes(images))
    assert all(len(set(part[group == one].tolist())) == 1 for one in range(group.max() + 1))
    first = np.unique(group, return_index=True)[1]
    for label in range(4):
        sizes = np.bincount(part[first][(labels[first] == label) & (part[first] >= 0)], minlength=5)
        assert sizes.max() - sizes.min() <= 1
        judged = [number for number in range(5) if ((part == number) & (labels == label)).any()]
        assert all((labels[part != number] == label).any() for number in judged)


def test_a_class_of_one_is_not_judged(small_folder: Path, tmp_path: Path) -> None:
    parts = read_parts(small_folder, ReadOptions())
    images = parts.images["train"]
    lonely = Images(images.pixels[:1] // 2, np.array([2]), (*images.classes, "lonely"), ["lonely/0.png"])
    parts.images["train"] = join([replace(images, classes=lonely.classes), lonely])
    assert "lonely/0.png" not in {row["path"] for row in find_label_issues(parts, Reporter())}
