"""The models as scikit-learn estimators."""

import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from underhood import PixelSimilarity
from underhood.core.images import Dataset
from underhood.data.read import read
from underhood.estimators import ImageClassifier, PixelSimilarityClassifier


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CHECKED = [
    PixelSimilarityClassifier(),
    PixelSimilarityClassifier("l1"),
    ImageClassifier(),
    ImageClassifier("linear"),
]


@parametrize_with_checks(CHECKED)
def test_both_pass_scikit_learns_own_checks(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def parts(rows: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Rows to train and to validate on, then the labels of both."""
    return train_test_split(*rows, test_size=0.25, random_state=0, stratify=rows[1])


@pytest.mark.parametrize(
    ("estimator", "floor"),
    [
        (PixelSimilarityClassifier(), 0.87),
        (PixelSimilarityClassifier("l1"), 0.84),
        (ImageClassifier("linear", random_state=0), 0.89),
        (ImageClassifier("net", random_state=0), 0.91),
        (ImageClassifier("conv", image_shape=(8, 8), epochs=6, random_state=0), 0.95),
    ],
)
def test_cross_validation_on_the_digits(
    estimator: BaseEstimator, floor: float, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    assert cross_val_score(estimator, *rows, cv=3).mean() > floor


def test_a_grid_search_in_two_processes_finds_the_better_learning_rate(rows: tuple[np.ndarray, np.ndarray]) -> None:
    grid = {"lr": np.array([1e-5, 1e-2], np.float32), "epochs": np.array([8])}
    found = GridSearchCV(ImageClassifier(random_state=0), grid, cv=2, n_jobs=2).fit(*rows)
    assert found.best_params_["lr"] == np.float32(1e-2)
    assert found.cv_results_["mean_test_score"][0] < 0.5 < 0.88 < found.best_score_
    by_metric = GridSearchCV(PixelSimilarityClassifier(), {"metric": ["l1", "l2"]}, cv=3).fit(*rows)
    assert by_metric.best_params_ == {"metric": "l2"}


@pytest.mark.parametrize("estimator", [PixelSimilarityClassifier(), ImageClassifier(random_state=0)])
def test_both_work_at_the_end_of_a_pipeline(estimator: BaseEstimator, parts: list[np.ndarray]) -> None:
    train, test, train_y, test_y = parts
    assert make_pipeline(StandardScaler(), estimator).fit(train, train_y).score(test, test_y) > 0.87


def test_l2_agrees_with_scikit_learns_nearest_centroid() -> None:
    centres = np.random.default_rng(0).normal(size=(4, 1, 30))
    noise = np.random.default_rng(1).normal(scale=3, size=(4, 100, 30))
    x, y = (centres + noise).reshape(-1, 30) - 1000, np.repeat(["a", "b", "c", "d"], 100)
    ours, theirs = PixelSimilarityClassifier().fit(x, y), NearestCentroid().fit(x, y)
    np.testing.assert_allclose(ours.class_means_, theirs.centroids_, rtol=1e-12)
    assert (ours.predict(x) == theirs.predict(x)).all()
    assert 0.5 < ours.score(x, y) < 0.9  # so that they agree on errors, too


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_it_agrees_with_pixel_similarity(metric: str, digits: Dataset) -> None:
    names = np.array(digits.classes)
    theirs = PixelSimilarity(metric).fit(digits.train)
    pixels = digits.valid.pixels
    for train, test in [
        (digits.train.pixels, pixels),
        (digits.train.pixels[:, 0], pixels[:, 0]),
        (digits.train.pixels.reshape(-1, 64) / 255, pixels.reshape(-1, 64) / 255),
    ]:
        ours = PixelSimilarityClassifier(metric).fit(train, names[digits.train.labels])
        assert (ours.predict(test) == names[theirs.predict(pixels)]).all()


def test_probabilities_are_those_of_the_assumed_error() -> None:
    x, y = np.array([[0.0, 0.0], [2.0, 0.0], [5.0, 4.0], [5.0, 6.0]]), [0, 0, 1, 1]
    near, far = [1.0, 2.0], [5.0, 5.0]  # from the class means (1, 0) and (5, 5)
    for metric, odds in (("l1", [(2 - 7) / 0.5, 9 / 0.5]), ("l2", [(4 - 25) / 2 / 0.5, 41 / 2 / 0.5])):
        model = PixelSimilarityClassifier(metric).fit(x, y)
        assert model.spread_ == pytest.approx(0.5)  # one of the two numbers is off by 1
        assert model.decision_function([near, far]) == pytest.approx(odds)
        p = model.predict_proba([near, far])
        assert np.log(p[:, 1] / p[:, 0]) == pytest.approx(odds)
        assert model.predict_proba(x).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("estimator", CHECKED)
def test_labels_of_any_kind_and_pickling(estimator: BaseEstimator, rows: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = rows[0][:300], np.array(["even", "odd"])[rows[1][:300] % 2]
    fitted = clone(estimator).fit(x, y)
    assert fitted.classes_.tolist() == ["even", "odd"]
    assert fitted.n_features_in_ == 64
    assert set(fitted.predict(x)) == {"even", "odd"}
    assert fitted.predict_proba(x).shape == (300, 2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), fitted.predict_proba(x))


def test_one_random_state_gives_one_model_and_torchs_state_is_restored(rows: tuple[np.ndarray, np.ndarray]) -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()

    def probabilities(seed: int) -> np.ndarray:
        return ImageClassifier("conv", epochs=1, random_state=seed).fit(*rows).predict_proba(rows[0])

    one, two = probabilities(1), probabilities(2)
    assert not np.allclose(one, two, atol=0.01)
    torch.rand(3)
    np.testing.assert_array_equal(probabilities(1), one)
    with ThreadPoolExecutor(2) as pool:  # whose threads may round differently
        for expected, found in zip([one, two, one, two], pool.map(probabilities, [1, 2, 1, 2]), strict=True):
            np.testing.assert_allclose(found, expected, atol=0.01)
    torch.manual_seed(5)
    ImageClassifier(epochs=1).fit(*rows)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_the_first_layer_has_each_channels_mean_and_std() -> None:
    rng = np.random.default_rng(0)
    images = np.stack([rng.normal(200, 30, (40, 6, 5)), np.full((40, 6, 5), 0.1)], axis=1)  # [n, 2, 6, 5]
    fitted = ImageClassifier(epochs=1, random_state=0).fit(images, np.arange(40) % 2)
    assert (fitted.architecture_.channels, fitted.architecture_.height, fitted.architecture_.width) == (2, 6, 5)
    mean, std = fitted.model_[0].mean.ravel(), fitted.model_[0].deviation.ravel()
    assert mean.tolist() == pytest.approx([images[:, 0].mean(), 0.1])
    assert std.tolist() == pytest.approx([images[:, 0].std(), 1.0])
    flat = ImageClassifier(image_shape=[2, 6, 5], epochs=1, random_state=0).fit(
        images.reshape(40, -1), np.arange(40) % 2
    )
    np.testing.assert_array_equal(flat.predict_proba(images), fitted.predict_proba(images.reshape(40, -1)))


def test_uint8_pixels_give_the_same_results_as_floats(digits: Dataset) -> None:
    pixels, labels = digits.train.pixels, digits.train.labels
    for model in ("net", "conv"):
        ours = [ImageClassifier(model, epochs=2, random_state=0).fit(x, labels) for x in (pixels, pixels.astype(float))]
        np.testing.assert_array_equal(*[fitted.predict_proba(pixels) for fitted in ours])
    mean, std = digits.train.pixel_statistics()
    assert ours[0].model_[0].mean.ravel().tolist() == pytest.approx(mean)
    assert ours[0].model_[0].deviation.ravel().tolist() == pytest.approx(std)


def test_conv_vgg_and_resnet18_on_rows(parts: list[np.ndarray]) -> None:
    train, test, train_y, test_y = parts
    for model, count, epochs, floor in (("conv", 1347, 8, 0.96), ("vgg", 1347, 2, 0.9), ("resnet18", 400, 4, 0.85)):
        fitted = ImageClassifier(model, (8, 8), epochs=epochs, random_state=0).fit(train[:count], train_y[:count])
        assert fitted.score(test, test_y) > floor, model
        assert len(fitted.loss_curve_) == epochs
        assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]
    square = ImageClassifier("conv", epochs=8, random_state=0).fit(train, train_y)
    assert square.score(test, test_y) > 0.96  # 64 numbers are 8 × 8 pixels


@pytest.mark.parametrize(
    ("parameters", "features", "message"),
    [
        ({"model": "convv"}, 64, "one of linear, net, conv, vgg, resnet18, efficientnet_lite0, not 'convv'"),
        ({"epochs": 0}, 64, "epochs must be a whole number from 1 on"),
        ({"batch_size": 1.5}, 64, "batch_size must be a whole number"),
        ({"lr": -1}, 64, "lr must be a number above 0"),
        ({"lr": "fast"}, 64, "lr must be a number above 0"),
        ({"lr": 1e30}, 64, r"NaN or infinite at step \d+: lr=1e\+30 may be too high"),
        ({"model": "conv"}, 60, r"60 features are no square image: conv needs image_shape=\(height, width\)"),
        ({"model": "conv"}, 4, "2 × 2 pixels are too small for conv: use linear or net, which take any size"),
        ({"image_shape": (8, 9)}, 64, r"image_shape=\(8, 9\) does not hold the 64 features"),
        ({"image_shape": (-8, -8)}, 64, "does not hold the 64 features"),
        ({"image_shape": 8}, 64, r"image_shape must be \(height, width\) or"),
        ({"image_shape": (8.0, 8.0)}, 64, r"image_shape must be \(height, width\) or"),
        ({"model": "efficientnet_lite0"}, 64, "X has numbers from -"),
        ({"model": "conv", "image_shape": (8, 8, 3)}, 192, r"image_shape=\(8, 8, 3\) has its channels last"),
    ],
)
def test_errors_say_how_to_fix_them(parameters: dict[str, Any], features: int, message: str) -> None:
    x = np.random.default_rng(0).normal(size=(30, features))
    with pytest.raises(ValueError, match=message):
        ImageClassifier(**parameters).fit(x, np.arange(30) % 3)


@pytest.mark.parametrize("estimator", CHECKED)
def test_input_that_scikit_learn_rejects_is_rejected(estimator: BaseEstimator) -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[3, 2] = bad
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            clone(estimator).fit(broken, y)
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            clone(estimator).fit(x, y).predict(broken)
    with pytest.raises(ValueError, match="expecting 4 features"):
        clone(estimator).fit(x, y).predict(x.reshape(30, 2, 2)[:, :1])
    with pytest.raises(ValueError, match="Unknown label type"):
        clone(estimator).fit(x, x[:, 0])


def test_a_single_class_and_an_unknown_metric_are_errors() -> None:
    with pytest.raises(ValueError, match=r"only one class: \['a'\]"):
        ImageClassifier().fit(np.eye(3), ["a"] * 3)
    with pytest.raises(ValueError, match="'l1' or 'l2', not 'l3'"):
        PixelSimilarityClassifier("l3").fit(np.eye(3), [0, 1, 2])


def test_a_failed_fit_keeps_the_earlier_model(rows: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = rows
    model = ImageClassifier("net", epochs=2, random_state=0).fit(x, y)
    before = model.predict(x)
    with pytest.raises(ValueError, match="lr=1e\\+30 may be too high"):
        model.set_params(lr=1e30).fit(x, y % 2)
    assert (model.predict(x) == before).all()


PHOTOS = Path(os.environ.get("UNDERHOOD_DATA", "."), "panel/hymenoptera")


@pytest.fixture(scope="module")
def photos() -> tuple[np.ndarray, np.ndarray]:
    """60 photographs of ants and bees, uint8 [60, 3, 128, 128], and their labels."""
    if not PHOTOS.is_dir():
        pytest.skip("the photographs are not here: set UNDERHOOD_DATA")
    images = read(PHOTOS, size=128, channels=3, fit="crop", limit=60).train
    return images.pixels, np.array(images.classes)[images.labels]


BACKBONE = ImageClassifier("efficientnet_lite0", random_state=0)


def test_a_backbone_is_right_on_photographs_where_a_network_from_scratch_is_not(
    photos: tuple[np.ndarray, np.ndarray],
) -> None:
    ten_epochs = ImageClassifier("efficientnet_lite0", epochs=10, random_state=0)
    found = GridSearchCV(ten_epochs, {"model": ["conv", "efficientnet_lite0"]}, cv=2).fit(*photos)
    assert found.best_params_ == {"model": "efficientnet_lite0"}
    scratch, backbone = found.cv_results_["mean_test_score"]
    assert scratch + 0.05 < backbone
    assert backbone > 0.7
    assert cross_val_score(ten_epochs, *photos, cv=2).mean() == pytest.approx(backbone)


@pytest.fixture
def small_photos(photos: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A third of them, at half the size: uint8 [20, 3, 64, 64]."""
    return np.ascontiguousarray(photos[0][::3, :, ::2, ::2]), photos[1][::3]


def test_a_fitted_backbone_survives_pickling_and_only_its_last_layer_was_trained(
    small_photos: tuple[np.ndarray, np.ndarray],
) -> None:
    pixels, labels = small_photos
    one, other = (clone(BACKBONE).set_params(random_state=seed).fit(pixels, labels) for seed in (0, 1))
    assert clone(one).get_params() == one.get_params() == BACKBONE.get_params()
    assert (one.architecture_.model, one.architecture_.channels, one.architecture_.height) == (
        "efficientnet_lite0", 3, 64,
    )  # fmt: skip
    assert one.n_features_in_ == 3 * 64 * 64
    state, others = one.model_.state_dict(), other.model_.state_dict()
    differ = {name for name, tensor in state.items() if not torch.equal(tensor, others[name])}
    assert differ == {"classifier.weight", "classifier.bias"}
    assert one.loss_curve_[-1] < one.loss_curve_[0]
    expected = one.predict_proba(pixels)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).predict_proba(pixels), expected)
    np.testing.assert_array_equal(clone(BACKBONE).fit(pixels, labels).predict_proba(pixels), expected)
    rows = pixels.reshape(len(pixels), -1).astype(float)  # as scikit-learn keeps images
    flat = clone(BACKBONE).set_params(image_shape=(3, 64, 64)).fit(rows, labels)
    np.testing.assert_array_equal(flat.predict_proba(rows), expected)


def test_another_fit_of_a_backbone_on_the_same_images_uses_the_features_in_the_cache(
    small_photos: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone(BACKBONE).fit(*small_photos)
    monkeypatch.setattr("underhood.pretrained.features._compute", None)  # would raise TypeError
    assert len(clone(BACKBONE).set_params(epochs=3, lr=0.01).fit(*small_photos).loss_curve_) == 3


def test_grey_images_are_repeated_for_a_backbone(small_photos: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = small_photos[0][:12, 0], small_photos[1][:12]
    grey = clone(BACKBONE).set_params(epochs=2).fit(pixels[:, :48], labels)  # images need not be square
    colour = clone(BACKBONE).set_params(epochs=2).fit(np.repeat(pixels[:, None, :48], 3, axis=1), labels)
    assert (grey.architecture_.channels, grey.architecture_.height, grey.architecture_.width) == (3, 48, 64)
    np.testing.assert_array_equal(grey.predict_proba(pixels[:, :48]), colour.predict_proba(
        np.repeat(pixels[:, None, :48], 3, axis=1)))  # fmt: skip


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((4, 3, 28, 40), 7, np.uint8), "images of 40 × 28 pixels are too small for efficientnet_lite0: resize"),
        (np.full((4, 4, 40, 40), 7, np.uint8), "takes images with 1 or 3 channels, not 4"),
        (np.full((4, 40, 40), 0.5), r"numbers up to 0.5: efficientnet_lite0 takes pixels from 0 to 255, X \* 255"),
        (np.full((4, 40, 40), 256.0), "numbers from 256 to 256: efficientnet_lite0 takes pixels, 0 to 255"),
        (np.full((4, 40, 40, 3), 7, np.uint8), "channels last"),
    ],
)
def test_images_that_a_backbone_cannot_use_are_errors(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clone(BACKBONE).fit(images, ["a", "a", "b", "b"])
