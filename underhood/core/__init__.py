"""Read this first: images in arrays, networks, batches, losses and the training loop, in eight short files.

Start with ``learner.py``, then ``loader``, ``losses``, ``schedule``, ``images``, ``augment``, ``models``. Shapes are in
brackets: [n, classes]; [] is a single number. ``core`` imports numpy and torch, and nothing of the rest of the package.
Its names load on first use, so that what needs only ``images`` or ``errors`` does not import torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "augment": ["Augmentation"],
    "errors": ["DataError", "DivergedError", "RunError", "UnderhoodError", "UnknownNameError"],
    "images": ["Dataset", "Images"],
    "learner": ["Epoch", "Learner", "Recorder", "Step"],
    "loader": ["DataLoader", "DataLoaders"],
    "losses": ["accuracy", "batch_accuracy", "cross_entropy", "error_rate", "l1", "mnist_loss", "mse"],
    "models": ["MODELS", "Architecture", "Normalize", "build_model"],
    "schedule": ["SCHEDULES", "ScheduleValue", "flat", "one_cycle"],
}
__all__ = [name for names in _MODULES.values() for name in names]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next(module for module, names in _MODULES.items() if name in names)
    return getattr(import_module(f"{__name__}.{module}"), name)
