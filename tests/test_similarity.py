"""Pixel similarity, the baseline."""

from pathlib import Path

import numpy as np
import pytest
from conftest import fill
from PIL import Image

from underhood import PixelSimilarity
from underhood.core.images import Dataset
from underhood.data.read import read


def test_the_chapters_accuracies_by_l1_to_four_digits(mnist_3v7: Dataset) -> None:
    right = PixelSimilarity("l1").fit(mnist_3v7.train).predict(mnist_3v7.valid.pixels) == mnist_3v7.valid.labels
    threes, sevens = (right[mnist_3v7.valid.labels == label].mean() for label in (0, 1))
    assert (round(threes, 4), round(sevens, 4), round((threes + sevens) / 2, 4)) == (0.9168, 0.9854, 0.9511)


def test_all_ten_digits_by_l2(mnist: Dataset) -> None:
    assert (PixelSimilarity().fit(mnist.train).predict(mnist.valid.pixels) == mnist.valid.labels).mean() == 0.8203


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # of pixels that are always black
def test_l2_is_scikit_learns_nearest_centroid(digits: Dataset) -> None:
    from sklearn.neighbors import NearestCentroid

    flat = [images.pixels.reshape(len(images), -1) / 255 for images in (digits.train, digits.valid)]
    theirs = NearestCentroid().fit(flat[0], digits.train.labels)
    ours = PixelSimilarity().fit(digits.train)
    assert np.allclose(ours.class_means.reshape(10, -1), theirs.centroids_, atol=1e-6)
    assert (ours.predict(digits.valid.pixels) == theirs.predict(flat[1])).all()


def test_distances_are_means_over_pixels_of_zero_to_one(tmp_path: Path, digits: Dataset) -> None:
    for metric, expected in (("l1", lambda d: np.abs(d).mean()), ("l2", lambda d: np.sqrt((d**2).mean()))):
        baseline = PixelSimilarity(metric).fit(digits.train)
        distance = baseline.distances(digits.valid.pixels[:3])
        assert distance.shape == (3, 10)
        assert distance[2, 4] == pytest.approx(
            expected(digits.valid.pixels[2] / 255 - baseline.class_means[4]), rel=1e-5
        )


def test_an_unknown_metric_and_an_empty_class_are_errors(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="'l1' or 'l2'"):
        PixelSimilarity("l3")
    with pytest.raises(ValueError, match="class '0' has no image"):
        PixelSimilarity().fit(digits.train.take(digits.train.labels > 0))


def test_it_works_on_colour_and_on_many_classes(tmp_path: Path) -> None:
    for c in range(60):
        hue = np.array([c * 4, 255 - c * 4, (c * 37) % 256])
        for i in range(3):
            spots = np.random.default_rng([c, i]).integers(-9, 9, (8, 8, 3))
            fill(tmp_path, {f"{c:02}/{i}.png": Image.fromarray((hue + spots).clip(0, 255).astype(np.uint8))})
    data = read(tmp_path, size=8)
    assert (PixelSimilarity("l1").fit(data.train).predict(data.valid.pixels) == data.valid.labels).mean() > 0.95
