"""A training as a page shows it: after each step the view decides whether there is time to look, and emits events.

    start    what is watched: classes, number of images, steps           once
    curve    the loss and the learning rate of the steps since the last  four times a second
    epochs   a row for each epoch
    images   the watched images by index, as data URLs
    frame    what the network looks like at this step (frames.py), and the confusion matrix so far

Looking takes at most ``SHARE`` of a training's time: the slower a look, the fewer there are.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from underhood.core.images import Images
from underhood.live.frames import WATCHED, Subject, confusion, frame, spread_over_classes, subject_of

if TYPE_CHECKING:
    from underhood.core.learner import Learner

SHARE = 0.02  # of the training's time, for frames
TICK = 0.25  # seconds between two events of the curve, at least
MOST_EPOCHS = 500  # that are shown
CHUNK = 100  # images that a frame predicts for the confusion matrix, and
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
        self._at = 0  # the next image for the confusion matrix
        self._recent: list[list[int]] = []  # those of the last frames
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
        recorder = self.learn.recorder
        self._shown = len(recorder.losses)  # of a resumed training
        if recorder.losses:
            before = enumerate(zip(recorder.losses, recorder.lrs, strict=False), 1)
            self._emit("curve", {"points": [[number, *pair] for number, pair in before]})
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
        began, self._looking = time.perf_counter(), True
        count = len(self.subject)
        more = [(self._at + i) % count for i in range(min(CHUNK, count))] if count else []
        try:
            stats = self._stats[-1] if self._stats else None
            shown, found = frame(self.subject, self.watched, self.chosen, more, stats)
        finally:
            self._looking = False
        self.predicted[more], self._at = found, (self._at + len(more)) % max(1, count)
        self._recent = [*self._recent[-RECENT:], more]
        if not self._validated and len(self._recent) > RECENT:  # of an earlier, worse network
            self.predicted[np.setdiff1d(self._recent[0], np.concatenate(self._recent[1:]))] = -1
        self._emit("frame", {"step": number, **shown, **self._counts()})
        self._cursor = number
        ended = time.perf_counter()
        self._next_frame = ended + (ended - began) / SHARE

    def emit_curve(self, number: int) -> None:
        """Emit the losses of the steps that were not emitted yet."""
        recorder, steps = self.learn.recorder, len(self.learn.dls.train)
        first = (number - 1) // steps * steps  # steps before this epoch
        losses = self.learn.epoch_losses[max(0, self._shown - first) : number - first].tolist()
        lrs = recorder.lrs[len(recorder.lrs) - len(losses) :]
        points = [[number - len(losses) + 1 + i, *pair] for i, pair in enumerate(zip(losses, lrs, strict=True))]
        self._shown = number
        if points:
            self._emit("curve", {"points": points})

    def end_epoch(self, number: int) -> None:
        """Emit the rows of the epochs, and a frame; watch the images that are wrong now, and others as before."""
        if sum(map(len, self._outputs)) == len(self.predicted):
            self.predicted, self._validated = np.concatenate(self._outputs), True
        self._outputs = []
        rows = np.flatnonzero((self.predicted >= 0) & (self.predicted != self.subject.labels))
        wrong = [int(rows[i]) for i in spread_over_classes(self.subject.labels[rows], WATCHED // 2)]
        self.watched = list(dict.fromkeys([*wrong, *self._fixed]))[:WATCHED]
        self._emit_epochs()
        self.emit_images()
        self._cursor = -1
        self.look(number)

    def choose(self, row: int) -> None:
        """Show the feature maps of this image from now on."""
        if 0 <= row < len(self.subject):
            self.chosen, self._cursor, self._next_frame = row, -1, 0.0
            self.emit_images()

    def emit_images(self) -> None:
        """Emit the images that are watched now."""
        rows = dict.fromkeys([self.chosen, *self.watched])
        self._emit("images", {"images": {row: self.subject.image(row) for row in rows}})

    def _emit_epochs(self) -> None:
        recorder = self.learn.recorder
        first = max(0, len(recorder.values) - MOST_EPOCHS)
        columns = ["train_loss", "valid_loss", *recorder.metric_names]
        self._emit("epochs", {"columns": columns, "first": first, "rows": recorder.values[first:]})

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
            found = outputs.argmax(dim=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
            self._outputs.append(found.cpu().numpy())
