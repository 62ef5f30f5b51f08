"""Prediction sets, temperature and distances: their laws, and MAPIE as a witness."""

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from safetensors import safe_open
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_distances
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from underhood.analysis.calibration import (
    MARGIN,
    calibration_half,
    distance_limit,
    feature_distances,
    fit_calibration,
    fit_temperature,
    images_needed,
    prediction_sets,
    rejection_reasons,
    set_limits,
    softmax,
)
from underhood.analysis.predictions import read_sets, set_text
from underhood.analysis.prototypes import fit_prototypes
from underhood.estimators import ImageClassifier
from underhood.runs.calibration import (
    CALIBRATION_FILE,
    Calibration,
    load_calibration,
    parse_calibration,
    save_calibration,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mapie.classification import SplitConformalClassifier  # type: ignore[import-untyped]

Rows = tuple[np.ndarray, np.ndarray]


def drawn(seed: int, n: int, classes: int, spread: float = 2.0) -> Rows:
    """Logits, float64 [n, classes], and labels that are drawn with their probabilities, int [n]."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n, classes))
    return logits, np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)


# --- MAPIE as a witness


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose X are the probabilities that it predicts."""

    def __init__(self, classes: int = 2):
        self.classes = classes

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Given":
        self.classes_, self.n_features_in_ = np.arange(self.classes), self.classes
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X).argmax(axis=1)


def mapie_sets(
    probabilities: np.ndarray, labels: np.ndarray, coverage: float, new: np.ndarray
) -> tuple[float, np.ndarray]:
    """MAPIE's limit of a probability, and its sets of new images, bool [n, classes]."""
    given = Given(probabilities.shape[1]).fit(probabilities, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mapie = SplitConformalClassifier(given, confidence_level=coverage, conformity_score="lac", prefit=True)
        mapie.conformalize(probabilities, labels)
        sets = mapie.predict_set(new)[1][:, :, 0]
    return 1 - float(mapie._conformity_score.quantiles_[0]), sets


def of_breast_cancer() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scaled = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3))
    return predicted_by(scaled, load_breast_cancer(return_X_y=True))


def of_iris() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return predicted_by(LogisticRegression(C=0.01, max_iter=1000), load_iris(return_X_y=True))


def of_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scaled = make_pipeline(StandardScaler(), LogisticRegression(C=1e-4, max_iter=1000))
    return predicted_by(scaled, load_digits(return_X_y=True))


def of_rare_classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = make_classification(3000, 10, n_informative=6, n_classes=4, weights=[0.7, 0.25, 0.04, 0.01], random_state=0)
    return predicted_by(LogisticRegression(max_iter=1000), (x, y))


def of_noise() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    logits, labels = drawn(0, 600, 5, spread=0.5)
    return softmax(logits[:400], 1.0), labels[:400], softmax(logits[400:], 1.0)


def predicted_by(estimator: BaseEstimator, data: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities and labels to calibrate with, and probabilities of other images."""
    train, other, y_train, y_other = train_test_split(*data, test_size=0.6, random_state=0, stratify=data[1])
    probabilities = estimator.fit(train, y_train).predict_proba(other)
    half = len(other) // 2
    return probabilities[:half], y_other[:half], probabilities[half:]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("data", [of_breast_cancer, of_iris, of_digits, of_rare_classes, of_noise])
def test_limits_and_sets_are_those_of_mapie(
    data: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]], coverage: float
) -> None:
    """Ours are lower by the margin; a class with enough images has the limit of these, the others that of all."""
    probabilities, labels, new = data()
    limits = set_limits(probabilities, labels, coverage) / (1 - MARGIN)
    pooled, of_all = mapie_sets(probabilities, labels, coverage, new)
    sets = prediction_sets(new, limits * (1 - MARGIN))
    most_probable = np.eye(new.shape[1], dtype=bool)[new.argmax(axis=1)]
    own = 0
    for label in range(new.shape[1]):
        limit, theirs, rows = pooled, of_all, labels == label
        if rows.sum() >= images_needed(coverage):
            limit, theirs = mapie_sets(probabilities[rows], labels[rows], coverage, new)
            own += 1
        assert limits[label] == pytest.approx(limit, abs=1e-12)
        within_margin = (new[:, label] < limit) & (new[:, label] >= limit * (1 - MARGIN) - 1e-12)
        assert within_margin.sum() <= 1
        expected = theirs[:, label] | most_probable[:, label]
        assert (sets[:, label] == expected)[~within_margin].all()
    assert own or data is of_iris


def test_with_too_few_images_mapie_refuses_and_our_sets_hold_every_class() -> None:
    logits, labels = drawn(1, 18, 3)
    probabilities = softmax(logits, 1.0)
    with pytest.raises(ValueError, match=r"number of samples|alpha"):
        mapie_sets(probabilities, labels, 0.95, probabilities)
    assert prediction_sets(probabilities, set_limits(probabilities, labels, 0.95)).all()


# --- laws


seeds = st.integers(0, 10_000)
coverages = st.sampled_from([0.5, 0.75, 0.8, 0.9, 0.95, 0.99])
counts = st.integers(1, 150)


@settings(deadline=None)
@given(seed=seeds, coverage=coverages, n=counts, classes=st.integers(2, 6))
def test_the_most_probable_label_is_always_in_the_set(seed: int, coverage: float, n: int, classes: int) -> None:
    logits, labels = drawn(seed, n, classes)
    probabilities = softmax(logits, 1.0)
    for limits in (set_limits(probabilities, labels, coverage), np.full(classes, 2.0)):
        sets = prediction_sets(probabilities, limits)
        assert sets[np.arange(n), probabilities.argmax(axis=1)].all()
        assert (sets.sum(axis=1) >= 1).all()


@settings(deadline=None)
@given(seed=seeds, low=coverages, high=coverages, n=counts)
def test_with_the_same_classes_pooled_a_larger_coverage_never_makes_a_set_smaller(
    seed: int, low: float, high: float, n: int
) -> None:
    """A class that changes from a limit of its own to that of all may get smaller sets: only so many are needed."""
    low, high = sorted((low, high))
    logits, labels = drawn(seed, n, 3)
    probabilities = softmax(logits, 1.0)
    numbers = np.bincount(labels, minlength=3)
    stay = (numbers >= images_needed(high)) | (numbers < images_needed(low))
    smaller, larger = (prediction_sets(probabilities, set_limits(probabilities, labels, one)) for one in (low, high))
    assert (larger >= smaller)[:, stay].all()
    if n < images_needed(high):
        assert larger.all()


@settings(deadline=None)
@given(seed=seeds, coverage=coverages, n=counts, more=st.integers(1, 40))
def test_images_whose_class_is_certain_never_lower_the_limit_of_their_class(
    seed: int, coverage: float, n: int, more: int
) -> None:
    """They change how many of the others may be below it."""
    logits, _ = drawn(seed, n, 2)
    probabilities, labels = softmax(logits, 1.0), np.zeros(n, int)
    certain = np.concatenate([probabilities, np.tile([1.0, 0.0], (more, 1))])
    before, after = set_limits(probabilities, labels, coverage), set_limits(certain, np.zeros(n + more, int), coverage)
    assert (after >= before).all()
    impossible = np.concatenate([probabilities, np.tile([0.0, 1.0], (more, 1))])
    assert (set_limits(impossible, np.zeros(n + more, int), coverage) <= before).all()


@settings(deadline=None)
@given(seed=seeds, coverage=coverages, n=counts, order=st.permutations(range(4)))
def test_classes_in_another_order_have_the_same_sets(seed: int, coverage: float, n: int, order: list[int]) -> None:
    logits, labels = drawn(seed, n, 4)
    probabilities = softmax(logits, 1.0)
    sets = prediction_sets(probabilities, set_limits(probabilities, labels, coverage))
    other, place = probabilities[:, order], np.argsort(order)[labels]
    assert (prediction_sets(other, set_limits(other, place, coverage)) == sets[:, order]).all()


@settings(deadline=None)
@given(seed=seeds, coverage=coverages, n=st.integers(1, 30), classes=st.integers(2, 5))
def test_with_fewer_images_than_needed_sets_hold_every_class(seed: int, coverage: float, n: int, classes: int) -> None:
    logits, labels = drawn(seed, min(n, images_needed(coverage) - 1), classes)
    if len(labels):
        probabilities = softmax(logits, 1.0)
        assert prediction_sets(probabilities, set_limits(probabilities, labels, coverage)).all()
    enough = images_needed(coverage)
    logits, labels = drawn(seed, enough, classes)
    assert (set_limits(softmax(logits, 1.0), labels, coverage) > 0).all()


@settings(deadline=None)
@given(seed=seeds, coverage=coverages, n=counts)
def test_of_the_images_that_calibrate_no_more_than_allowed_miss_their_class(seed: int, coverage: float, n: int) -> None:
    logits, labels = drawn(seed, n, 3)
    probabilities = softmax(logits, 1.0)
    reached = probabilities[np.arange(n), labels] >= set_limits(probabilities, labels, coverage)[labels]
    for label in range(3):
        own = reached[labels == label]
        if len(own) >= images_needed(coverage):
            assert (~own).sum() < round((len(own) + 1) * (1 - coverage), 6)


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_coverage_on_new_images_is_what_was_stated(coverage: float) -> None:
    """Of each class, over 400 random divisions of images that are drawn alike, within binomial error."""
    held, total = np.zeros(3, int), np.zeros(3, int)
    for seed in range(400):
        logits, labels = drawn(seed, 250, 3, spread=1.0)
        probabilities = softmax(2 * logits, 1.0)  # overconfident: coverage does not depend on it
        limits = set_limits(probabilities[:-10], labels[:-10], coverage)
        sets, of = prediction_sets(probabilities[-10:], limits), labels[-10:]
        held += np.bincount(of, sets[np.arange(10), of], 3).astype(int)
        total += np.bincount(of, minlength=3)
    for label in range(3):
        assert held[label] >= binom.ppf(0.001, total[label], coverage), label
        assert held[label] <= binom.ppf(0.999, total[label], coverage + 0.02) + 0.02 * total[label]  # not by large sets


# --- temperature


@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.7, 4.0])
def test_the_temperature_is_found_from_many_images(temperature: float) -> None:
    logits, labels = drawn(0, 20_000, 5)
    assert fit_temperature(temperature * logits, labels) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_from_five_images_the_temperature_stays_near_1(temperature: float) -> None:
    for seed in range(20):
        logits, labels = drawn(seed, 5, 5)
        assert 1 / 3.2 < fit_temperature(temperature * logits, labels) < 3.2


@pytest.mark.parametrize("n", [1, 5, 1000])
def test_images_that_are_all_right_or_all_alike_have_a_finite_temperature(n: int) -> None:
    labels = np.arange(n) % 3
    for logits in (50 * np.eye(3)[labels], np.zeros((n, 3)), -50 * np.eye(3)[labels], np.full((n, 3), 1e4)):
        found = fit_temperature(logits.astype(np.float32), labels)
        assert 1e-3 < found < 1e3
        probabilities = softmax(logits.astype(np.float32), found)
        assert np.isfinite(probabilities).all()
        assert np.allclose(probabilities.sum(axis=1), 1)


def test_softmax_keeps_the_order_and_nan() -> None:
    logits = np.array([[1.0, 3.0, 2.0], [1e30, -1e30, 0.0]], np.float32)
    for temperature in (1e-3, 1.0, 1e3):
        found = softmax(logits, temperature)
        assert found.dtype == np.float32
        assert found.argmax(axis=1).tolist() == [1, 0]
        assert np.isfinite(found).all()
    assert np.isnan(softmax(np.array([[np.nan, 0.0]]), 1.0)).all()


# --- the whole calibration


def test_one_class_only_among_the_images_that_calibrate() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 3)).astype(np.float32) + np.array([3, 0, 0], np.float32)
    features = rng.normal(size=(40, 8)).astype(np.float32)
    known = fit_prototypes(features, np.zeros(40, int))
    distances = feature_distances(rng.normal(size=(40, 8)).astype(np.float32), known)
    found = fit_calibration(logits, distances, np.zeros(40, int), 0.9, 0.05, known)
    assert len(set(found.limits)) == 1  # the two others have that of all images, which are the first one's
    assert 0 < found.limits[0] < 1
    assert math.isfinite(found.distance_limit)


@pytest.mark.parametrize("features", [np.ones((30, 6)), np.zeros((30, 6)), np.full((30, 6), 1e-20)])
def test_features_that_are_all_equal_reject_nothing(features: np.ndarray) -> None:
    features, labels = features.astype(np.float32), np.arange(30) % 2
    distances = feature_distances(features, fit_prototypes(features, labels))
    assert np.isfinite(distances).all()
    limit = distance_limit(distances, 0.05)
    pixels, probabilities = np.arange(60, dtype=np.uint8).reshape(30, 1, 1, 2), np.full((30, 2), 0.5)
    for rounding in (-1e-7, 0, 1e-7):  # another library adds up in another order
        far = Calibration(distance_limit=limit)
        assert rejection_reasons(far, pixels, probabilities, distances + np.float32(rounding)) == [""] * 30


@pytest.mark.parametrize("neighbours", [1, 2, 5, 20])
def test_with_an_orthogonal_projection_distances_are_mean_cosine_distances_to_the_nearest_prototypes(
    neighbours: int,
) -> None:
    rng = np.random.default_rng(0)
    features, prototypes = rng.normal(size=(50, 12)).astype(np.float32), rng.normal(size=(20, 12)).astype(np.float32)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    projection = np.linalg.qr(rng.normal(size=(12, 12)))[0].astype(np.float32)
    known = Calibration(projection=projection, prototypes=prototypes @ projection, neighbours=neighbours)
    found = feature_distances(features, known)
    assert found.dtype == np.float32
    expected = np.sort(cosine_distances(features, prototypes), axis=1)[:, :neighbours].mean(axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(feature_distances(7 * features, known), found, atol=2e-6)
    smaller = replace(known, projection=projection[:, :5], prototypes=(prototypes @ projection)[:, :5])
    part = feature_distances(features, smaller)
    assert (part >= -1e-6).all()  # what lies outside of a subspace makes no image nearer than 0
    assert (part <= 2).all()


def test_few_training_images_are_their_own_prototypes() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 100)).astype(np.float32), np.arange(60) % 3
    known = fit_prototypes(features, labels)
    assert known.prototypes is not None
    assert known.projection is not None
    assert (known.prototypes.shape, known.neighbours) == ((60, 60), 5)
    np.testing.assert_allclose(feature_distances(features, replace(known, neighbours=1)), 0, atol=1e-5)
    new = rng.normal(size=(40, 100)).astype(np.float32)
    inside = feature_distances(new @ known.projection @ known.projection.T, known)
    assert (feature_distances(new, known) > inside).all()
    assert fit_prototypes(features[:3], labels[:3]).neighbours == 3


def test_one_odd_training_image_makes_nothing_known() -> None:
    """Of 200 directions near one another and a single other one, an image like that one is far from all but one."""
    rng = np.random.default_rng(0)
    alike = (np.eye(8)[0] + 0.05 * rng.normal(size=(200, 8))).astype(np.float32)
    odd = np.eye(8, dtype=np.float32)[1:2]
    known = fit_prototypes(np.concatenate([alike, odd]), np.zeros(201, int))
    usual, other = feature_distances(alike, known), feature_distances(odd, known)
    assert other.item() > 10 * usual.max()
    assert feature_distances(odd, replace(known, neighbours=1)).item() < usual.max()


def test_a_calibration_of_the_first_format_has_one_neighbour(tmp_path: Path) -> None:
    """Those of several have format 2, which older versions refuse instead of reading another distance from them."""
    rng = np.random.default_rng(0)
    known = fit_prototypes(rng.normal(size=(30, 8)).astype(np.float32), np.arange(30) % 2)
    for neighbours, version in ((1, 1), (5, 2)):
        save_calibration(tmp_path, replace(known, neighbours=neighbours))
        with safe_open(tmp_path / CALIBRATION_FILE, "numpy") as file:
            header = json.loads(file.metadata()["underhood"])
        assert (header["format"], header.get("neighbours")) == (version, None if neighbours == 1 else 5)
        assert load_calibration(tmp_path, 0.0, 2, 8).neighbours == neighbours


@pytest.mark.parametrize("neighbours", [0, -1, 31, 2.0, True, "5", None])
def test_another_number_of_neighbours_is_refused(neighbours: Any) -> None:
    record = {"temperature": 1, "coverage": None, "limits": [], "distance_limit": None, "neighbours": neighbours}
    with pytest.raises(ValueError, match="neighbours is"):
        parse_calibration(record, 0.0, 2, np.ones((8, 3)), np.ones((30, 3)))


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=80))
def test_half_of_each_class_calibrates(labels: list[int]) -> None:
    numbers = np.array(labels)
    half = calibration_half(numbers)
    assert (half == calibration_half(numbers)).all()
    for label in set(labels):
        own = half[numbers == label]
        assert own.sum() == (len(own) + 1) // 2


# --- the estimator


@pytest.fixture(scope="module")
def parts() -> list[np.ndarray]:
    """Images to train, to calibrate and to test on, uint8 [n, 8, 8], then the labels of these, as words."""
    images, digits = load_digits().images.astype(np.uint8) * 15, load_digits().target
    names = np.array([f"digit {digit}" for digit in digits])
    train, other, y_train, y_other = train_test_split(images, names, train_size=500, random_state=0, stratify=names)
    half = len(other) // 2
    return [train, other[:half], other[half:], y_train, y_other[:half], y_other[half:]]


def test_predict_set_is_mapie_s_for_each_class(parts: list[np.ndarray]) -> None:
    train, held_out, test, y_train, y_held_out, y_test = parts
    model = ImageClassifier("linear", epochs=3, random_state=0).fit(train, y_train)
    before = model.predict_proba(test)
    for method in (model.predict_set, model.predict_rejected):
        with pytest.raises(NotFittedError):
            method(test)
    assert model.calibrate(held_out, y_held_out, coverage=0.95) is model
    after, sets = model.predict_proba(test), model.predict_set(test)
    assert (sets.dtype, sets.shape) == (bool, (len(test), 10))
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
    assert not np.allclose(after, before, atol=1e-3)
    own = sets[np.arange(len(test)), np.searchsorted(model.classes_, y_test)]
    assert own.mean() >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / len(test))
    assert 1 < sets.sum(axis=1).mean() < 4
    numbers, probabilities = np.searchsorted(model.classes_, y_held_out), model.predict_proba(held_out)
    for label in range(10):
        rows = numbers == label
        limit, theirs = mapie_sets(probabilities[rows], numbers[rows], 0.95, after)
        near = np.abs(after[:, label] - limit) <= 2 * MARGIN * limit + 1e-6  # limits are float32's
        expected = theirs[:, label] | (after.argmax(axis=1) == label)
        assert (sets[:, label] == expected)[~near].all()
        assert near.sum() <= 2


def test_a_calibrated_estimator_rejects_what_is_none_of_the_classes(parts: list[np.ndarray]) -> None:
    train, held_out, test, y_train, y_held_out, _ = parts
    model = ImageClassifier("conv", epochs=8, random_state=0).fit(train, y_train)
    model.calibrate(held_out, y_held_out, reject=0.05)
    assert model.predict_rejected(test).mean() < 0.12
    noise = np.random.default_rng(0).integers(0, 256, (300, 8, 8), dtype=np.uint8)
    assert model.predict_rejected(noise).mean() > 0.6
    assert model.predict_rejected(np.zeros((2, 8, 8), np.uint8)).all()


def test_another_fit_needs_another_calibration(parts: list[np.ndarray]) -> None:
    train, held_out, test, y_train, y_held_out, _ = parts
    model = ImageClassifier("linear", epochs=1, random_state=0)
    with pytest.raises(NotFittedError):
        model.calibrate(held_out, y_held_out)
    uncalibrated = model.fit(train, y_train).predict_proba(test)
    model.calibrate(held_out, y_held_out)
    with pytest.raises(ValueError, match=r"labels that fit did not get: \['digit 10'\]"):
        model.calibrate(held_out[:2], ["digit 10", "digit 1"])
    for wrong in ({"coverage": 1.0}, {"coverage": 0}, {"reject": -0.1}, {"coverage": "all"}):
        with pytest.raises(ValueError, match="coverage must be"):
            model.calibrate(held_out, y_held_out, **wrong)
    assert model.predict_set(test).any(axis=1).all()  # a failed calibration keeps the earlier one
    np.testing.assert_array_equal(model.fit(train, y_train).predict_proba(test), uncalibrated)
    with pytest.raises(NotFittedError):
        model.predict_set(test)


def test_fewer_images_than_needed_give_sets_of_all_classes(parts: list[np.ndarray]) -> None:
    train, held_out, test, y_train, y_held_out, _ = parts
    model = ImageClassifier("linear", epochs=1, random_state=0).fit(train, y_train)
    assert model.calibrate(held_out[:18], y_held_out[:18]).predict_set(test).all()
    assert not model.calibrate(held_out[:19], y_held_out[:19]).predict_set(test).all()


def test_a_group_of_images_is_in_one_half() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 300)
    half = calibration_half(groups % 3, groups)
    assert all(len(set(half[groups == group].tolist())) == 1 for group in range(40))
    assert 0.3 < half.mean() < 0.7


def test_a_set_in_a_table_is_read_back_whatever_the_names() -> None:
    classes = ("cat", "cat|dog", "a", "a|b", "x\\", "|", "\\|y", "n\nl", "é")
    for chosen in ([0, 1], [1], [3, 2], [4, 5, 6], [7, 8], list(range(9))):
        text = set_text([classes[i] for i in chosen])
        assert np.flatnonzero(read_sets([text], classes)[0]).tolist() == sorted(chosen)
    with pytest.raises(ValueError, match="no class"):
        read_sets(["bird"], classes)
