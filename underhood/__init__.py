"""underhood: train an image classifier with the hood open.

The public names are loaded on first use, so that ``import underhood`` and ``underhood --help`` are fast: torch
is imported only when something needs it.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if "OMP_WAIT_POLICY" not in os.environ:
    # how often a waiting thread looks before it sleeps, instead of 300,000; torch reads it when it is imported
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")

if TYPE_CHECKING:  # for type checkers and editors; ``_HOME`` says the same to Python
    from underhood.analysis.inference import predict_proba as predict_proba
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
    from underhood.core.images import (
        Dataset as Dataset,
        Images as Images,
    )
    from underhood.core.learner import Learner as Learner
    from underhood.core.loader import (
        DataLoader as DataLoader,
        DataLoaders as DataLoaders,
    )
    from underhood.core.losses import (
        accuracy as accuracy,
        batch_accuracy as batch_accuracy,
        cross_entropy as cross_entropy,
        error_rate as error_rate,
        l1 as l1,
        mnist_loss as mnist_loss,
        mse as mse,
    )
    from underhood.core.models import (
        Architecture as Architecture,
        build_model as build_model,
    )
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
    from underhood.jobs.break_ import (
        break_ as break_,
        reveal as reveal,
    )
    from underhood.jobs.check import check as check
    from underhood.jobs.compare import compare as compare
    from underhood.jobs.doctor import doctor as doctor
    from underhood.jobs.evaluate import evaluate as evaluate
    from underhood.jobs.explore import explore as explore
    from underhood.jobs.export import export as export
    from underhood.jobs.get import (
        clear_cache as clear_cache,
        get as get,
    )
    from underhood.jobs.ladder import ladder as ladder
    from underhood.jobs.predict import predict as predict
    from underhood.jobs.replay import replay as replay
    from underhood.jobs.report import report as report
    from underhood.jobs.reproduce import reproduce as reproduce
    from underhood.jobs.rerun import rerun as rerun
    from underhood.jobs.train import (
        resume as resume,
        train as train,
    )
    from underhood.jobs.whatif import whatif as whatif
    from underhood.live.panel import LivePanel as LivePanel
    from underhood.preparation import Preparation as Preparation
    from underhood.scratch.similarity import PixelSimilarity as PixelSimilarity
    from underhood.serving import Predictor as Predictor
    from underhood.training import Reporter as Reporter
    from underhood.training.lr_finder import lr_find as lr_find

_HOME = {  # public name → module
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
    "LivePanel": "underhood.live.panel",
    "PixelSimilarity": "underhood.scratch.similarity",
    "PixelSimilarityClassifier": "underhood.estimators",
    "Predictor": "underhood.serving",
    "Preparation": "underhood.preparation",
    "Reporter": "underhood.training",
    "RunError": "underhood.core.errors",
    "UnderhoodError": "underhood.core.errors",
    "UnknownNameError": "underhood.core.errors",
    "UnreadableError": "underhood.core.errors",
    "accuracy": "underhood.core.losses",
    "batch_accuracy": "underhood.core.losses",
    "break_": "underhood.jobs.break_",
    "build_model": "underhood.core.models",
    "check": "underhood.jobs.check",
    "clear_cache": "underhood.jobs.get",
    "compare": "underhood.jobs.compare",
    "cross_entropy": "underhood.core.losses",
    "doctor": "underhood.jobs.doctor",
    "error_rate": "underhood.core.losses",
    "evaluate": "underhood.jobs.evaluate",
    "explore": "underhood.jobs.explore",
    "export": "underhood.jobs.export",
    "get": "underhood.jobs.get",
    "l1": "underhood.core.losses",
    "ladder": "underhood.jobs.ladder",
    "lr_find": "underhood.training.lr_finder",
    "mnist_loss": "underhood.core.losses",
    "mse": "underhood.core.losses",
    "plot_function": "underhood.display.notebook",
    "plot_loss": "underhood.display.notebook",
    "predict": "underhood.jobs.predict",
    "predict_proba": "underhood.analysis.inference",
    "read": "underhood.data.read",
    "replay": "underhood.jobs.replay",
    "report": "underhood.jobs.report",
    "reproduce": "underhood.jobs.reproduce",
    "rerun": "underhood.jobs.rerun",
    "resume": "underhood.jobs.train",
    "reveal": "underhood.jobs.break_",
    "show_batch": "underhood.display.notebook",
    "show_image": "underhood.display.notebook",
    "show_images": "underhood.display.notebook",
    "show_pixels": "underhood.display.notebook",
    "show_results": "underhood.display.notebook",
    "train": "underhood.jobs.train",
    "whatif": "underhood.jobs.whatif",
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
