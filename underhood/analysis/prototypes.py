"""Prototypes: a few directions in feature space that stand for the training images, to measure distances to.

The distance to the nearest training images is what tells images of other things best (docs/answers.md compares it with
Mahalanobis'), but 60,000 of them are too many to export. Their features are reduced to the directions in which they
vary, and each class to at most 200 centres of k-means. Five neighbours count, not one: a single training image that is
unlike all others would make everything near it known.
"""

import numpy as np

from underhood.data.split import sample
from underhood.runs.calibration import Calibration

NEIGHBOURS = 5  # prototypes whose distance counts
PER_CLASS = 200  # prototypes, at most
MOST_PROTOTYPES = 4000
RANK = 64  # of the subspace, at most
SPANNED_BY = 1000  # images, at most, whose features span the subspace
MOST_IMAGES = 10_000  # whose features are computed, and fewer where they have many:
MOST_NUMBERS = 50_000_000


def training_rows(labels: np.ndarray, features: int) -> np.ndarray:
    """The training images whose features become prototypes: all, or each class in proportion. int64 [m]

    labels: int [n]; features: how many each image has
    """
    return sample(labels, max(len(np.unique(labels)), min(MOST_IMAGES, MOST_NUMBERS // features)), seed=0)


def fit_prototypes(features: np.ndarray, labels: np.ndarray) -> Calibration:
    """A calibration with projection, prototypes and neighbours for ``feature_distances``, and nothing else.

    features: of training images, float32 [n, features]; labels: int [n]
    """
    directions = _unit(features)
    projection = _subspace(
        directions[np.linspace(0, len(directions) - 1, min(len(directions), SPANNED_BY)).astype(int)]
    )
    reduced = directions @ projection
    present = np.unique(labels).tolist()
    most = max(1, min(PER_CLASS, MOST_PROTOTYPES // len(present)))
    prototypes = np.concatenate([_centres(reduced[labels == label], most) for label in present])
    return Calibration(projection=projection, prototypes=_unit(prototypes), neighbours=min(NEIGHBOURS, len(prototypes)))


def _subspace(rows: np.ndarray) -> np.ndarray:
    """The directions in which rows, float32 [n, features], are largest: float32 [features, ≤ RANK] of length 1."""
    squares, mixtures = np.linalg.eigh(rows @ rows.T)  # [n], [n, n], in ascending order
    count = max(1, min(RANK, int((squares > 1e-6 * squares[-1]).sum())))
    directions = rows.T @ mixtures[:, : -count - 1 : -1]
    return np.ascontiguousarray(_unit(directions.T).T)


def _centres(rows: np.ndarray, most: int) -> np.ndarray:
    """The rows, float32 [n, rank], or as many centres of k-means where there are more."""
    if len(rows) <= most:
        return rows
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # the same centres, whatever the number of cores
        return KMeans(most, n_init=1, max_iter=20, random_state=0).fit(rows).cluster_centers_.astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; those of length 0 as they are."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
