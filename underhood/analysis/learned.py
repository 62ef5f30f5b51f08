"""What a network said of the validation images at the snapshots of its training: when it learned each of them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from underhood.core.images import Images
from underhood.core.loader import DataLoader, validation_batch_size
from underhood.pretrained.features import image_features
from underhood.runs.checkpoint import Run
from underhood.runs.snapshots import Snapshots

NEVER = -1


@dataclass(frozen=True)
class Trained:
    """What a training trained, the network or its last layer, with what that takes of each image."""

    model: nn.Module
    inputs: Tensor  # uint8 pixels [n, c, h, w], or features [n, features]

    def restore(self, snapshots: Snapshots, number: int) -> None:
        """Give it the weights of one snapshot."""
        self.model.load_state_dict(snapshots.state(number))

    @torch.inference_mode()
    def predict(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The predicted class of these images, or of all: int64 [rows]."""
        inputs = self.inputs if rows is None else self.inputs[torch.from_numpy(rows)]
        size = validation_batch_size(inputs.shape) if inputs.ndim == 4 else 4096
        found = [self.model(x).argmax(dim=1) for x in DataLoader(inputs, size).batches()]
        return torch.cat(found).numpy() if found else np.empty(0, np.int64)


def trained_part(run: Run, snapshots: Snapshots, images: Images) -> Trained:
    """What the snapshots are of, on these images. It shares the run's model, in evaluation mode."""
    name, layer = list(run.model.named_children())[-1]
    if not all(one.startswith(f"{name}.") for one in snapshots.tensors):
        return Trained(run.model, torch.from_numpy(images.pixels))
    assert isinstance(run.model, nn.Sequential)
    weights = run.pretrained["sha256"] if run.pretrained else None
    last = nn.Sequential()
    last.add_module(name, layer)
    return Trained(last.eval(), image_features(run.model, images, weights))


@dataclass(frozen=True)
class Learned:
    """When each image was learned.

    steps: of the snapshots; predicted: int64 [snapshots, n]; labels: int64 [n]
    """

    steps: tuple[int, ...]
    predicted: np.ndarray
    labels: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each image was right at each snapshot: bool [snapshots, n]."""
        return self.predicted == self.labels

    def learned_at(self) -> np.ndarray:
        """The step from which each image stays right, ``NEVER`` where it is wrong at the end: int64 [n]."""
        right = self.right
        stays = np.logical_and.accumulate(right[::-1], axis=0)[::-1].argmax(axis=0)  # the first of the last run of them
        return np.where(right[-1], np.array(self.steps)[stays], NEVER)

    def forgotten(self) -> np.ndarray:
        """How often each image was right at one snapshot and wrong at the next: int64 [n]."""
        return (self.right[:-1] & ~self.right[1:]).sum(axis=0)


def learned_last(run: Run, snapshots: Snapshots, images: Images, count: int) -> list[tuple[int, int]]:
    """(index, step from which it stays right) of the images that were learned last, the last first; at most ``count``.

    It goes backwards from the end, until it has found enough: of a good model, the last snapshots are all it needs.
    """
    part = trained_part(run, snapshots, images)
    left, found = np.arange(len(images)), []  # type: np.ndarray, list[tuple[int, int]]
    try:
        for number in reversed(range(len(snapshots))):
            part.restore(snapshots, number)
            right = part.predict(left) == images.labels[left]
            if number < len(snapshots) - 1:
                found += [(int(row), snapshots.steps[number + 1]) for row in left[~right]]
            left = left[right]
            if len(found) >= count or not len(left):
                break
        else:
            found += [(int(row), snapshots.steps[0]) for row in left]
    finally:
        part.restore(snapshots, len(snapshots) - 1)
    return found[:count]
