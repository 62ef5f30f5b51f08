"""A training as a page shows it: after each step the view decides whether there is time to look, and emits events.

    start    what is watched: classes, number of images, steps           once
    curve    the loss and the learning rate of the steps since the last  four times a second
    epochs   a row for each epoch
    images   the watched images by index, as data URLs
    frame    what the network looks like at this step (frames.py), and the confusion matrix so far

Looking takes at most ``SHARE`` of a training's time: the slower a look, the fewer there are.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from underhood.core.images import Images
from underhood.core.loader import validation_batch_size
from underhood.live.frames import (
    WATCHED,
    Subject,
    confusion,
    frame,
    probabilities,
    spread_over_classes,
    subject_of,
)

if TYPE_CHECKING:
    from underhood.core.learner import Learner

SHARE = 0.02  # of the training's time, for frames
TICK = 0.25  # seconds between two events of the curve, at least
MOST_EPOCHS = 500  # that are shown
CHUNK = 100  # images that a frame predicts for the confusion matrix, and
CLOSELY = 500  # while the training is paused
RECENT = 5  # frames whose predictions count before the first epoch has ended
Emit = Callable[[str, dict[str, Any]], None]


class TrainingView:
    """Emits what happens in a training. Use it as a context: it listens to the model's predictions at epoch ends.

    images: the validation images, to be shown; by default what the loader has; emit: called with a kind and a content
    layer_stats: rows of layer statistics, as the training appends them
    """

    def __init__(
        self, learn: "Learner", emit: Emit, images: Images | None = None, layer_stats: list[Tensor] | None = None
    ):
        self.learn, self._emit, self._stats = learn, emit, layer_stats if layer_stats is not None else []
        self.subject: Subject = subject_of(learn, images)
        self.predicted = np.full(len(self.subject), -1)  # −1 where it is not known
        self.chosen = 0
        self._fixed = spread_over_classes(self.subject.labels, WATCHED)
        self.watched = list(self._fixed)
        self._shown, self._next_tick, self._next_frame, self._cursor = -1, 0.0, 0.0, 0
        self._earlier = 0  # rows of the recorder that belong to an earlier call of ``fit``
        self._encoded: dict[int, str] = {}  # the watched images as data URLs
        self._at = 0  # the next image for the confusion matrix
        self._recent: list[list[int]] = []  # those of the last frames
        self._whole_at = -1  # the step whose predictions all of them are
        self._validated = False  # whether all have been predicted, at the end of an epoch
        self._outputs: list[np.ndarray] = []  # predictions of the validation pass under way
        self._looking = False

    def __enter__(self) -> "TrainingView":
        self._hook = self.learn.model.register_forward_hook(self._after_forward)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def start(self, total: int, **facts: Any) -> None:
        """Emit what is watched, and a first frame. total: steps of the training; facts: others that the page shows."""
        steps = len(self.learn.dls.train)
        facts |= {"classes": list(self.subject.classes), "images": len(self.subject)}
        labels = self.subject.labels.tolist() if len(self.subject) <= 20_000 else []
        self._emit("start", facts | {"total": total, "epoch_steps": steps, "labels": labels})
        self.emit_images()
        recorder, epochs = self.learn.recorder, self.learn.global_step // max(1, steps)  # done: of a resumed training
        self._shown, self._earlier = epochs * steps, len(recorder.values) - epochs  # those of an earlier ``fit``
        if epochs:
            losses = recorder.losses[len(recorder.losses) - self._shown :]
            lrs = recorder.lrs[len(recorder.losses) - self._shown : len(recorder.losses)]
            self._emit("curve", {"points": [[i, *pair] for i, pair in enumerate(zip(losses, lrs, strict=True), 1)]})
        self._emit_epochs()
        self.look(self.learn.global_step)

    def after_step(self, number: int, epoch_end: bool = False) -> bool:
        """Emit what is new, if it is time to; whether it was. number: of the step, from 1 on."""
        now = time.perf_counter()
        if now < self._next_tick and not epoch_end:
            return False
        self._next_tick = now + TICK
        self.emit_curve(number)
        if now >= self._next_frame:
            self.look(number)
        return True

    def look(self, number: int) -> None:
        """Emit a frame of this step, if there is none yet."""
        if number == self._cursor and number:
            return
        began = time.perf_counter()
        count = len(self.subject)
        room = max(0, validation_batch_size(self.subject.inputs.shape) - WATCHED - 1)  # of one batch
        more = [(self._at + i) % count for i in range(min(CHUNK, count, room))]
        fresh = self._whole_at == number  # all predictions are those of this step
        try:
            stats = self._stats[-1] if self._stats else None
            with self._not_listening():
                shown, found = frame(self.subject, self.watched, self.chosen, [] if fresh else more, stats)
        except torch.OutOfMemoryError:  # of a GPU that the training fills: there is no more to see
            self._next_frame = math.inf
            return
        if not fresh:
            self._note(more, found)
        self._emit("frame", {"step": number, "fresh": fresh, **shown, **self._counts()})
        self._cursor = number
        ended = time.perf_counter()
        self._next_frame = ended + (ended - began) / SHARE

    def look_closely(self, number: int) -> None:
        """Emit a frame of this step whose confusion matrix is that of this step, too: the training is paused."""
        if self._whole_at != number:
            rows = spread_over_classes(self.subject.labels, CLOSELY)
            self.predicted[:] = -1
            with self._not_listening():
                for at in range(0, len(rows), CHUNK):
                    part = rows[at : at + CHUNK]
                    self.predicted[part] = probabilities(self.subject.outputs(part)).argmax(axis=1)
            self._whole_at, self._cursor = number, -1
        self.look(number)

    @contextmanager
    def _not_listening(self) -> Iterator[None]:
        self._looking = True
        try:
            yield
        finally:
            self._looking = False

    def emit_curve(self, number: int) -> None:
        """Emit the losses of the steps that were not emitted yet."""
        if not number:
            return
        recorder, steps = self.learn.recorder, len(self.learn.dls.train)
        first = (number - 1) // steps * steps  # steps before this epoch
        losses = self.learn.epoch_losses[max(0, self._shown - first) : number - first].tolist()
        lrs = recorder.lrs[len(recorder.lrs) - len(losses) :]
        points = [[number - len(losses) + 1 + i, *pair] for i, pair in enumerate(zip(losses, lrs, strict=True))]
        self._shown = number
        if points:
            self._emit("curve", {"points": points})

    def end_epoch(self, number: int, last: bool = False) -> None:
        """Emit the rows of the epochs and, if there is time or it is the last one, a frame.

        Images that are wrong now are watched from then on, and others as before.
        """
        if sum(map(len, self._outputs)) == len(self.predicted):
            self.predicted, self._validated, self._whole_at = np.concatenate(self._outputs), True, number
        self._outputs = []
        rows = np.flatnonzero((self.predicted >= 0) & (self.predicted != self.subject.labels))
        wrong = [int(rows[i]) for i in spread_over_classes(self.subject.labels[rows], WATCHED // 2)]
        self.watched = list(dict.fromkeys([*wrong, *self._fixed]))[:WATCHED]
        self._emit_epochs()
        self._cursor = -1
        if last or time.perf_counter() >= self._next_frame:
            self.emit_images()
            self.look(number)

    def _note(self, rows: list[int], found: np.ndarray) -> None:
        """Predictions of some images. Before an epoch has ended, those of earlier, worse networks are dropped."""
        self.predicted[rows], self._at = found, (self._at + len(rows)) % max(1, len(self.subject))
        self._recent = [*self._recent[-RECENT:], rows]
        if not self._validated and len(self._recent) > RECENT:
            self.predicted[np.setdiff1d(self._recent[0], np.concatenate(self._recent[1:]))] = -1

    def choose(self, row: int) -> None:
        """Show the feature maps of this image from now on."""
        if 0 <= row < len(self.subject):
            self.chosen, self._cursor, self._next_frame = row, -1, 0.0
            self.emit_images()

    def emit_images(self) -> None:
        """Emit the images that are watched now."""
        began, rows = time.perf_counter(), dict.fromkeys([self.chosen, *self.watched])
        self._encoded = {row: self._encoded.get(row) or self.subject.image(row) for row in rows}
        self._emit("images", {"images": self._encoded, "all": True})
        self._next_frame += (time.perf_counter() - began) / SHARE

    def _emit_epochs(self) -> None:
        recorder = self.learn.recorder
        rows = recorder.values[self._earlier :]
        first = max(0, len(rows) - MOST_EPOCHS)
        columns = ["train_loss", "valid_loss", *recorder.metric_names]
        self._emit("epochs", {"columns": columns, "first": first, "rows": rows[first:]})

    def _counts(self) -> dict[str, Any]:
        known = self.predicted >= 0
        right = int((self.predicted[known] == self.subject.labels[known]).sum())
        counts: dict[str, Any] = {"known": int(known.sum()), "right": right}
        if len(self.subject.classes) <= 40:
            counts["confusion"] = confusion(self.subject.labels, self.predicted, len(self.subject.classes))
        return counts

    def _after_forward(self, model: nn.Module, _: Any, outputs: Tensor) -> None:
        """Keep the predictions of the validation pass at the end of an epoch."""
        if not (model.training or self._looking):
            if sum(map(len, self._outputs)) >= len(self.predicted):  # of a validation pass that was not an epoch's
                self._outputs = []
            found = outputs.argmax(dim=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
            self._outputs.append(found.cpu().numpy())
