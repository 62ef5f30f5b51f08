"""Statistics of predictions, compared with scikit-learn and SciPy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from hypothesis import given, strategies as st
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from underhood import Interpretation, RunError, compare, train
from underhood.analysis import balanced_accuracy, cross_entropy_per_image, mcnemar
from underhood.analysis.predictions import PREDICTION_COLUMNS

Command = Callable[..., Outcome]


def interpretation(labels: list[int], predicted: list[int], seed: int = 0) -> Interpretation:
    random = np.random.default_rng(seed)
    count = len(labels)
    names = [f"{i}.png" for i in range(count)]
    one, other = np.array(labels), np.array(predicted)
    return Interpretation(
        ("a", "b", "c"), names, one, other, random.uniform(0.34, 1, count), random.uniform(0, 5, count)
    )


LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@given(LABELS)
def test_confusion_matrix_precision_and_recall_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = map(list, zip(*pairs, strict=True))
    it = interpretation(labels, predicted)
    matrix = it.confusion_matrix()
    assert (np.asarray(matrix) == confusion_matrix(labels, predicted, labels=[0, 1, 2])).all()
    assert matrix.classes == it.classes
    for row, column in np.ndindex(3, 3):
        mine = matrix.indices[row][column]
        assert mine == [i for i, pair in enumerate(pairs) if pair == (row, column)]
    precision, recall, _, there = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2], zero_division=0)
    for i, (name, count, mine, its) in enumerate(it.precision_and_recall()):
        assert (name, count) == ("abc"[i], there[i])
        assert (mine or 0, its or 0) == (pytest.approx(precision[i]), pytest.approx(recall[i]))
    confused = it.most_confused()
    assert sum(pair.count for pair in confused) == int((~it.right).sum())
    for pair in confused:
        assert pair.names == [it.names[i] for i in pair.indices]
        assert all(
            (it.classes[it.labels[i]], it.classes[it.predicted[i]]) == (pair.label, pair.predicted)
            for i in pair.indices
        )
    assert [pair.count for pair in confused] == sorted((pair.count for pair in confused), reverse=True)


@given(LABELS, st.integers(1, 20))
def test_calibration_and_rejection_count_every_image_once(pairs: list[tuple[int, int]], bins: int) -> None:
    it = interpretation(*map(list, zip(*pairs, strict=True)))
    rows, error = it.calibration(bins)
    assert sum(n for _, _, n in rows) == len(it)
    assert sum(right * n for _, right, n in rows) == pytest.approx(it.right.sum())
    assert 0 <= error <= 1
    rejected, accuracy = it.rejection()
    assert rejected[0] == 0
    assert accuracy[0] == pytest.approx(it.right.mean())
    assert accuracy[-1] == it.right[np.argmax(it.probability)]
    by_hand = np.sort(it.probability)[::-1][: len(it) // 2 + 1][-1]
    kept = it.probability >= by_hand
    place = int(np.argmin(np.abs(rejected - (1 - kept.mean()))))
    assert accuracy[place] == pytest.approx(it.right[kept].mean())


def test_a_well_calibrated_model_has_no_calibration_error() -> None:
    labels = np.arange(1000) % 2
    guess = np.where(np.arange(1000) % 10 < 8, labels, 1 - labels)  # accuracy 80 %, probability 80 %
    calibrated = Interpretation(("a", "b"), ["x"] * 1000, labels, guess, np.full(1000, 0.8), np.zeros(1000))
    assert calibrated.calibration()[1] == pytest.approx(0)
    overconfident = Interpretation(("a", "b"), ["x"] * 1000, labels, guess, np.full(1000, 0.99), np.zeros(1000))
    assert overconfident.calibration()[1] == pytest.approx(0.19)


@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, of classes without images
@given(LABELS)
def test_balanced_accuracy_and_cross_entropy_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    assert balanced_accuracy(predicted, labels) == pytest.approx(balanced_accuracy_score(labels, predicted))
    scores = np.random.default_rng(0).uniform(0.01, 1, (len(labels), 3))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    losses = cross_entropy_per_image(probabilities, labels)
    assert losses.dtype == np.float64
    assert losses.mean() == pytest.approx(log_loss(labels, probabilities, labels=[0, 1, 2]))


def test_cross_entropy_of_certain_predictions_is_finite_and_has_no_negative_zero() -> None:
    losses = cross_entropy_per_image(np.array([[1, 0], [1, 0]], np.float32), np.array([0, 1]))
    assert losses.dtype == np.float32
    assert f"{losses[0]:.6f}" == "0.000000"
    assert losses[1] == pytest.approx(-np.log(np.finfo(np.float32).tiny))


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_two_sided_binomial_test(fixed: int, broken: int) -> None:
    total = fixed + broken
    by_hand = 2 * binom.cdf(min(fixed, broken), total, 0.5) if fixed != broken else 1.0
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, by_hand))
    assert mcnemar(fixed, broken) == pytest.approx(mcnemar(broken, fixed))


def test_top_losses_are_the_highest_with_names_and_indices(tmp_path: Path) -> None:
    run = train("digits", model="linear", epochs=1, out=tmp_path / "run")["run"]
    it = Interpretation.from_run(run)
    worst = it.top_losses(5)
    assert [row.loss for row in worst] == sorted(it.loss, reverse=True)[:5]
    assert all(row.name == it.names[row.index] and row.label == row.name.split("/")[0] for row in worst)
    assert it.confusion_matrix().counts.sum() == 359
    assert (tmp_path / "run" / "predictions.csv").read_text().splitlines()[0].split(",") == PREDICTION_COLUMNS
    (tmp_path / "run" / "predictions.csv").write_text("path,label\n")
    with pytest.raises(RunError, match=r"predictions\.csv cannot be read"):
        Interpretation.from_run(run)


def test_from_learner_equals_from_run(tmp_path: Path) -> None:
    from underhood.core.schedule import one_cycle
    from underhood.data.read import load_data
    from underhood.training.config import TrainConfig
    from underhood.training.recipe import choose_for
    from underhood.training.setup import make_learner

    config, loaded = TrainConfig("digits", model="linear", epochs=1), load_data("digits")
    recipe = choose_for(loaded.dataset, config, "linear")
    learn = make_learner(loaded, recipe, config).learn
    list(learn.epochs(1, recipe.lr, one_cycle))
    one = Interpretation.from_learner(learn)
    other = Interpretation.from_run(train("digits", model="linear", epochs=1, out=tmp_path / "run")["run"])
    assert (one.predicted == other.predicted).all()
    assert one.loss == pytest.approx(other.uncalibrated().loss, abs=1e-5)
    assert one.names == other.names


def test_compare_returns_better_worse_or_cannot_tell(underhood: Command) -> None:
    for name, flags in {"plain": ("linear", 1), "deep": ("conv", 6), "again": ("conv", 7)}.items():
        assert underhood("train", "--model", flags[0], "--epochs", flags[1], "--out", name).code == 0
    result = underhood("compare", "plain", "deep", "again", "--json").json
    assert result["images"] == 359
    assert [row.get("verdict") for row in result["runs"]] == [None, "better", "better"]
    assert len(result["runs"][1]["fixed"]) > len(result["runs"][1]["broken"])
    assert result["runs"][1]["p"] < 0.001
    assert underhood("compare", "deep", "plain", "--json").json["runs"][1]["verdict"] == "worse"
    assert underhood("compare", "deep", "again", "--json").json["runs"][1]["verdict"] == "cannot tell"
    out = underhood("compare", "plain", "deep").out
    assert "better" in out
    assert "fixed by deep:" in out
    assert underhood("compare", "plain").code == 1


def test_compare_rejects_runs_on_different_images(tmp_path: Path) -> None:
    one = train("digits", model="linear", epochs=1, out=tmp_path / "one")["run"]
    other = train("digits", model="linear", epochs=1, seed=1, out=tmp_path / "two")["run"]
    with pytest.raises(RunError, match="same split"):
        compare(one, other)
