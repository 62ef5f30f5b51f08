"""What training tells: a ``Step`` after each step, an ``Epoch`` after each epoch, and all of it in a ``Recorder``."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Step(NamedTuple):
    """What just happened: ``loss`` is still on the device, so that nobody waits for it who does not look."""

    number: int  # steps taken so far in the whole run, this one among them
    total: int
    epoch: int
    lr: float
    loss: "Tensor"  # [] mean over the batch
    items: int  # in the batch, on all processes together
    last: bool  # of its epoch


class Epoch(NamedTuple):
    """A row of the table. ``seconds`` is training alone, without validation."""

    epoch: int
    train_loss: float
    valid_loss: float
    metrics: dict[str, float]
    seconds: float


@dataclass
class Recorder:
    """What was seen: ``values`` as fastai has them, a row [train_loss, valid_loss, metric, …] each epoch."""

    metric_names: list[str] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # of each step
    lrs: list[float] = field(default_factory=list)  # of each step

    def plot_loss(self, skip_start: int = 5, with_valid: bool = True) -> Any:
        """Draw the losses over the steps: matplotlib axes."""
        from underhood.display.notebook import plot_loss

        return plot_loss(self, skip_start, with_valid)
