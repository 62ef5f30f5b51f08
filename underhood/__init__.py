"""underhood: train an image classifier with the hood open.

The public names are loaded on first use (PEP 562), so that ``import underhood`` and ``underhood --help`` stay quick:
torch is imported only when something needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for type checkers and editors; ``_HOME`` says the same to Python
    from underhood.analysis.interpretation import Interpretation as Interpretation
    from underhood.core.errors import (
        DataError as DataError,
        DivergedError as DivergedError,
        InterruptedRunError as InterruptedRunError,
        RunError as RunError,
        UnderhoodError as UnderhoodError,
        UnknownNameError as UnknownNameError,
        UnreadableError as UnreadableError,
    )
    from underhood.core.images import Dataset as Dataset, Images as Images
    from underhood.core.learner import Learner as Learner
    from underhood.core.loader import DataLoader as DataLoader, DataLoaders as DataLoaders
    from underhood.core.losses import cross_entropy as cross_entropy, l1 as l1, mnist_loss as mnist_loss, mse as mse
    from underhood.core.metrics import (
        accuracy as accuracy,
        batch_accuracy as batch_accuracy,
        error_rate as error_rate,
    )
    from underhood.core.models import Architecture as Architecture, build_model as build_model
    from underhood.data.read import read as read
    from underhood.display.notebook import (
        plot_function as plot_function,
        plot_loss as plot_loss,
        show_batch as show_batch,
        show_image as show_image,
        show_images as show_images,
        show_pixels as show_pixels,
        show_results as show_results,
    )
    from underhood.estimators import (
        ImageClassifier as ImageClassifier,
        PixelSimilarityClassifier as PixelSimilarityClassifier,
    )
    from underhood.jobs import (
        check as check,
        clear_cache as clear_cache,
        compare as compare,
        evaluate as evaluate,
        export as export,
        get as get,
        ladder as ladder,
        predict as predict,
        report as report,
        rerun as rerun,
        resume as resume,
        train as train,
    )
    from underhood.jobs.reproduce import reproduce as reproduce
    from underhood.preparation.prepare import Preparation as Preparation
    from underhood.scratch.similarity import PixelSimilarity as PixelSimilarity
    from underhood.serving.predictor import Predictor as Predictor
    from underhood.training.lr_finder import lr_find as lr_find
    from underhood.training.reporter import Listener as Listener

_HOME = {
    "Architecture": "underhood.core.models",
    "DataError": "underhood.core.errors",
    "DataLoader": "underhood.core.loader",
    "DataLoaders": "underhood.core.loader",
    "Dataset": "underhood.core.images",
    "DivergedError": "underhood.core.errors",
    "ImageClassifier": "underhood.estimators",
    "Images": "underhood.core.images",
    "Interpretation": "underhood.analysis.interpretation",
    "InterruptedRunError": "underhood.core.errors",
    "Learner": "underhood.core.learner",
    "Listener": "underhood.training.reporter",
    "PixelSimilarity": "underhood.scratch.similarity",
    "PixelSimilarityClassifier": "underhood.estimators",
    "Predictor": "underhood.serving.predictor",
    "Preparation": "underhood.preparation.prepare",
    "RunError": "underhood.core.errors",
    "UnderhoodError": "underhood.core.errors",
    "UnknownNameError": "underhood.core.errors",
    "UnreadableError": "underhood.core.errors",
    "accuracy": "underhood.core.metrics",
    "batch_accuracy": "underhood.core.metrics",
    "build_model": "underhood.core.models",
    "check": "underhood.jobs",
    "clear_cache": "underhood.jobs",
    "compare": "underhood.jobs",
    "cross_entropy": "underhood.core.losses",
    "error_rate": "underhood.core.metrics",
    "evaluate": "underhood.jobs",
    "export": "underhood.jobs",
    "get": "underhood.jobs",
    "l1": "underhood.core.losses",
    "ladder": "underhood.jobs",
    "lr_find": "underhood.training.lr_finder",
    "mnist_loss": "underhood.core.losses",
    "mse": "underhood.core.losses",
    "plot_function": "underhood.display.notebook",
    "plot_loss": "underhood.display.notebook",
    "predict": "underhood.jobs",
    "read": "underhood.data.read",
    "report": "underhood.jobs",
    "reproduce": "underhood.jobs.reproduce",
    "rerun": "underhood.jobs",
    "resume": "underhood.jobs",
    "show_batch": "underhood.display.notebook",
    "show_image": "underhood.display.notebook",
    "show_images": "underhood.display.notebook",
    "show_pixels": "underhood.display.notebook",
    "show_results": "underhood.display.notebook",
    "train": "underhood.jobs",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'underhood' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
