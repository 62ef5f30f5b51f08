"""The rungs of a backbone on the ladder, McNemar's test, and what more images would gain: the learning curve."""

import csv
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Outcome, fill
from hypothesis import given, settings, strategies as st
from PIL import Image
from scipy.stats import binomtest
from test_choice import Lines, same_bytes, textures
from test_report import Page
from test_resume import killed_after

from underhood import RunError, report, rerun, resume, train
from underhood.core.errors import DataError, DivergedError
from underhood.data.named import NAMES
from underhood.jobs import ladder as ladder_job
from underhood.jobs.ladder import ladder
from underhood.training import Reporter, learning_curve as curves
from underhood.training.config import TrainConfig
from underhood.training.learning_curve import (
    CURVE_COLUMNS,
    CURVE_FILE,
    fit_power_law,
    learning_curve,
    measure_counts,
)
from underhood.training.recipe import choose_recipe
from underhood.training.setup import load_config_data, make_setup

Command = Callable[..., Outcome]
SIZES = np.array([100.0, 200.0, 400.0])
SENTENCE = (
    r"(more images (would|may) not help: )?[\d,]+ more (images )?per class would gain about [\d.]+ points? \(.*\)"
)


# The fit


@given(st.floats(1e-3, 1.0), st.floats(0.0, 1.0), st.lists(st.floats(0.1, 10.0), min_size=3, max_size=3))
def test_a_power_law_is_found_again(scale: float, power: float, weights: list[float]) -> None:
    found = fit_power_law(SIZES, scale * SIZES**-power, np.array(weights))
    assert found == pytest.approx((scale, power), rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(1e-3, 1.0), min_size=3, max_size=3), st.lists(st.floats(0.1, 10.0), min_size=3, max_size=3))
def test_the_fit_is_that_of_polyfit_where_its_power_is_allowed(errors: list[float], weights: list[float]) -> None:
    slope, _ = np.polyfit(np.log(SIZES), np.log(errors), 1, w=np.sqrt(weights))
    _, power = fit_power_law(SIZES, np.array(errors), np.array(weights))
    assert power == pytest.approx(np.clip(-slope, 0, 1), abs=1e-6)


@settings(max_examples=50)
@given(st.integers(1, 3000), st.data())
def test_the_gain_is_never_negative_and_in_its_interval(total: int, data: Any) -> None:
    images = data.draw(st.integers(12, 100_000))
    classes = data.draw(st.integers(2, images // 6))
    counts = {size: data.draw(st.integers(0, total)) for size in (images // 4, images // 2, images)}
    curve = learning_curve("conv", counts, total, classes)
    assert curve is not None
    low, high = curve["gain_interval"]
    assert 0 <= low <= curve["gain"] <= high <= 1
    assert 1 <= curve["more_per_class"] <= max(1, images / classes)
    assert re.fullmatch(SENTENCE, curve["sentence"])
    assert [point["images"] for point in curve["points"]] == sorted(counts)


@given(st.integers(0, 1000), st.integers(0, 200))
def test_a_flat_or_falling_curve_says_that_more_images_would_not_help(right: int, lost: int) -> None:
    counts = {100: right, 200: max(0, right - lost), 400: max(0, right - 2 * lost)}
    curve = learning_curve("conv", counts, 1000, 2)
    assert curve is not None
    assert curve["gain"] == pytest.approx(0, abs=1e-9)
    assert curve["sentence"].startswith("more images would not help: 200 more per class would gain about 0 points")


def test_a_halved_error_is_halved_again() -> None:
    curve = learning_curve("conv", {100: 60_000, 200: 80_000, 400: 90_000}, 100_000, 2)
    assert curve is not None
    assert curve["gain"] == pytest.approx(0.05, abs=1e-4)
    assert curve["sentence"].startswith("200 more images per class would gain about 5 points (")
    assert curve["points"][1]["valid_accuracy"] == 0.8


def test_few_validation_images_cannot_say_that_more_images_help() -> None:
    curve = learning_curve("conv", {100: 15, 200: 16, 400: 17}, 20, 3)
    assert curve is not None
    assert curve["gain"] > 0.005
    assert curve["gain_interval"][0] == pytest.approx(0, abs=1e-9)
    assert curve["sentence"].startswith("more images may not help: 100 more per class would gain about")


def test_the_interval_of_the_gain_has_the_true_one_as_often_as_it_says() -> None:
    """On 400 sets of validation images whose errors follow a power law."""
    rng, errors = np.random.default_rng(0), 3 * SIZES**-0.5
    truth = 3 * (400**-0.5 - 800**-0.5)
    held = 0
    for wrong in rng.binomial(500, errors, (400, 3)):
        counts = dict(zip(SIZES.astype(int).tolist(), (500 - wrong).tolist(), strict=True))
        curve = learning_curve("conv", counts, 500, 2)
        assert curve is not None
        low, high = curve["gain_interval"]
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 0.99


def test_too_few_images_have_no_curve() -> None:
    assert learning_curve("conv", {2: 1, 4: 2}, 4, 2) is None


# The measurement


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each learner of a part is made for: its images and its recipe."""
    made: list[Any] = []
    make = curves._on_part

    def record(*asked: Any) -> Any:
        made.append(make(*asked))
        return made[-1]

    monkeypatch.setattr(curves, "_on_part", record)
    return made


def test_the_parts_are_nested_stratified_and_trained_as_so_many_images_are(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig("digits", model="linear", seed=3)
    setup = make_setup(config, curves_log())
    made = recorded(monkeypatch)
    counts = measure_counts(setup, config, 300, Reporter())
    assert list(counts) == [360, 719, 1438]
    assert counts[1438] == 300
    for part in made:
        images = part.loaded.dataset.train
        assert min(images.counts().values()) >= 0.09 * len(images)
        usual = choose_recipe(len(images), "normal", "linear")
        assert (part.recipe.epochs, part.recipe.batch_size) == (usual.epochs, usual.batch_size)
        assert part.loaded.dataset.valid is setup.loaded.dataset.valid
        right = (part.learn.get_preds()[0].argmax(dim=1) == part.learn.get_preds()[1]).sum()
        assert counts[len(images)] == right > 300
    quarter, half = (set(part.loaded.dataset.train.names) for part in made)
    assert quarter < half < set(setup.loaded.dataset.train.names)


def curves_log() -> Any:
    from underhood.training import RunLog

    return RunLog(Reporter())


def test_epochs_that_were_asked_for_change_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig("digits", model="net", epochs=6, batch_size=50)
    made = recorded(monkeypatch)
    measure_counts(make_setup(config, curves_log()), config, 300, Reporter())
    usual = choose_recipe(1438, "normal", "net")
    for part in made:
        fewer = choose_recipe(len(part.loaded.dataset.train), "normal", "net")
        assert part.recipe.epochs == round(6 * fewer.epochs / usual.epochs)
        assert part.recipe.batch_size == round(50 * fewer.batch_size / usual.batch_size)
        assert part.recipe.lr == 0.01


def test_a_frozen_backbone_sees_each_image_once_and_keeps_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(
        textures(tmp_path / "data", each=20), model="efficientnet_lite0", size=32, epochs=3, cache=False
    )
    setup = make_setup(config, curves_log())
    before = {name: value.clone() for name, value in setup.network.state_dict().items()}

    def forbidden(*_: object) -> None:
        raise AssertionError("features are computed again")

    monkeypatch.setattr("underhood.pretrained.features._compute", forbidden)
    counts = measure_counts(setup, config, 8, Reporter())
    assert list(counts) == [8, 16, 32]
    assert all((value == before[name]).all() for name, value in setup.network.state_dict().items())


# In the run folder and in the report


ASKED: dict[str, Any] = {"model": "net", "epochs": 2, "limit": 200, "seed": 1}


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / CURVE_FILE).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(train("digits", out=tmp_path_factory.mktemp("curve") / "run", **ASKED)["run"])


def test_the_report_shows_the_curve_of_its_file(run: Path) -> None:
    rows = rows_of(run)
    assert list(rows[0]) == list(CURVE_COLUMNS)
    assert [int(row["images"]) for row in rows] == [40, 80, 160]
    predicted = [line.split(",") for line in (run / "predictions.csv").read_text().splitlines()[1:]]
    right = sum(row[1] == row[2] for row in predicted)
    assert float(rows[-1]["valid_accuracy"]) == pytest.approx(right / len(predicted), abs=1e-6)
    curve = learning_curve(
        "net", {int(row["images"]): round(float(row["valid_accuracy"]) * len(predicted)) for row in rows},
        len(predicted), 10,
    )  # fmt: skip
    assert curve is not None
    page = Page((run / "report.html").read_text())
    assert "Learning curve" in page.headings
    sentence = curve["sentence"]
    assert f"{sentence[0].upper()}{sentence[1:]}." in " ".join(page.words.split())


def test_resume_rerun_and_report_write_the_same_curve(run: Path, tmp_path: Path) -> None:
    whole, page = (run / CURVE_FILE).read_bytes(), (run / "report.html").read_bytes()
    (run / CURVE_FILE).unlink()
    report(run)
    assert (run / CURVE_FILE).read_bytes() == whole
    assert (run / "report.html").read_bytes() == page
    again = rerun(run, out=tmp_path / "again")
    assert again is not None
    assert again["same"]
    assert (tmp_path / "again" / CURVE_FILE).read_bytes() == whole
    with killed_after(9) as reporter:
        train("digits", out=tmp_path / "broken", reporter=reporter, save_every=0, **ASKED)
    resume(tmp_path / "broken")
    assert (tmp_path / "broken" / CURVE_FILE).read_bytes() == whole
    assert same_bytes(run, tmp_path / "broken")


def test_a_run_on_a_frozen_backbone_has_the_same_curve_from_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underhood.reporting.write_report", lambda folder, *_: folder / "report.html")
    data = textures(tmp_path / "data", each=20)
    made = Path(train(data, model="efficientnet_lite0", size=32, epochs=3, out=tmp_path / "run")["run"])
    assert [int(row["images"]) for row in rows_of(made)] == [8, 16, 32]
    whole = (made / CURVE_FILE).read_bytes()
    (made / CURVE_FILE).unlink()
    (made / "report.html").touch()
    report(made)
    assert (made / CURVE_FILE).read_bytes() == whole


@pytest.mark.parametrize("limit", ["MAX_OPERATIONS", "MAX_STEPS"])
def test_a_curve_that_takes_long_is_left_out(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, limit, 5)
    made = Path(train("digits", out=tmp_path / "run", **ASKED)["run"])
    assert not (made / CURVE_FILE).exists()
    assert "Learning curve" not in Page((made / "report.html").read_text()).headings


def test_a_run_that_starts_from_another_has_no_curve(run: Path, tmp_path: Path) -> None:
    made = Path(train("digits", from_run=run, epochs=1, limit=200, out=tmp_path / "run")["run"])
    assert not (made / CURVE_FILE).exists()
    report(made)
    assert not (made / CURVE_FILE).exists()


def test_training_that_diverges_with_fewer_images_costs_the_curve_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: object) -> None:
        raise DivergedError("the loss is nan", 1)

    monkeypatch.setattr(curves, "measure_counts", diverges)
    made = Path(train("digits", out=tmp_path / "run", **ASKED)["run"])
    assert (made / "report.html").exists()
    assert not (made / CURVE_FILE).exists()


@pytest.mark.parametrize("cell", ["nan", "-0.1", "1.5", "many", "inf"])
def test_a_damaged_curve_is_one_line(cell: str, run: Path) -> None:
    whole = (run / CURVE_FILE).read_bytes()
    lines = whole.decode().splitlines()
    cells = lines[1].split(",")
    try:
        (run / CURVE_FILE).write_text("\n".join([lines[0], ",".join([cells[0], cell, *cells[2:]]), *lines[2:]]) + "\n")
        with pytest.raises(RunError, match=r"learning_curve\.csv is damaged .*: remove it"):
            report(run)
    finally:
        (run / CURVE_FILE).write_bytes(whole)


# The ladder


def test_the_last_rungs_are_a_backbone_and_each_is_tested_against_the_one_before(tmp_path: Path) -> None:
    result = ladder(textures(tmp_path / "data", each=20), size=32, epochs=2)
    names = [rung["model"] for rung in result["rungs"]]
    assert names == ["similarity", "linear", "net", "conv", "vgg", "resnet18", "frozen", "tuned"]
    for before, after in pairwise(result["rungs"]):
        fixed, broken = after["fixed"], after["broken"]
        assert fixed is not None
        assert broken is not None
        assert fixed - broken == round((after["valid_accuracy"] - before["valid_accuracy"]) * result["images"])
        expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
        assert after["p_value"] == pytest.approx(expected)
    curve = result["learning_curve"]
    assert curve is not None
    best = max(rung["valid_accuracy"] for rung in result["rungs"][1:])
    assert curve["points"][-1]["valid_accuracy"] == best
    assert best in [rung["valid_accuracy"] for rung in result["rungs"] if rung["model"] == curve["model"]]
    assert [point["images"] for point in curve["points"]] == [8, 16, 32]
    assert re.fullmatch(SENTENCE, curve["sentence"])


def models_of(monkeypatch: pytest.MonkeyPatch, data: Any, **options: Any) -> tuple[list[Any], list[str]]:
    """The (images, options) of each model on a ladder that trains none, and what is logged."""
    asked: list[Any] = []

    def refuse(loaded: Any, recipe: Any, config: Any) -> None:
        asked.append((loaded.dataset, config))
        raise DataError("too small")

    lines = Lines()
    with monkeypatch.context() as patched:
        patched.setattr(ladder_job, "make_learner", refuse)
        result = ladder(data, reporter=lines, **options)
    assert [rung["model"] for rung in result["rungs"]] == ["similarity"]
    assert result["learning_curve"] is None
    return asked, lines.lines


def test_the_backbone_is_validated_on_the_images_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two photographs differ at the left and right ends alone, which a square for the backbone does not show."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for label in "ab":
        for i in range(12):
            array = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
            twin = array.copy()
            twin[:, :10] = rng.integers(0, 256, (40, 10, 3), dtype=np.uint8)
            fill(root, {f"{label}/{i}.png": Image.fromarray(array), f"{label}/{i} again.png": Image.fromarray(twin)})
    asked, _ = models_of(monkeypatch, root)
    assert [config.model for _, config in asked][-2:] == ["efficientnet_lite0"] * 2
    assert [config.tune for _, config in asked] == ["none"] * 5 + ["head", "all"]
    alone = load_config_data(asked[-1][1], None, Reporter()).dataset
    assert list(alone.valid.names) != list(asked[0][0].valid.names), "on its own it would be another split"
    for images, _ in asked:
        for part in ("train", "valid"):
            own, first = images.parts[part], asked[0][0].parts[part]
            assert list(own.names) == list(first.names)
            assert (own.labels == first.labels).all()
    large = asked[-1][0].valid.pixels
    assert large.shape[1:] == (3, 128, 128)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"channels": 1}, "--channels 1, and a backbone takes colour images"),
        ({"size": 24}, "--size 24, and a backbone takes 32 pixels or more"),
        ({"fit": "digit"}, "--fit digit prepares digits"),
        ({"tune": "none"}, "--tune none trains from scratch"),
    ],
)
def test_a_ladder_without_a_backbone_says_why(
    options: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, lines = models_of(monkeypatch, textures(tmp_path / "data"), **options)
    assert len(asked) == 5
    assert f"frozen and tuned are left out: {reason}" in lines


def test_more_than_5000_images_are_too_many_for_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ladder_job.MOST_FOR_BACKBONE == 5000
    monkeypatch.setattr(ladder_job, "MOST_FOR_BACKBONE", 10)
    _, lines = models_of(monkeypatch, textures(tmp_path / "data", each=10))
    assert "frozen and tuned are left out: 16 training images would take long, 10 are the most (--limit)" in lines
    asked, _ = models_of(monkeypatch, textures(tmp_path / "data", each=10), limit=12)
    assert len(asked) == 7


def test_named_data_sets_have_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, lines = models_of(monkeypatch, "digits")
    assert len(asked) == 5
    assert "frozen and tuned are left out: digits shows no photographs" in lines
    assert set(NAMES) == set(ladder_job.DATA_SETS)


def test_the_ladder_prints_the_curve_below_its_table(tmp_path: Path, underhood: Command) -> None:
    done = underhood("ladder", textures(tmp_path / "data", each=20), "--size", 32, "--epochs", 1)
    lines = done.out.splitlines()
    assert re.fullmatch(r"\w+: [\d.]+ % with 8 images, [\d.]+ % with 16 images, [\d.]+ % with 32 images", lines[-2])
    assert re.fullmatch(SENTENCE, lines[-1])
    header = ["model", "accuracy", "95", "%", "interval", "fixed", "broken", "p", "parameters", "seconds"]
    assert lines[-11].split() == header
