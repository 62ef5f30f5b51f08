"""Statistics of a network's layers while it works, by hooks that are always removed.

    with watch_layers(learn.model) as stats:
        learn.fit(3, 0.01)
    stats.activations["5"]      # one row for each forward pass that was measured

The training code does not know of it, and outside of ``with`` it costs nothing.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from underhood.core.errors import DivergedError

if TYPE_CHECKING:
    from underhood.core.learner import Learner, Step

LAYER_COLUMNS = ("step", "mean", "deviation", "zeros", "gradient", "update")  # of ``LayerStats.row`` and layers.csv


@dataclass
class LayerStats:
    """What was measured, by layer and by parameter (``model.named_modules()``, ``model.named_parameters()``)."""

    kinds: dict[str, str]  # layer → its class
    # layer → [mean, standard deviation, fraction of zeros] of its output, a tensor for each measured pass
    activations: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    alive: dict[str, Tensor] = field(default_factory=dict)  # layer → which features were ever above 0, bool [features]
    gradients: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))  # parameter → norms
    # parameter → norm of the change by a step over the parameter's own norm, for each measured step
    updates: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def dead(self) -> dict[str, list[int]]:
        """The dead units: ReLU or ReLU6 layer → the features that never were above 0, where there are any."""
        relus = (name for name, kind in self.kinds.items() if kind in ("ReLU", "ReLU6") and name in self.alive)
        found = {name: torch.flatten(torch.nonzero(~self.alive[name])).tolist() for name in relus}
        return {name: features for name, features in found.items() if features}

    def row(self, step: int) -> Tensor:
        """The latest statistics of each layer in ``kinds``: float64 [layers, LAYER_COLUMNS], NaN where there is none.

        gradient and update are those of the layer's ``weight``.
        """
        nothing = torch.full((3,), torch.nan)
        rows = []
        for name in self.kinds:
            activation = self.activations[name][-1] if name in self.activations else nothing
            weight = f"{name}.weight"
            changes = [of[weight][-1] if weight in of else nothing[0] for of in (self.gradients, self.updates)]
            rows.append(torch.stack([torch.tensor(float(step)), *activation.cpu(), *(one.cpu() for one in changes)]))
        return torch.stack(rows).double()


def layer_names(model: nn.Module) -> dict[str, str]:
    """The layers that are measured: name → class, in order. Containers and Flatten are left out."""
    modules = model.named_modules()
    return {n: type(m).__name__ for n, m in modules if n and not isinstance(m, (nn.Sequential, nn.Flatten))}


@contextmanager
def watch_layers(model: nn.Module, every: int = 50) -> Iterator[LayerStats]:
    """Within, measure the first forward pass and then every ``every``-th, and the step that follows it.

    Between these passes the model carries a single hook, which counts them.
    """
    measurement = _Measurement(model, LayerStats(layer_names(model)))
    passes = 0

    def before_pass(*_: Any) -> None:
        nonlocal passes
        measurement.end()
        if passes % every == 0:
            measurement.begin()
        passes += 1

    hook = model.register_forward_pre_hook(before_pass)
    try:
        yield measurement.stats
        measurement.end()
    finally:
        hook.remove()
        measurement.remove_hooks()


class StepStats:
    """Layer statistics of every ``every``-th step of a training: ``rows`` float64 [layers, LAYER_COLUMNS] each.

    Hooks must be in place before a step: ``before_step`` puts them there, at the end of the previous turn of the loop.
    """

    def __init__(self, learn: "Learner", every: int, rows: list[Tensor]):
        self.rows = rows
        self._learn, self._every, self._measurement = learn, every, None  # type: Learner, int, _Measurement | None

    def before_step(self) -> None:
        """Measure the next step if it is one of those."""
        if (self._learn.global_step + 1) % self._every == 0:
            self._measurement = _Measurement(self._learn.model, LayerStats(layer_names(self._learn.model)))
            self._measurement.begin()

    def after_step(self, step: "Step") -> None:
        """Add a row if this step was measured."""
        if self._measurement is not None:
            self._measurement.end()
            self.rows.append(self._measurement.stats.row(step.number))
            self._measurement = None

    def close(self) -> None:
        """Remove the hooks."""
        if self._measurement is not None:
            self._measurement.remove_hooks()


class _Measurement:
    """The hooks of one forward pass and the step after it."""

    def __init__(self, model: nn.Module, stats: LayerStats):
        self.model, self.stats = model, stats
        self._hooks = ExitStack()
        self._before: dict[str, Tensor] = {}  # parameters as they were before the step

    def begin(self) -> None:
        for name in self.stats.kinds:
            hook = self.model.get_submodule(name).register_forward_hook(partial(self._after_layer, name))
            self._hooks.callback(hook.remove)
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                hook = parameter.register_post_accumulate_grad_hook(partial(self._after_backward, name))
                self._hooks.callback(hook.remove)

    def end(self) -> None:
        self.remove_hooks()
        with torch.no_grad():
            for name in list(self._before):
                old = self._before.pop(name)
                self.stats.updates[name].append((self.model.get_parameter(name) - old).norm() / old.norm())

    def remove_hooks(self) -> None:
        self._hooks.close()

    def _after_layer(self, name: str, _: nn.Module, __: Any, output: Tensor) -> None:
        x = output.detach().float()  # one vectorised pass for each figure: torch.std and comparisons are far slower
        mean = x.mean()
        std = torch.linalg.vector_norm(x - mean) / x.numel() ** 0.5
        others = [axis for axis in range(x.ndim) if axis != 1]
        used = x.sign().abs_().sum(dim=others) if others else x.sign().abs_()  # [features]
        self.stats.activations[name].append(torch.stack([mean, std, 1 - used.sum() / x.numel()]))
        alive = self.stats.alive
        alive[name] = alive[name] | (used > 0) if name in alive else used > 0

    def _after_backward(self, name: str, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self.stats.gradients[name].append(parameter.grad.norm())
            self._before[name] = parameter.detach().clone()


def first_nan_layer(learn: "Learner", steps: "Iterator[Step]", number: int) -> str:
    """Repeat the steps up to ``number`` and say which layer's output is the first that is NaN or infinite.

    steps: a ``learn.steps(…)`` that begins before that step
    Returns "in layer 4 (Conv2d)", "in the weights of layer 4 (Conv2d)", or "in the loss alone", for instance.
    """
    while learn.global_step < number - 1:
        next(steps)
    found: list[str] = []

    def check(name: str, module: nn.Module, _: Any, output: Tensor) -> None:
        if not found and not torch.isfinite(output).all():
            of = "" if all(torch.isfinite(p).all() for p in module.parameters(recurse=False)) else "the weights of "
            found.append(f"in {of}layer {name} ({type(module).__name__})")

    with ExitStack() as hooks:
        for name, module in learn.model.named_modules():
            if not list(module.children()):
                hooks.callback(module.register_forward_hook(partial(check, name)).remove)
        with suppress(DivergedError):  # raised if it is the last step of an epoch
            next(steps)
    return found[0] if found else "in the loss alone"
