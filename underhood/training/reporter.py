"""How a job tells what it does, without knowing who listens."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from underhood.core.learner import Epoch, Step


class Listener:
    """Hears what a job does. This one keeps quiet; override what you want to show."""

    def say(self, line: str) -> None:
        """Something that was chosen or done."""

    def warn(self, line: str) -> None:
        """Something to look at."""

    def progress(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` pictures are, for instance, read."""

    def download(self, file: str) -> Any:  # noqa: ARG002
        """A progress bar such as pooch takes, or False for none."""
        return False

    def watch(self, steps: "Iterator[Step]") -> "Iterator[Step]":
        """Wraps the training steps."""
        return steps

    def row(self, epoch: "Epoch") -> None:
        """An epoch is done."""

    def reading(self) -> Callable[[int, int], None]:
        """``progress`` for reading pictures."""
        return partial(self.progress, "reading pictures")
