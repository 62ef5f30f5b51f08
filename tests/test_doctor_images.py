"""``underhood doctor`` finds faults in images and in runs, and nothing in images as they should be."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome

import underhood
from underhood.core.errors import UnderhoodError
from underhood.core.images import Dataset, Images
from underhood.data.parts import Parts
from underhood.diagnosis import found as as_found, suspicious, worse
from underhood.diagnosis.case import Case
from underhood.diagnosis.checks import imbalance, overfit, preparation, underfit
from underhood.diagnosis.images import alike, cross_predict, probe, statistics, thumbnails
from underhood.jobs.break_ import break_
from underhood.jobs.doctor import doctor as job
from underhood.preparation import Preparation

Command = Callable[..., Outcome]
doctor = partial(job, budget=600)  # this machine may have other work


def named(result: Any) -> list[str]:
    return [one["check"] for one in result["findings"] if one["verdict"] != "fine"]


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("labels-shuffled", "labels"),
        ("labels-noisy", "labels"),
        ("labels-swapped-in-validation", "labels"),
        ("copies-in-validation", "leak"),
        ("border", "shortcut"),
        ("brightness-by-class", "shortcut"),
        ("imbalance", "imbalance"),
        ("pixels-divided", "input-scale"),
        ("inverted-in-validation", "preparation"),
        ("rotated-in-validation", "preparation"),
    ],
)
def test_a_fault_in_the_images_is_the_first_finding(fault: str, check: str, tmp_path: Path) -> None:
    planted = break_("digits", tmp_path / "broken", fault=fault, seed=11)
    first = doctor(planted["broken"])["findings"][0]
    assert first["check"] == check
    assert first["verdict"] in ("found", "suspicious")
    assert any(character.isdigit() for character in first["evidence"])


def test_near_duplicates_across_the_split_are_a_leak(mnist: Dataset, tmp_path: Path) -> None:
    """A tenth of the validation images are training images, cropped, recompressed or brightened."""
    planted = break_("mnist-3v7", tmp_path / "broken", fault="changed-copies-in-validation", seed=11)
    assert named(doctor(planted["broken"]))[0] == "leak"
    assert len(mnist.train) == 60_000


def test_labels_that_are_probably_wrong_are_named(tmp_path: Path) -> None:
    planted = break_("digits", tmp_path / "broken", fault="labels-noisy", seed=12)
    (finding,) = [one for one in doctor(planted["broken"])["findings"] if one["check"] == "labels"]
    assert ".png: " in finding["evidence"]
    assert "--labels" in finding["fix"]


def test_nothing_is_found_in_digits_and_in_runs_on_them(underhood: Command, tmp_path: Path) -> None:
    assert named(doctor("digits")) == []
    for model in ("linear", "conv"):
        underhood("train", "digits", "--model", model, "--out", tmp_path / model, "--no-report")
        result = doctor(tmp_path / model)
        assert named(result) == []
        looked_at = {one["check"] for one in result["findings"]}
        assert looked_at >= {"labels", "leak", "shortcut", "imbalance", "noise", "overfit", "underfit"}
    assert "augmentation" in looked_at


def test_few_validation_images_are_said_to_say_little(underhood: Command, tmp_path: Path) -> None:
    underhood("train", "digits", "--limit", "60", "--out", tmp_path / "run", "--no-report", "--epochs", "2")
    (finding,) = [one for one in doctor(tmp_path / "run")["findings"] if one["check"] == "noise"]
    assert finding["verdict"] in ("found", "suspicious")
    assert "--folds 5" in finding["fix"]


def history(*losses: tuple[float, float]) -> list[dict[str, float]]:
    return [{"train_loss": train, "valid_loss": valid} for train, valid in losses]


def test_a_validation_loss_that_rises_while_the_training_loss_falls_is_overfitting() -> None:
    case = Case("run", "run", history=history((1.0, 1.0), (0.5, 0.6), (0.1, 0.8), (0.01, 1.2), (0.001, 1.5)))
    finding = overfit.examine(case)
    assert finding is not None
    assert (finding.verdict, "--epochs 2" in finding.fix) == ("found", True)
    falls = Case("run", "run", history=history((1.0, 1.0), (0.5, 0.6), (0.4, 0.5), (0.3, 0.52), (0.2, 0.55)))
    healthy = overfit.examine(falls)
    assert healthy is not None
    assert healthy.verdict == "fine"


def test_a_model_that_is_worse_than_mean_images_is_underfitted(underhood: Command, tmp_path: Path) -> None:
    underhood("train", "digits", "--model", "net", "--epochs", "1", "--lr", "0.0001", "--out", tmp_path / "run",
              "--no-report")  # fmt: skip
    result = doctor(tmp_path / "run")
    (finding,) = [one for one in result["findings"] if one["check"] == "underfit"]
    assert finding["verdict"] == "found" or "learning-rate" in named(result)
    assert "pixel similarity" in finding["evidence"]
    assert underfit.examine(Case("data", "data")) is None


def test_a_run_that_copes_with_rare_classes_has_no_imbalance() -> None:
    """Its balanced accuracy is as high as its accuracy."""
    labels = np.repeat([0, 1], [190, 10])
    images = Images(np.zeros((200, 1, 8, 8), np.uint8), labels, ("a", "b"), tuple(map(str, range(200))))
    loaded: Any = type("Loaded", (), {"dataset": Dataset("set", images, images)})
    case = Case("run", "run", loaded=loaded, results={"valid_accuracy": 0.97, "balanced_accuracy": 0.96})
    fair = imbalance.examine(case)
    case.results["balanced_accuracy"] = 0.6
    unfair = imbalance.examine(case)
    assert fair is not None
    assert unfair is not None
    assert (fair.verdict, unfair.verdict) == ("fine", "found")
    assert "95%" in unfair.evidence


def test_the_most_serious_finding_counts() -> None:
    first, second = suspicious("a", ""), as_found("b", "")
    assert worse(None, first, second) is second
    assert worse(first, suspicious("c", "")) is first
    assert worse(None, None) is None


def test_images_on_their_side_are_seen_by_a_backbone_and_without_its_weights_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In stripes from left to right or from top to bottom, no brightness and no thumbnail differs."""
    stripes = np.tile(np.repeat([40, 200], 2), 8)
    rng = np.random.default_rng(0)
    pixels = np.clip(np.broadcast_to(stripes, (120, 3, 32, 32)) + rng.normal(0, 40, (120, 3, 32, 32)), 0, 255)
    images = Images(pixels.astype(np.uint8), np.arange(120) % 2, ("a", "b"), [str(i) for i in range(120)])
    turned = Images(images.pixels.transpose(0, 1, 3, 2), images.labels, images.classes, images.names)
    both, sizes = {"train": images, "valid": turned}, np.full((240, 2), 32)
    case = Case("stripes", "data", parts=Parts("stripes", "stripes", both, Preparation(3, 32, 32), sizes))
    monkeypatch.setattr(preparation, "probe", lambda *_: 0.5)
    seen = preparation.examine(case)
    assert seen is not None
    assert seen.verdict == "found"

    def missing(_: str) -> None:
        raise UnderhoodError("no weights")

    monkeypatch.setattr("underhood.pretrained.weights.find_weights", missing)
    blind = preparation.examine(case)
    assert blind is not None
    assert blind.verdict == "fine"


def test_a_probe_predicts_what_can_be_predicted_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    noise = rng.normal(size=(200, 5)).astype(np.float32)
    assert probe(noise, y) < 0.65
    assert probe(noise + y[:, None], y) > 0.8


def test_both_sides_of_a_comparison_have_the_same_classes() -> None:
    data = underhood.read("digits")
    few = data.valid.take(np.flatnonzero((data.valid.labels != 3) | (np.arange(len(data.valid)) % 5 == 0)))
    first, second = alike(data.train, few, 200)
    np.testing.assert_array_equal(np.bincount(first.labels), np.bincount(second.labels))
    assert np.bincount(second.labels).max() <= 20


def test_statistics_and_thumbnails_are_those_of_numpy() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    values = pixels.astype(np.float64)
    np.testing.assert_allclose(statistics(pixels)[:, :3], values.mean((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(statistics(pixels)[:, 3:6], values.std((2, 3)), rtol=1e-5)
    fields = values.reshape(5, 3, 8, 2, 8, 2).mean((3, 5)).reshape(5, -1)
    np.testing.assert_allclose(thumbnails(pixels), fields, rtol=1e-5)


def test_each_image_is_judged_by_a_model_that_has_not_seen_it() -> None:
    """With labels that have nothing to do with the images, predictions are no better than chance."""
    from underhood.data.parts import read_parts

    parts = read_parts("digits")
    images = parts.images["train"].take(np.arange(600))
    right = (cross_predict(parts, images).argmax(1) == images.labels).mean()
    rng = np.random.default_rng(0)
    shuffled = Images(images.pixels, rng.permutation(images.labels), images.classes, images.names)
    assert right > 0.85
    assert (cross_predict(parts, shuffled).argmax(1) == shuffled.labels).mean() < 0.2
