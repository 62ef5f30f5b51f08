"""The loops that can be watched: a script, a model with its batches, and the one that ``train`` would run."""

import io
import os
import random
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from underhood.diagnosis.case import Loop
from underhood.diagnosis.hooks import watching
from underhood.diagnosis.trace import Change, Trace
from underhood.diagnosis.watch import Enough, Watch
from underhood.diagnosis.widen import widened

if TYPE_CHECKING:
    from underhood.training.learners import Setup

EVALUATED = 40  # batches, at most, after a loop of ours


def script_loop(script: Path, arguments: Sequence[str] = ()) -> Loop:
    """The loop in a script, which is run as ``python SCRIPT ARGUMENTS`` would run it; what it prints is discarded."""

    def loop(change: Change) -> Trace:
        with watching(change) as watch, _as_main(script, arguments):
            _seed(change.seed)
            try:
                runpy.run_path(str(script), run_name="__main__")
            except Enough:
                pass
            except SystemExit as stopped:
                watch.trace.error = "" if stopped.code in (None, 0) else f"it exits with {stopped.code}"
            except Exception as error:  # whatever the script raises is a finding, not ours to handle
                watch.trace.error = _where(error, script)
        return watch.finish()

    return loop


def model_loop(
    model: nn.Module,
    batches: Any,
    loss_func: Callable[..., Any],
    lr: float,
    valid: Any = None,
    opt_func: Any = torch.optim.SGD,
) -> Loop:
    """A plain loop that trains copies of a model.

    batches, valid: iterables of (inputs, targets), a ``DataLoader`` for instance; loss_func: (outputs, targets) → []
    opt_func: (parameters, lr=…) → optimizer
    """
    initial = deepcopy(model)

    def train(watch: Watch) -> None:
        network = (_wide(initial) if watch.change.widen else deepcopy(initial)).train()
        optimizer = opt_func([one for one in network.parameters() if one.requires_grad], lr=lr)
        device = next((one.device for one in network.parameters()), torch.device("cpu"))
        for x, y, *_ in islice(_epochs(batches), watch.change.steps):
            loss = loss_func(network(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if valid is not None and watch.change.evaluate:
            _evaluate(network, valid, device)

    return _our_loop(train)


def setup_loop(make: Callable[[int], "Setup"]) -> Loop:
    """The loop of ``train``. make: from a seed to a learner with its model at the start"""

    def loop(change: Change) -> Trace:
        setup = make(change.seed)  # what it computes, such as a backbone's features, is no training

        def train(watch: Watch) -> None:
            from underhood.core.schedule import one_cycle

            learn, recipe = setup.learn, setup.recipe
            if watch.change.widen:
                learn.model = learn.forward = _wide(learn.model)
            for step in learn.steps(recipe.epochs, recipe.lr, one_cycle):
                if step.number >= watch.change.steps:
                    break
            if watch.change.evaluate:
                _evaluate(learn.model, learn.dls.valid, learn.device)

        return _our_loop(train)(change)

    return loop


def _wide(model: nn.Module) -> nn.Module:
    """``widened``. Raises Enough where that is not known: nothing is trained then."""
    wide = widened(model)
    if wide is None:
        raise Enough
    return wide


def _evaluate(model: nn.Module, batches: Any, device: torch.device) -> None:
    """Compare predictions with targets, as a validation does."""
    model.eval()
    with torch.no_grad():
        for x, y, *_ in islice(batches, EVALUATED):
            _ = model(x.to(device)).argmax(-1) == y.to(device)


def _our_loop(train: Callable[[Watch], None]) -> Loop:
    def loop(change: Change) -> Trace:
        with watching(change) as watch:
            _seed(change.seed)
            try:
                train(watch)
            except Enough:
                pass
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                watch.trace.error = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        return watch.finish()

    return _with_random_state(loop)


def _with_random_state(loop: Loop) -> Loop:
    """A loop that leaves torch's, numpy's and Python's random numbers as they were."""

    def kept(change: Change) -> Trace:
        states = random.getstate(), np.random.get_state()
        with torch.random.fork_rng():
            try:
                return loop(change)
            finally:
                random.setstate(states[0])
                np.random.set_state(states[1])

    return kept


def _seed(seed: int) -> None:
    """Make a loop that sets no seed of its own repeatable."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _epochs(batches: Any) -> Iterator[Any]:
    """The batches of epoch after epoch; none where there are none."""
    for _ in cycle((None,)):
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            return


@contextmanager
def _as_main(script: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Arguments and import path as a script has them; its output is discarded, its figures are not shown."""
    argv, path, backend = sys.argv, list(sys.path), os.environ.get("MPLBACKEND")
    sys.argv, sys.path[0] = [str(script), *arguments], str(script.resolve().parent)
    os.environ["MPLBACKEND"] = "Agg"
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.argv, sys.path[:] = argv, path
        if backend is None:
            os.environ.pop("MPLBACKEND", None)
        else:
            os.environ["MPLBACKEND"] = backend


def _where(error: Exception, script: Path) -> str:
    """An error of a script in a line, with the last line of the script that led to it."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(script):
            line = trace.tb_lineno
        trace = trace.tb_next
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return f"line {line}: {type(error).__name__}: {text}"
