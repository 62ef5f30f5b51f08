"""underhood: train an image classifier with the hood open.

The public names are loaded on first use (PEP 562), so that ``import underhood`` and ``underhood --help`` stay quick:
torch is imported only when something needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for type checkers and editors; ``_HOME`` says the same to Python
    from underhood.books.reproduce import reproduce as reproduce
    from underhood.data.images import Dataset as Dataset, Images as Images
    from underhood.data.prepare import Preparation as Preparation
    from underhood.data.read import read as read
    from underhood.errors import (
        DataError as DataError,
        DivergedError as DivergedError,
        InterruptedRunError as InterruptedRunError,
        RunError as RunError,
        UnderhoodError as UnderhoodError,
        UnknownNameError as UnknownNameError,
        UnreadableError as UnreadableError,
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
    from underhood.listener import Listener as Listener
    from underhood.models import Architecture as Architecture, build_model as build_model
    from underhood.notebook import (
        plot_function as plot_function,
        plot_loss as plot_loss,
        show_batch as show_batch,
        show_image as show_image,
        show_images as show_images,
        show_pixels as show_pixels,
        show_results as show_results,
    )
    from underhood.runs.interpret import Interpretation as Interpretation
    from underhood.scratch.similarity import PixelSimilarity as PixelSimilarity
    from underhood.serving.predictor import Predictor as Predictor
    from underhood.training.find import lr_find as lr_find
    from underhood.training.learner import Learner as Learner
    from underhood.training.loader import DataLoader as DataLoader, DataLoaders as DataLoaders
    from underhood.training.losses import cross_entropy as cross_entropy, l1 as l1, mnist_loss as mnist_loss, mse as mse
    from underhood.training.metrics import (
        accuracy as accuracy,
        batch_accuracy as batch_accuracy,
        error_rate as error_rate,
    )

_HOME = {
    "Architecture": "underhood.models",
    "DataError": "underhood.errors",
    "DataLoader": "underhood.training.loader",
    "DataLoaders": "underhood.training.loader",
    "Dataset": "underhood.data.images",
    "DivergedError": "underhood.errors",
    "ImageClassifier": "underhood.estimators",
    "Images": "underhood.data.images",
    "Interpretation": "underhood.runs.interpret",
    "InterruptedRunError": "underhood.errors",
    "Learner": "underhood.training.learner",
    "Listener": "underhood.listener",
    "PixelSimilarity": "underhood.scratch.similarity",
    "PixelSimilarityClassifier": "underhood.estimators",
    "Predictor": "underhood.serving.predictor",
    "Preparation": "underhood.data.prepare",
    "RunError": "underhood.errors",
    "UnderhoodError": "underhood.errors",
    "UnknownNameError": "underhood.errors",
    "UnreadableError": "underhood.errors",
    "accuracy": "underhood.training.metrics",
    "batch_accuracy": "underhood.training.metrics",
    "build_model": "underhood.models",
    "check": "underhood.jobs",
    "clear_cache": "underhood.jobs",
    "compare": "underhood.jobs",
    "cross_entropy": "underhood.training.losses",
    "error_rate": "underhood.training.metrics",
    "evaluate": "underhood.jobs",
    "export": "underhood.jobs",
    "get": "underhood.jobs",
    "l1": "underhood.training.losses",
    "ladder": "underhood.jobs",
    "lr_find": "underhood.training.find",
    "mnist_loss": "underhood.training.losses",
    "mse": "underhood.training.losses",
    "plot_function": "underhood.notebook",
    "plot_loss": "underhood.notebook",
    "predict": "underhood.jobs",
    "read": "underhood.data.read",
    "report": "underhood.jobs",
    "reproduce": "underhood.books.reproduce",
    "rerun": "underhood.jobs",
    "resume": "underhood.jobs",
    "show_batch": "underhood.notebook",
    "show_image": "underhood.notebook",
    "show_images": "underhood.notebook",
    "show_pixels": "underhood.notebook",
    "show_results": "underhood.notebook",
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
