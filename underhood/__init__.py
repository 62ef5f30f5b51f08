"""underhood: train an image classifier with the hood open.

The public names are loaded on first use (PEP 562), so that ``import underhood`` and ``underhood --help`` stay quick:
torch is imported only when something needs it.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Architecture": "underhood.models",
    "DataError": "underhood.errors",
    "DataLoader": "underhood.training.loader",
    "DataLoaders": "underhood.training.loader",
    "Dataset": "underhood.data.images",
    "Images": "underhood.data.images",
    "Interpretation": "underhood.runs.interpret",
    "Learner": "underhood.training.learner",
    "PixelSimilarity": "underhood.scratch.similarity",
    "Predictor": "underhood.serving.predictor",
    "Preparation": "underhood.data.prepare",
    "RunError": "underhood.errors",
    "UnderhoodError": "underhood.errors",
    "accuracy": "underhood.training.metrics",
    "batch_accuracy": "underhood.training.metrics",
    "build_model": "underhood.models",
    "check": "underhood.jobs",
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
    "predict": "underhood.jobs",
    "read": "underhood.data.read",
    "plot_function": "underhood.notebook",
    "reproduce": "underhood.books.reproduce",
    "show_image": "underhood.notebook",
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
