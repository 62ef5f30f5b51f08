"""Read this first: images in arrays, networks, batches, losses and the training loop, in eight short files.

Start with ``learner.py``. ``core`` imports numpy, torch and nothing else of the package. Its names load on first use
(PEP 562), so that what needs only ``images`` or ``errors`` does not import torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "augment": ["Augmentation", "augment"],
    "errors": ["DataError", "DivergedError", "RunError", "UnderhoodError", "UnknownNameError"],
    "images": ["Dataset", "Images"],
    "learner": ["Epoch", "Learner", "Recorder", "Step"],
    "loader": ["DataLoader", "DataLoaders"],
    "losses": ["accuracy", "batch_accuracy", "cross_entropy", "error_rate", "l1", "mnist_loss", "mse"],
    "models": ["MODELS", "Architecture", "build_model"],
    "schedule": ["SCHEDULES", "ScheduleValue", "flat", "one_cycle"],
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
