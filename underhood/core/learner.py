"""The one loop, as a generator.

``steps`` yields after each optimizer step; ``epochs`` drains it and yields a row each epoch; ``fit`` drains that and
shows the table. A progress bar, a checkpoint or a live picture is a consumer: a plain function or ``for`` loop around
one of them. Chapter 4 builds the same loop up from ``calc_grad``, ``train_epoch`` and ``train_model``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from underhood.core.errors import DivergedError, UnknownNameError
from underhood.core.loader import DataLoader, DataLoaders, validation_batch
from underhood.core.losses import cross_entropy
from underhood.core.metrics import accuracy
from underhood.core.optim import OPTIMIZERS, load_optimizer, set_rate
from underhood.core.recorder import Epoch, Recorder, Step
from underhood.core.schedule import Schedule, flat, one_cycle
from underhood.training.distributed import ALONE, Ranks
from underhood.training.names import PRECISIONS

Loss = Callable[[Tensor, Tensor], Tensor]
Optimizer = Callable[..., torch.optim.Optimizer]  # (parameters, lr=…)


class Learner:
    """A model, its data and how it learns.

    dls: training and validation batches, each (inputs, targets)
    opt_func: any torch optimizer's class, or a function (parameters, lr=…) that gives one
    loss_func, metrics: functions (predictions, targets) → mean over the batch
    valid_loss_func: what ``valid_loss`` shows, where it is not loss_func: class weights and smoothing are for training
    precision: ``float32``, or ``bfloat16`` for the products inside the model (weights and losses stay float32)
    ranks: which process this is, where several train together (``ranks.py``)
    """

    def __init__(
        self,
        dls: DataLoaders,
        model: nn.Module,
        loss_func: Loss = cross_entropy,
        opt_func: Optimizer = OPTIMIZERS["adamw"],
        metrics: Loss | Sequence[Loss] = accuracy,
        device: str | torch.device = "cpu",
        precision: str = "float32",
        valid_loss_func: Loss | None = None,
        ranks: Ranks = ALONE,
    ):
        if precision not in PRECISIONS:
            raise UnknownNameError("precision", precision, PRECISIONS)
        self.precision, self.ranks = precision, ranks
        self.dls, self.loss_func, self.opt_func = dls, loss_func, opt_func
        self.valid_loss_func = valid_loss_func or loss_func
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.metrics = [metrics] if callable(metrics) else list(metrics)
        self.recorder = Recorder([_name(metric) for metric in self.metrics])
        self.optimizer: torch.optim.Optimizer | None = None  # of the fit under way
        self.taken = 0  # steps of it
        self._losses = torch.empty(0)  # of its epoch
        self._saved: dict[str, Any] | None = None  # a state to go on from

    def steps(self, epochs: int, lr: float, schedule: Schedule = flat) -> Iterator[Step]:
        """Train, yielding after each step, in a state that ``state_dict`` can save.

        lr: the highest rate; ``schedule(step, total)`` says how much of it each step takes, and with what momentum
        """
        if not len(self.dls.train):
            raise ValueError("there is nothing to train on: the training part is empty")
        saved, self._saved = self._saved, None
        self.optimizer = self.opt_func(self.model.parameters(), lr=lr)
        self.taken = 0
        if saved:
            load_optimizer(self.optimizer, saved["optimizer"])
            self.taken = saved["taken"]
        return self._steps(epochs, lr, schedule, self.optimizer)

    def _steps(self, epochs: int, lr: float, schedule: Schedule, optimizer: torch.optim.Optimizer) -> Iterator[Step]:
        train, taken = self.dls.train, self.taken
        total = epochs * len(train)
        model = self.ranks.wrap(self.model)
        first = len(self.recorder.values) - taken // len(train)  # a second fit goes on with the next epochs' orders
        self.model.train()
        for epoch in range(taken // len(train), epochs):
            for batch in train.batches(first + epoch, range(self.taken % len(train), len(train))):
                x, y = self._move(batch)
                pace = schedule(self.taken, total)
                set_rate(optimizer, lr * pace.rate, pace.momentum)
                items = train.items(self.taken % len(train))
                loss = self.ranks.weigh(self.loss_func(self.outputs(x, model), y), items)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                self.taken += 1
                last = self.taken == (epoch + 1) * len(train)
                loss = self.ranks.mean(loss.detach())
                yield Step(self.taken, total, epoch, lr * pace.rate, loss, items, last)
        self.model.eval()

    def epochs(
        self,
        epochs: int,
        lr: float,
        schedule: Schedule = flat,
        watch: Callable[[Iterator[Step]], Iterator[Step]] = iter,
    ) -> Iterator[Epoch]:
        """Train, yielding a row after each epoch. ``watch`` may wrap the steps, as a progress bar does."""
        before = self._saved["losses"] if self._saved else torch.empty(0)  # of the epoch that was left under way
        steps = self.steps(epochs, lr, schedule)
        # one block for the losses of an epoch: single ones, kept, would break memory up
        kept = self._losses = torch.empty(len(self.dls.train), device=self.device)
        kept[: len(before)] = before
        items = [self.dls.train.batch_size] * len(before)  # only the last of an epoch is short
        start = time.perf_counter()
        for step in watch(steps):
            kept[len(items)] = step.loss
            items.append(step.items)
            self.recorder.lrs.append(step.lr)
            if step.last:
                losses = kept.double().cpu().numpy()  # the one wait for the device
                seconds = time.perf_counter() - start
                self._require_finite(losses)
                valid_loss, *values = self.validate()
                row = [float(np.average(losses, weights=items)), valid_loss, *values]
                self.recorder.losses += losses.tolist()
                self.recorder.values.append(row)
                metrics = dict(zip(self.recorder.metric_names, values, strict=True))
                yield Epoch(step.epoch, row[0], valid_loss, metrics, seconds)
                items = []
                start = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """All that going on needs, while ``epochs`` is under way: after any step, before the next.

        model, optimizer: their own; taken: steps; losses: of the epoch under way, float32 [its steps so far];
        recorder: losses, lrs and values. Raises DivergedError where a loss is not a number: that is no state to keep.
        """
        assert self.optimizer is not None
        losses = self._losses[: self.taken % len(self.dls.train)].cpu()
        self._require_finite(losses.double().numpy())
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "taken": self.taken,
            "losses": losses,
            "recorder": {name: getattr(self.recorder, name) for name in ("losses", "lrs", "values")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Be as the learner that gave this state: the next ``epochs``, with the same arguments, goes on from there."""
        self.model.load_state_dict(state["model"])
        for name, values in state["recorder"].items():
            setattr(self.recorder, name, list(values))
        self._saved = state

    def _require_finite(self, losses: np.ndarray) -> None:
        """losses: of the last steps."""
        if not np.isfinite(losses).all():
            first = int(np.argmin(np.isfinite(losses)))
            back = first - len(losses)
            step = self.taken + back + 1
            epoch, rate = (step - 1) // len(self.dls.train), self.recorder.lrs[back]
            raise _diverged(losses[first], step, epoch, rate)

    def fit(self, epochs: int, lr: float, schedule: Schedule = flat) -> None:
        """Train and show the table, a line an epoch."""
        from underhood.display.terminal import Table

        table = Table()
        for epoch in self.epochs(epochs, lr, schedule, watch=table.watch):
            table.row(epoch)

    def fit_one_cycle(self, epochs: int, lr: float) -> None:
        """``fit`` with the rate going up and down once."""
        self.fit(epochs, lr, one_cycle)

    def validate(self, dl: DataLoader | None = None) -> list[float]:
        """[loss, metric, …] over the validation part, or over another loader's items.

        Each item is counted once: of several processes each takes whole batches, every so many, and what they find is
        put together batch by batch, so that any number of them comes to the same figures.
        """
        dl = self.dls.valid if dl is None else dl
        if not dl.count:
            raise ValueError("there is nothing to validate on: the loader is empty")
        sums = torch.zeros(len(dl), 1 + len(self.metrics), dtype=torch.float64, device=self.device)
        mine = range(self.ranks.rank, len(dl), self.ranks.size)
        for number, (predictions, targets) in zip(mine, self._predictions(dl, mine), strict=True):
            values = [function(predictions, targets).double() for function in (self.valid_loss_func, *self.metrics)]
            sums[number] = torch.stack(values) * len(targets)
        return (self.ranks.total(sums).sum(dim=0) / dl.count).tolist()

    def get_preds(self, dl: DataLoader | None = None) -> tuple[Tensor, Tensor]:
        """The model's outputs and the targets of the validation part, or of another loader: [n, …], [n, …]."""
        dl = self.dls.valid if dl is None else dl
        outputs = [(p.cpu(), y.cpu()) for p, y in self._predictions(dl, range(len(dl)))]
        return torch.cat([p for p, _ in outputs]), torch.cat([y for _, y in outputs])

    def predict(self, pixels: np.ndarray | Tensor) -> Tensor:
        """Probabilities of each class for pictures, uint8 [n, c, h, w]: float32 [n, classes]."""
        return predict_probabilities(self.model, pixels, self.device)

    def show_results(self, max_n: int = 9) -> Any:
        """Draw validation pictures with their class and what the model takes them for: a matplotlib figure."""
        from underhood.display.notebook import show_results

        return show_results(self, max_n)

    def outputs(self, x: Tensor, model: nn.Module | None = None) -> Tensor:
        """The model's outputs for a batch [n, …], its products at the learner's precision: float32 [n, …].

        model: the same, wrapped
        """
        model = model or self.model
        if self.precision == "float32":
            return model(x)
        with torch.autocast(self.device.type, torch.bfloat16):
            return model(x).float()

    def _move(self, batch: Any) -> tuple[Tensor, Tensor]:
        x, y = batch
        return x.to(self.device), y.to(self.device)

    @torch.inference_mode()
    def _predictions(self, dl: DataLoader, numbers: range) -> Iterator[tuple[Tensor, Tensor]]:
        with evaluating(self.model):
            for batch in dl.batches(0, numbers):
                x, y = self._move(batch)
                yield self.model(x), y  # in float32 whatever the precision: what is measured is what is saved


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards as it was: looking in the middle of an epoch changes nothing."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.inference_mode()
def predict_probabilities(model: nn.Module, pixels: np.ndarray | Tensor, device: str | torch.device = "cpu") -> Tensor:
    """Probabilities of each class for pictures, uint8 [n, c, h, w]: float32 [n, classes], in batches.

    A model with one output, such as chapter 4's, gives one probability by sigmoid: [n, 1].
    """
    with evaluating(model):
        length = validation_batch(pixels.shape)
        logits = torch.empty(0)
        for number, x in enumerate(DataLoader(pixels, length).batches()):
            outputs = model(x.to(device))
            if not number:  # all rows at once: small results kept between large ones would break memory up
                logits = torch.empty(len(pixels), outputs.shape[1])
            logits[number * length : number * length + len(x)] = outputs
    return logits.softmax(dim=1) if logits.shape[1] > 1 else logits.sigmoid()


def _diverged(loss: float, step: int, epoch: int, rate: float) -> DivergedError:
    return DivergedError(
        f"the loss is {loss} at step {step} (epoch {epoch}, rate {rate:.3g}): start again with a lower --lr", step
    )


def _name(metric: Loss) -> str:
    return getattr(metric, "__name__", type(metric).__name__)
