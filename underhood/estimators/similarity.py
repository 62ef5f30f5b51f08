"""The baseline as an estimator."""

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from underhood.core.images import blocks
from underhood.estimators.rows import flat, label_numbers
from underhood.scratch.similarity import distances, mean_per_class


class PixelSimilarityClassifier(ClassifierMixin, BaseEstimator):
    """Nearest class mean, the mean of a class's training rows: chapter 4's baseline (``PixelSimilarity``).

    metric: "l2", the root of the mean squared difference over all features, or "l1", the mean absolute difference

    Fitted: ``classes_``; ``class_means_`` float64 [classes, features]; ``spread_``, how far a feature of a training row
    is from its class mean: the mean of the squares (l2) or of the distances (l1).
    """

    def __init__(self, metric: str = "l2"):
        self.metric = metric

    def fit(self, X: Any, y: Any) -> "PixelSimilarityClassifier":
        """Compute the mean of each class. X: [n, features] or images; y: labels [n]."""
        if self.metric not in ("l1", "l2"):
            raise ValueError(f"metric must be 'l1' or 'l2', not {self.metric!r}")
        rows, y = validate_data(self, flat(X), y)
        self.classes_, labels = label_numbers(y)
        self.class_means_ = mean_per_class(rows, labels, len(self.classes_))
        own = self._distances(rows)[np.arange(len(rows)), labels]
        self.spread_ = float((own if self.metric == "l1" else own**2).mean())
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class with the nearest mean: [n]."""
        nearest = self._to_means(X).argmin(axis=1)
        return self.classes_[nearest]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class: float64 [n, classes].

        Assumes equally frequent classes, and features that differ from the class mean by independent normal (l2) or
        Laplace (l1) errors of the same size, ``spread_``. Neighbouring pixels are not independent, so these
        probabilities are far too confident; their order is right.
        """
        return softmax(self._log_likelihoods(X), axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """The logarithms of these probabilities up to a constant per row: float64 [n, classes]. With two classes, the
        log odds of the second: [n]."""
        log = self._log_likelihoods(X)
        return log[:, 1] - log[:, 0] if len(self.classes_) == 2 else log

    def _log_likelihoods(self, X: Any) -> np.ndarray:
        distance = self._to_means(X)
        error = distance if self.metric == "l1" else distance**2 / 2
        return -self.n_features_in_ * error / (self.spread_ or 1.0)

    def _to_means(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self._distances(validate_data(self, flat(X), reset=False))

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        wide = (rows[block].astype(np.float64, order="C") for block in blocks(rows))
        return np.concatenate([distances(block, self.class_means_, self.metric) for block in wide])
