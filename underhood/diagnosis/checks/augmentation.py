"""Does augmentation destroy the label?"""

import numpy as np

from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.diagnosis.images import some

SUSPICION = "augmentation changes images so much that their label is no longer right"
SECONDS, AFTER = 2.0, ("labels", "preparation")
MUCH, MORE = 0.15, 0.08  # of the training images: right as they are, wrong when augmented
COUNT = 600


def examine(case: Case) -> Finding | None:
    """Classify training images with the trained model, as they are and augmented as in the training."""
    chosen = case.options.get("augmentation")
    if case.run is None or case.loaded is None or not isinstance(chosen, dict) or not any(chosen.values()):
        return None
    from torch import from_numpy

    from underhood.analysis.inference import predict_proba
    from underhood.core.augment import Augmentation, augment

    images = some(case.loaded.dataset.train, COUNT)
    moved = augment(from_numpy(images.pixels), Augmentation(**chosen), (0, 0, 0)).round().clamp(0, 255).byte()
    plain, changed = (
        float((predict_proba(case.run.model, pixels).argmax(1).numpy() == images.labels).mean())
        for pixels in (images.pixels, np.asarray(moved))
    )
    numbers = (
        f"of {len(images):,} training images the model classifies {plain:.1%} correctly as they are, and {changed:.1%} "
        "when they are augmented as in the training"
    )
    fix = f"underhood train {case.data()} --augment light --no-flip"
    if plain - changed > MUCH:
        return found(numbers, fix)
    return suspicious(numbers, fix) if plain - changed > MORE else fine(numbers)
