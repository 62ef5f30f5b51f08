"""underhood's models as scikit-learn estimators, for ``cross_val_score``, ``GridSearchCV``, ``Pipeline`` and the rest.

>>> from sklearn.datasets import load_digits
>>> from sklearn.model_selection import cross_val_score
>>> rows, digits = load_digits(return_X_y=True)  # [1797, 64], [1797]
>>> cross_val_score(PixelSimilarityClassifier(), rows, digits, cv=3).round(2)
array([0.89, 0.88, 0.88])
>>> conv = ImageClassifier("conv", image_shape=(8, 8), epochs=4, random_state=0)
>>> bool(cross_val_score(conv, rows, digits, cv=3).mean() > 0.93)
True

Both pass scikit-learn's own ``check_estimator``. Each row of X is an image, of any finite numbers [n, features]; images
[n, h, w] or [n, c, h, w] are flattened to that. y holds any labels [n]. Invalid input raises ValueError; a sparse X
raises scikit-learn's TypeError.
"""

from underhood.estimators.classifier import ImageClassifier
from underhood.estimators.similarity import PixelSimilarityClassifier

__all__ = ["ImageClassifier", "PixelSimilarityClassifier"]
