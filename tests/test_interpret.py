"""What predictions say, against scikit-learn and SciPy as witnesses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from hypothesis import given, strategies as st
from scipy.stats import binom
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from underhood import Interpretation, RunError, train
from underhood.analysis.interpretation import mcnemar
from underhood.jobs import compare

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
def test_confusion_precision_and_recall_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
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
def test_calibration_and_rejection_count_every_picture_once(pairs: list[tuple[int, int]], bins: int) -> None:
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


def test_a_model_that_knows_how_sure_it_may_be_has_no_calibration_error() -> None:
    labels = np.arange(1000) % 2
    guess = np.where(np.arange(1000) % 10 < 8, labels, 1 - labels)  # 80 % right, and 80 % sure
    sure = Interpretation(("a", "b"), ["x"] * 1000, labels, guess, np.full(1000, 0.8), np.zeros(1000))
    assert sure.calibration()[1] == pytest.approx(0)
    bold = Interpretation(("a", "b"), ["x"] * 1000, labels, guess, np.full(1000, 0.99), np.zeros(1000))
    assert bold.calibration()[1] == pytest.approx(0.19)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_fair_coins_tail(fixed: int, broken: int) -> None:
    total = fixed + broken
    by_hand = 2 * binom.cdf(min(fixed, broken), total, 0.5) if fixed != broken else 1.0
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, by_hand))
    assert mcnemar(fixed, broken) == pytest.approx(mcnemar(broken, fixed))


def test_top_losses_are_the_worst_with_names_and_places(tmp_path: Path) -> None:
    run = train("digits", model="linear", epochs=1, out=tmp_path / "run")["run"]
    it = Interpretation.from_run(run)
    worst = it.top_losses(5)
    assert [row.loss for row in worst] == sorted(it.loss, reverse=True)[:5]
    assert all(row.name == it.names[row.index] and row.label == row.name.split("/")[0] for row in worst)
    assert it.confusion_matrix().counts.sum() == 359
    (tmp_path / "run" / "predictions.csv").write_text("path,label\n")
    with pytest.raises(RunError, match=r"predictions\.csv cannot be read"):
        Interpretation.from_run(run)


def test_from_a_learner_it_is_what_the_run_says(tmp_path: Path) -> None:
    from underhood.core.schedule import one_cycle
    from underhood.data.read import read
    from underhood.training.config import Request
    from underhood.training.setup import choose_recipe, make_learner

    request = Request("digits", model="linear", epochs=1)
    data = read("digits")
    recipe = choose_recipe(data, request, "linear")
    learn = make_learner(data, recipe, request).learn
    list(learn.epochs(1, recipe.lr, one_cycle))
    one = Interpretation.from_learner(learn)
    other = Interpretation.from_run(train("digits", model="linear", epochs=1, out=tmp_path / "run")["run"])
    assert (one.predicted == other.predicted).all()
    assert one.loss == pytest.approx(other.loss, abs=1e-5)
    assert one.names == other.names


def test_compare_says_better_worse_or_cannot_tell(underhood: Command) -> None:
    for name, flags in {"plain": ("linear", 1), "deep": ("conv", 6), "again": ("conv", 7)}.items():
        assert underhood("train", "--model", flags[0], "--epochs", flags[1], "--out", name).code == 0
    told = underhood("compare", "plain", "deep", "again", "--json").json
    assert told["images"] == 359
    assert [row.get("verdict") for row in told["runs"]] == [None, "better", "better"]
    assert len(told["runs"][1]["fixed"]) > len(told["runs"][1]["broken"])
    assert told["runs"][1]["p"] < 0.001
    assert underhood("compare", "deep", "plain", "--json").json["runs"][1]["verdict"] == "worse"
    assert underhood("compare", "deep", "again", "--json").json["runs"][1]["verdict"] == "cannot tell"
    out = underhood("compare", "plain", "deep").out
    assert "better" in out
    assert "fixed by deep:" in out
    assert underhood("compare", "plain").code == 1


def test_compare_refuses_other_pictures(tmp_path: Path) -> None:
    one = train("digits", model="linear", epochs=1, out=tmp_path / "one")["run"]
    other = train("digits", model="linear", epochs=1, seed=1, out=tmp_path / "two")["run"]
    with pytest.raises(RunError, match="same split"):
        compare(one, other)
