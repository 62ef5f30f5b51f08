"""``check --leaks`` measures what a leak is worth: the accuracy as split, and on images that have no near-duplicate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from PIL import Image
from scipy.special import stdtrit

from underhood.analysis import wilson_interval
from underhood.core.images import Dataset
from underhood.data.near_duplicates import NearDuplicates
from underhood.data.parts import Parts, read_parts
from underhood.training import Reporter
from underhood.training.config import TrainConfig
from underhood.training.leaks import accuracy, enough, join_groups, measure_leak

Command = Callable[..., Outcome]
NONE = NearDuplicates(np.zeros((0, 2), np.int64), np.zeros(0), [])


def frame(image: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """A digit [1, 28, 28], shifted by at most a pixel and exposed differently."""
    shifted = np.roll(image[0], tuple(rng.integers(-1, 2, 2)), (0, 1))
    return Image.fromarray(np.clip(shifted * rng.uniform(0.7, 1.0), 0, 255).astype(np.uint8))


def write(folder: Path, image: Image.Image, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    image.save(folder / name)


def test_a_burst_data_set_has_a_leak_and_two_models_measure_it(
    mnist: Dataset, underhood: Command, tmp_path: Path
) -> None:
    """Each digit as five frames, with names that say nothing, which a random split puts on both sides."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.isin(mnist.train.labels, [4, 9]))[:80]
    for number in rng.permutation(5 * len(rows)).tolist():
        row = rows[number // 5]
        name = "".join(rng.choice(list("bcdfghjk"), 8))
        write(tmp_path / "data", frame(mnist.train.pixels[row], rng), f"{mnist.train.labels[row]}/{name}.png")
    result = underhood("check", tmp_path / "data", "--leaks", "--json").json
    leak = result["leak"]
    assert leak["leaked"] >= 0.7 * leak["images"]
    assert leak["how"].startswith("Two models")
    assert leak["as_split"]["accuracy"] >= leak["leak_free"]["accuracy"]
    assert leak["as_split"]["interval"][0] <= leak["as_split"]["accuracy"] <= leak["as_split"]["interval"][1]
    assert len(leak["pairs"]) >= leak["leaked"] / 2
    paths = {path for entry in result["near_duplicates"] for path in entry["paths"]}
    assert {path for pair in leak["pairs"] for path in pair} <= paths


def test_where_enough_images_are_leak_free_one_model_measures_both(
    mnist: Dataset, underhood: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    rows = np.flatnonzero(np.isin(mnist.train.labels, [3, 8]))
    for row in rows[:150]:
        name = f"{mnist.train.labels[row]}/{row}.png"
        write(tmp_path / "data/train", Image.fromarray(mnist.train.pixels[row, 0]), name)
    for row in [*rows[:40], *rows[150:200]]:
        image = frame(mnist.train.pixels[row], rng)
        write(tmp_path / "data/valid", image, f"{mnist.train.labels[row]}/{row}-again.png")
    ran = underhood("check", tmp_path / "data", "--leaks")
    assert "near-duplicate: train/" in ran.out
    assert ", in train and valid)" in ran.out
    assert "as split    " in ran.out
    assert " on 90 images\n" in ran.out
    assert "leak-free   " in ran.out
    assert ran.out.count("One model: leak-free are the ") == 1
    assert ran.code == 0


def test_without_a_leak_no_model_is_trained(underhood: Command) -> None:
    leak = underhood("check", "digits", "--leaks", "--json").json["leak"]
    assert leak["as_split"] is None
    assert leak["leak_free"] is None
    assert leak["leaked"] == 0
    assert "No validation image has a near-duplicate" in underhood("check", "digits", "--leaks").out


def test_the_groups_of_the_data_count_as_leaks_too(small_folder: Path, tmp_path: Path) -> None:
    parts = read_parts(small_folder)
    images = parts.images["train"]
    halves = {"train": images.take(np.arange(0, 20, 2)), "valid": images.take(np.arange(1, 20, 2))}
    groups = {"train": np.arange(10), "valid": np.arange(10)}
    leaky = Parts(parts.name, parts.where, halves, parts.preparation, parts.sizes, groups=groups)
    leak = measure_leak(leaky, NONE, TrainConfig(small_folder, effort="fast"), Reporter())
    assert leak["leaked"] == 10
    assert leak["pairs"] == []
    assert leak["how"].startswith("Two models: 0 of 10")
    assert join_groups(leaky, np.array([*range(19), 0])).tolist()[-1] == join_groups(leaky, np.arange(20))[0]


@pytest.mark.parametrize("option", ["--leaks", "--labels"])
def test_where_a_class_has_no_readable_image_nothing_is_trained(
    option: str, underhood: Command, tmp_path: Path
) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        write(tmp_path / "data", Image.new("L", (8, 8)), name)
    (tmp_path / "data/b/1.png").write_bytes(b"")
    ran = underhood("check", tmp_path / "data", option, "--json")
    assert not {"leak", "suspects"} & ran.json.keys()
    assert any("no model is trained: " in note and "'b' has no readable" in note for note in ran.json["notes"])
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    assert underhood("check", tmp_path / "data", option).out.count("no model is trained: ") == 1


@pytest.mark.parametrize(
    ("labels", "clean", "expected"),
    [
        ([0, 1] * 50, [True] * 30 + [False] * 70, True),
        ([0, 1] * 50, [True] * 29 + [False] * 71, False),
        ([0, 1] * 500, [True] * 100 + [False] * 900, False),
        ([0] * 50 + [1] * 50, [True] * 50 + [False] * 50, False),
    ],
    ids=["thirty", "too few", "a tenth", "one class only"],
)
def test_enough(labels: list[int], clean: list[bool], expected: bool) -> None:
    assert enough(np.array(labels), np.array(clean)) is expected


def test_the_interval_of_images_in_groups_is_wider() -> None:
    right = np.repeat(np.arange(50) % 10 > 0, 8)  # eight frames of each photograph, all right or all wrong
    alone, together = accuracy(right, np.arange(400)), accuracy(right, np.repeat(np.arange(50), 8))
    assert alone["accuracy"] == together["accuracy"] == 0.9
    assert alone["interval"] == pytest.approx(wilson_interval(360, 400), abs=1e-4)
    assert together["interval"] == pytest.approx(wilson_interval(45, 50), abs=0.01)
    perfect = accuracy(np.ones(400, bool), np.repeat(np.arange(50), 8))
    assert perfect["interval"][0] == pytest.approx(wilson_interval(50, 50, stdtrit(49, 0.975))[0], abs=1e-6)
