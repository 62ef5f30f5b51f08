"""``--track tensorboard``: what a run tells, for TensorBoard to draw, by a consumer of the loop.

    underhood train DATA --track tensorboard
    tensorboard --logdir runs

No training code knows of it. Losses stay on the device until ``BLOCK`` of them, or an epoch's last, are written
together. Everything is drawn over the run's steps: what an epoch came to, at its last.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from underhood.core.errors import RunError, UnderhoodError

if TYPE_CHECKING:
    from underhood.core.learner import Learner
    from underhood.core.recorder import Step

BLOCK = 100  # steps


class Writer(Protocol):
    """Where it goes: ``runs/events.py``."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, walltime: float | None = None) -> None:
        """Note a number of a step. walltime: seconds since 1970, now by default"""

    def flush(self) -> None:
        """All that was noted is in the file when this returns."""

    def close(self) -> None:
        """Nothing more comes."""


def require(tracker: str | None) -> None:
    """Raises UnderhoodError where a tracker's library is not installed. Imports nothing."""
    spec = None if tracker is None else find_spec(tracker)
    if tracker is not None and (spec is None or spec.origin is None):  # a folder of that name is no library
        raise UnderhoodError(f"--track {tracker} needs {tracker}: pip install 'underhood[{tracker}]'")


def track(
    learn: "Learner", steps: "Iterator[Step]", open_writer: Callable[[int], Writer]
) -> "Generator[Step, None, None]":
    """The same steps, for ``watch`` of ``Learner.epochs``; what they and the epochs tell goes to a writer.

    open_writer: first step → a writer that forgets what was written of this step and of later ones

    A run that goes on writes its unfinished epoch again, from its state, so that each step is there once, wherever it
    was ended. For that, states are saved by a consumer within this one: what an epoch told is written before a state
    says that the epoch is done. Raises RunError where nothing can be written.
    """
    import torch

    before = learn.state_dict()["losses"]  # float32 [steps of the epoch under way]
    rates = learn.recorder.lrs[len(learn.recorder.lrs) - len(before) :]
    done, now = learn.taken - len(before), time.time()
    waiting = [(done + number, rate, now) for number, rate in enumerate(rates, start=1)]  # to be written
    block = torch.empty(len(before) + BLOCK, device=learn.device)  # their losses
    block[: len(before)] = before
    with _writing():
        writer = open_writer(done + 1)

    def write() -> None:
        for loss, (number, rate, when) in zip(block[: len(waiting)].tolist(), waiting, strict=True):
            writer.add_scalar("step/train_loss", loss, number, when)
            writer.add_scalar("step/lr", rate, number, when)
        waiting.clear()
        writer.flush()

    try:
        for step in steps:
            block[len(waiting)] = step.loss
            waiting.append((step.number, step.lr, time.time()))
            yield step  # whoever takes the steps has measured the epoch when the next line is reached
            with _writing():
                if step.last:
                    names = "train_loss", "valid_loss", *learn.recorder.metric_names
                    for name, value in zip(names, learn.recorder.values[-1], strict=True):
                        writer.add_scalar(f"epoch/{name}", value, step.number)
                if step.last or len(waiting) >= BLOCK:
                    write()
    except BaseException:  # what ended the training is what is told, not that its last figures found no room
        with suppress(OSError), closing(writer):
            write()
        raise
    with _writing(), closing(writer):
        write()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = error.filename or "what --track writes"
        raise RunError(f"cannot write {what} ({error.strerror}): mend that, then go on with --resume") from None
