"""The training loop, as a generator: ``steps`` yields after each optimizer step, and the caller decides what to do.

Chapter 4 of fastbook trains in seven steps: initialize, predict, loss, gradient, step, repeat, stop. ``Learner.steps``
has the same seven. ``Learner.fit`` is a loop over it for notebooks, ``training/run.py`` one that keeps a run folder.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from underhood.core.errors import DivergedError
from underhood.core.loader import DataLoader, DataLoaders
from underhood.core.losses import accuracy, cross_entropy
from underhood.core.schedule import Schedule, flat, one_cycle, set_lr

Loss = Callable[[Tensor, Tensor], Tensor]  # (predictions, targets) → mean over the batch []
OptFunc = Callable[..., torch.optim.Optimizer]  # (parameters, lr=…) → optimizer: a class of torch.optim, for instance
OnStep = Callable[["Learner", "Step"], None] | None

adamw = partial(torch.optim.AdamW, fused=True)  # fused: one pass over all parameters, in a tenth of the time


class Step(NamedTuple):
    """One optimizer step, as ``Learner.steps`` yields it."""

    number: int  # from 1 on
    total: int
    epoch: int  # from 0 on
    lr: float
    loss: Tensor  # [] mean over the batch, still on the device: reading its value waits for the device
    batch_size: int
    epoch_end: bool


class Epoch(NamedTuple):
    """One row of the table."""

    epoch: int
    train_loss: float
    valid_loss: float
    metrics: dict[str, float]
    seconds: float  # of training, without validation

    def lines(self, header: bool = False) -> str:
        """The row in fastai's layout, with the column names above it if ``header``."""
        names = ["epoch", "train_loss", "valid_loss", *self.metrics, "time"]
        figures = [f"{value:.6f}" for value in (self.train_loss, self.valid_loss, *self.metrics.values())]
        cells = [str(self.epoch), *figures, "{:02}:{:02}".format(*divmod(round(self.seconds), 60))]
        widths = [max(10, len(name)) for name in names]
        return "\n".join(" ".join(map(str.rjust, row, widths)) for row in ([names, cells] if header else [cells]))


@dataclass
class Recorder:
    """What was measured: for each step its loss (once the epoch is over) and lr, for each epoch a row of values."""

    metric_names: list[str]
    losses: list[float] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)  # [train_loss, valid_loss, metric, …]


class SingleProcess:
    """Communication between training processes; this version, for one, does nothing (``training/distributed.py``)."""

    rank, world_size = 0, 1

    def scale_loss(self, loss: Tensor, batch_size: int) -> Tensor:  # noqa: ARG002 (the other version uses it)
        """The loss [] of a share of the batch, such that the mean over processes is the loss of the batch."""
        return loss

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over processes; ``sum`` is their sum. Both return the same shape."""
        return tensor

    sum = mean


class Learner:
    """A model, its data, and how it is trained.

    dls: training and validation batches (inputs, targets); either may be a ``torch.utils.data.DataLoader``
    model: takes inputs as the loader gives them, uint8 pixels for instance, on the device where it is to be trained
    loss_func, metrics: functions (predictions, targets) → mean over the batch []

    Set ``forward`` to what training calls in place of ``model``, such as the model in DistributedDataParallel or under
    autocast, and ``valid_loss_func`` where ``loss_func`` is weighted or smoothed and the validation loss is not.
    """

    def __init__(
        self, dls: DataLoaders, model: nn.Module, loss_func: Loss = cross_entropy, opt_func: OptFunc = adamw,
        metrics: Loss | Sequence[Loss] = accuracy, processes: SingleProcess = SingleProcess(),  # noqa: B008 (no state)
    ):  # fmt: skip
        self.dls, self.model, self.loss_func, self.opt_func, self.processes = dls, model, loss_func, opt_func, processes
        self.forward: Callable[[Tensor], Tensor] | None = None  # None: the model
        self.valid_loss_func = loss_func
        self.metrics = [metrics] if callable(metrics) else list(metrics)
        self.recorder = Recorder([getattr(metric, "__name__", type(metric).__name__) for metric in self.metrics])
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.optimizer: torch.optim.Optimizer | None = None
        self.global_step = 0  # steps done in the current call of ``steps``
        self.epoch_losses = torch.empty(0)  # of its epoch, on the device [batches]
        self.batch_sizes: list[int] = []  # of that epoch
        self._resume_from: dict[int, dict[str, Any]] | None = None  # the optimizer state that was saved

    def steps(self, epochs: int, lr: float, schedule: Schedule = flat) -> Iterator[Step]:
        """Train, and yield after each step. ``state_dict`` can be called there, at an epoch's end after ``end_epoch``.

        lr: the highest learning rate; ``schedule(step, total)`` gives the fraction of it that a step uses
        Raises DivergedError at the end of the epoch in which the loss became NaN or infinite.
        """
        train, recorder = self.dls.train, self.recorder
        if not len(train):
            raise ValueError("there is nothing to train on: the training set is empty")
        # Step 1, initialize: the weights are random (models.py) or restored; an optimizer is made for them.
        optimizer = self._start_optimizer(lr)
        total, first = epochs * len(train), self.global_step // len(train)
        before = len(recorder.losses) // len(train) - first  # epochs of earlier calls: their orders continue
        forward = self.forward or self.model
        self.model.train()
        for epoch in range(first, epochs):  # Step 6, repeat: for every batch of every epoch.
            began = time.perf_counter()
            start = self.global_step % len(train)  # above 0 where an epoch is resumed
            block = torch.zeros(len(train), device=self.device)  # single tensors, kept, would fragment memory
            block[:start] = self.epoch_losses[:start]
            self.epoch_losses, self.batch_sizes = block, [train.items_in(number) for number in range(start)]
            for number, (x, y) in enumerate(_batches(train, before + epoch, range(start, len(train))), start):
                value = schedule(self.global_step, total)
                set_lr(optimizer, lr * value.lr_factor, value.momentum)
                x, y = x.to(self.device), y.to(self.device)
                size = train.items_in(number) if isinstance(train, DataLoader) else len(y)

                predictions = forward(x)  # Step 2, predict.  [n, classes]
                loss = self.loss_func(predictions, y)  # Step 3, loss.  []
                loss = self.processes.scale_loss(loss, size)
                loss.backward()  # Step 4, gradient.
                optimizer.step()  # Step 5, step.
                optimizer.zero_grad()

                batch_loss = self.epoch_losses[number] = self.processes.mean(loss.detach())
                self.batch_sizes.append(size)
                recorder.lrs.append(lr * value.lr_factor)
                self.global_step += 1
                if epoch_end := (number + 1 == len(train)):
                    recorder.losses += self._finite(self.epoch_losses)  # the only wait for the device
                    self.epoch_seconds = time.perf_counter() - began
                yield Step(self.global_step, total, epoch, recorder.lrs[-1], batch_loss, size, epoch_end)
            if self.global_step != (epoch + 1) * len(train):
                raise ValueError(f"the training loader ended early: its length says {len(train)} batches")
        self.model.eval()  # Step 7, stop: after the last epoch.

    def end_epoch(self) -> Epoch:
        """Validate, and add a row to the recorder. Call it after a step with ``epoch_end``."""
        if len(self.batch_sizes) != len(self.dls.train):
            raise ValueError("end_epoch must follow a step whose epoch_end is true")
        train_loss = float(np.average(self.recorder.losses[-len(self.dls.train) :], weights=self.batch_sizes))
        valid_loss, *values = self.validate()
        self.recorder.values.append([train_loss, valid_loss, *values])
        metrics = dict(zip(self.recorder.metric_names, values, strict=True))
        return Epoch(self.global_step // len(self.dls.train) - 1, train_loss, valid_loss, metrics, self.epoch_seconds)

    def epochs(self, epochs: int, lr: float, schedule: Schedule = flat, on_step: OnStep = None) -> Iterator[Epoch]:
        """Train as ``steps`` does, call ``on_step(learner, step)`` after each, and yield a row after each epoch."""
        for step in self.steps(epochs, lr, schedule):
            rows = [self.end_epoch()] if step.epoch_end else []
            if on_step:
                on_step(self, step)
            yield from rows

    def fit(self, epochs: int, lr: float, schedule: Schedule = flat, on_step: OnStep = None) -> None:
        """``epochs``, with the table printed: a row after each epoch."""
        for row in self.epochs(epochs, lr, schedule, on_step):
            print(row.lines(header=row.epoch == 0), flush=True)

    def fit_one_cycle(self, epochs: int, lr: float) -> None:
        """``fit`` with the one-cycle schedule."""
        self.fit(epochs, lr, one_cycle)

    def validate(self, dl: Any = None) -> list[float]:
        """[loss, metric, …], means over the items of the validation batches, or of those of ``dl``."""
        dl = self.dls.valid if dl is None else dl
        if not len(dl):
            raise ValueError("there is nothing to validate on: the loader is empty")
        sums = torch.zeros(len(dl), 1 + len(self.metrics), dtype=torch.float64, device=self.device)  # a row a batch
        count = torch.zeros((), dtype=torch.float64, device=self.device)
        mine = range(self.processes.rank, len(dl), self.processes.world_size)  # whole batches
        with closing(self._predictions(dl, mine)) as batches:
            for number, (predictions, y) in zip(mine, batches, strict=True):
                means = [function(predictions, y).double() for function in (self.valid_loss_func, *self.metrics)]
                sums[number] = torch.stack(means) * len(y)  # a short last batch counts for less
                count += len(y)
        return (self.processes.sum(sums).sum(dim=0) / self.processes.sum(count)).tolist()

    def get_preds(self, dl: Any = None) -> tuple[Tensor, Tensor]:
        """Outputs and targets, [n, …] each, of the validation batches, or of those of ``dl``."""
        dl = self.dls.valid if dl is None else dl
        predictions, targets = zip(*self._predictions(dl, range(len(dl))), strict=True)
        return torch.cat(predictions).cpu(), torch.cat(targets).cpu()

    def state_dict(self) -> dict[str, Any]:
        """What a resume after the last step needs, not copied. Raises DivergedError if a loss is NaN or infinite."""
        done = self.global_step % len(self.dls.train)
        if done and not isinstance(self.dls.train, DataLoader):  # whose order of batches cannot be repeated
            raise ValueError("with this loader, training can be resumed at the end of an epoch only")
        self._finite(self.epoch_losses[: done or None])
        optimizer = self.optimizer.state_dict()["state"] if self.optimizer else self._resume_from or {}
        recorded = {name: list(getattr(self.recorder, name)) for name in ("losses", "lrs", "values")}
        return {"model": self.model.state_dict(), "optimizer": optimizer, "recorder": recorded,
                "global_step": self.global_step, "losses": self.epoch_losses[:done].cpu()}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the learner from a ``state_dict``: ``steps`` with the same arguments goes on from there."""
        self.model.load_state_dict(state["model"])
        for name, values in state["recorder"].items():
            setattr(self.recorder, name, list(values))
        self.global_step, self.epoch_losses = state["global_step"], state["losses"]
        self.optimizer, self._resume_from = None, state["optimizer"]

    def _start_optimizer(self, lr: float) -> torch.optim.Optimizer:
        self.optimizer = self.opt_func(self.model.parameters(), lr=lr)
        self.optimizer.zero_grad()  # clear what earlier code has left
        saved, self._resume_from = self._resume_from, None
        if saved is None:
            self.global_step = 0
            del self.recorder.lrs[len(self.recorder.losses) :]  # of an epoch that was left unfinished
            return self.optimizer
        self.optimizer.load_state_dict({"state": saved, "param_groups": self.optimizer.state_dict()["param_groups"]})
        for parameter, kept in self.optimizer.state.items():
            for name, value in kept.items():  # in the parameter's memory layout, as before: others round otherwise
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    kept[name] = torch.empty_like(parameter).copy_(value)
        return self.optimizer

    def _finite(self, losses: Tensor) -> list[float]:
        """The losses of the last steps as numbers. Raises DivergedError if one is NaN or infinite."""
        values = losses.double().cpu().numpy()
        if not np.isfinite(values).all():
            back = int(np.argmin(np.isfinite(values))) - len(values)
            step, epoch = self.global_step + back + 1, (self.global_step + back) // len(self.dls.train)
            where = f"step {step} (epoch {epoch}, lr {self.recorder.lrs[back]:.3g})"
            raise DivergedError(f"the loss is {values[back]} at {where}: start again with a lower --lr", step)
        return values.tolist()

    @torch.inference_mode()
    def _predictions(self, dl: Any, numbers: range) -> Generator[tuple[Tensor, Tensor], None, None]:
        was_training = self.model.training
        self.model.eval()
        try:
            for x, y in _batches(dl, 0, numbers):
                yield self.model(x.to(self.device)), y.to(self.device)
        finally:
            self.model.train(was_training)


def _batches(dl: Any, epoch: int, numbers: range) -> Iterator[Any]:
    if isinstance(dl, DataLoader):
        return dl.batches(epoch, numbers)
    return islice(dl, numbers.start, numbers.stop, numbers.step)
