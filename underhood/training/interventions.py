"""A training that is changed by hand: another learning rate from some step on, an early end, images left out.

What is changed is recorded before it takes effect (``interventions.csv``): a run that is killed then, or trained again,
does the same at the same steps.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from underhood.core.errors import UnderhoodError
from underhood.core.learner import Epoch
from underhood.core.loader import DataLoader
from underhood.runs.interventions import Intervention, write_interventions

if TYPE_CHECKING:
    from underhood.core.learner import Learner
    from underhood.core.schedule import Schedule, ScheduleValue
    from underhood.training import RunLog
    from underhood.training.learners import Setup


class Steering:
    """The learning rate and the end of a training, which may be changed while it runs.

    folder: where changes are recorded; None records nothing. lr: the highest learning rate that it started with;
    recorded: changes that will be made at their steps
    """

    def __init__(self, folder: Path | None, lr: float, schedule: "Schedule", recorded: Iterable[Intervention] = ()):
        self.interventions = sorted(recorded, key=lambda one: one.step)
        self.folder, self._lr, self._schedule = folder, lr, schedule

    def lr_at(self, number: int) -> float:
        """The highest learning rate at a step, counted from 1."""
        changed = [float(one.after) for one in self.interventions if one.what == "lr" and one.step <= number]
        return changed[-1] if changed else self._lr

    def schedule(self, step: int, total: int) -> "ScheduleValue":
        """``schedule(step, total)`` with the learning rate as it was changed. step: counted from 0."""
        value, lr = self._schedule(step, total), self.lr_at(step + 1)
        return value if lr == self._lr else value._replace(lr_factor=value.lr_factor * (lr / self._lr))

    def set_lr(self, lr: float, done: int) -> None:
        """Train with another highest learning rate from now on. done: steps so far. Raises RunError."""
        self._record(Intervention(done + 1, "lr", repr(self.lr_at(done)), repr(float(lr))))

    def stop(self, done: int, total: int) -> None:
        """End the training here, and keep the model. Raises RunError."""
        self._record(Intervention(done, "stop", str(total), str(done)))

    def ends_at(self, number: int) -> bool:
        """Whether the training was stopped by hand after this step, counted from 1."""
        return any(one.what == "stop" and one.step == number for one in self.interventions)

    def report(self, log: "RunLog") -> None:
        """Write what was changed to the run's log. Raises RunError."""
        for made in self.interventions:
            log.write(made.describe())

    def _record(self, made: Intervention) -> None:
        """Add a change. It replaces one at the same step, and those that were recorded for later steps."""
        kept = [one for one in self.interventions if one.step < made.step or one.what not in ("lr", "stop")]
        kept += [one for one in self.interventions if one.step == made.step and one.what == "lr" != made.what]
        earlier = next((one.before for one in self.interventions if one[:2] == made[:2]), made.before)
        self.interventions = [*kept, made._replace(before=earlier)]
        if self.folder is not None:
            write_interventions(self.folder, self.interventions)


def end_epoch(learn: "Learner", seconds: float, waited: float) -> "Epoch":
    """``learn.end_epoch()``. Where the training was stopped by hand, the epoch under way ends after its last step.

    seconds: since it has begun; waited: how many of them the training was paused, which do not count
    """
    done = learn.global_step % len(learn.dls.train)
    if not done:
        epoch = learn.end_epoch()
        return epoch._replace(seconds=max(0.0, epoch.seconds - waited))
    learn.state_dict()  # raises DivergedError where a loss is NaN or infinite
    losses = learn.epoch_losses[:done].tolist()
    learn.recorder.losses += losses
    train_loss, (valid_loss, *values) = float(np.average(losses, weights=learn.batch_sizes)), learn.validate()
    learn.recorder.values.append([train_loss, valid_loss, *values])
    metrics = dict(zip(learn.recorder.metric_names, values, strict=True))
    return Epoch(learn.global_step // len(learn.dls.train), train_loss, valid_loss, metrics, seconds - waited)


def intervene(setup: "Setup", interventions: Sequence[Intervention]) -> None:
    """Let a training make these changes: images are left out or have another class; the rest happens at its steps.

    Order, augmentation, pixel statistics and the weights of images stay those of the whole set: an image that is left
    out is skipped where it would have come. Raises UnderhoodError for an image or a class that there is not.
    """
    setup.interventions = list(interventions)
    changed = [one for one in interventions if one.what in ("without", "relabel")]
    if not changed:
        return
    if setup.processes.world_size > 1:
        raise UnderhoodError("a training with other images than its data set's runs in one process: leave torchrun out")
    if setup.recipe.tune == "all":
        raise UnderhoodError(
            "--without and --relabel do not suit --tune all, whose last layer is trained before: use --tune head"
        )
    train = setup.loaded.dataset.train
    rows = {name: i for i, name in enumerate(train.names)}
    for one in changed:
        if one.before not in rows:
            raise UnderhoodError(f"{one.before} is no training image of {setup.loaded.dataset.name}: see pictures.csv")
        if one.what == "relabel" and one.after not in train.classes:
            raise UnderhoodError(f"{one.after!r} is none of the classes: {', '.join(train.classes)}")
    labels = train.labels.copy()
    for one in changed:
        if one.what == "relabel":
            labels[rows[one.before]] = train.classes.index(one.after)
    skipped = np.zeros(len(train), bool)
    skipped[[rows[one.before] for one in changed if one.what == "without"]] = True
    if skipped.all():
        raise UnderhoodError(f"all {len(train):,} training images are left out: keep some")
    _change_batches(setup.learn, labels, skipped)


def _change_batches(learn: "Learner", labels: np.ndarray, skipped: np.ndarray) -> None:
    """Train a learner on the same batches with other labels, int64 [n], and without some images, bool [n]."""
    loss_func, forward = learn.loss_func, learn.forward or learn.model
    learn.dls.train = ChangedLoader(learn.dls.train, labels, skipped)

    def no_predictions(x: Any) -> Any:  # of a batch all of whose images are left out: its step changes nothing
        return x.new_zeros(0, len(learn.dls.classes), dtype=torch.float32).requires_grad_()

    if skipped.any():
        learn.forward = lambda x: forward(x) if len(x) else no_predictions(x)
        learn.loss_func = lambda predictions, y: loss_func(predictions, y) if len(y) else predictions.sum()


class ChangedLoader(DataLoader):
    """The batches of another loader with other labels, int64 [n], and without some of its items, bool [n].

    The batches that are left, their order and augmentation are the same. Where images of a batch are mixed, the next
    image of the batch takes the place of one that is left out.
    """

    def __init__(self, loader: DataLoader, labels: np.ndarray, skipped: np.ndarray):
        self.__dict__.update(loader.__dict__)
        assert self._tensors is not None
        self._tensors = [self._tensors[0], torch.from_numpy(labels).to(self.device)]
        self.skipped = skipped

    def order(self, epoch: int) -> np.ndarray:
        """The order of the items in this epoch, int64 [count], the next one of its batch in place of one left out."""
        before = super().order(epoch)
        order = before.copy()
        for at in np.flatnonzero(self.skipped[order]).tolist():
            start = at - at % self.batch_size
            following = np.roll(before[start : start + self.batch_size], start - at)
            kept = following[~self.skipped[following]]
            order[at] = kept[0] if len(kept) else order[at]
        return order

    def batches(self, epoch: int = 0, numbers: Iterable[int] | None = None) -> Iterator[Any]:
        """The batches of one epoch, or only those with these numbers, without the items that are left out."""
        numbers = list(range(len(self)) if numbers is None else numbers)
        kept = ~self.skipped[super().order(epoch)]
        for number, batch in zip(numbers, super().batches(epoch, numbers), strict=True):
            start = number * self.batch_size
            rows = torch.from_numpy(kept[start : start + self.batch_size])
            yield batch if rows.all() else tuple(tensor[rows.to(tensor.device)] for tensor in batch)
