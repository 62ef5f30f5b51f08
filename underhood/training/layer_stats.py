"""``watch(model)``: what happens inside while a model works, by hooks that are always removed.

    with watch(learn.model) as seen:
        learn.fit(3, 0.01)
    seen.activations["5"]      # one row for each pass that was looked at

No training code knows of it; nothing is looked at, and nothing costs anything, outside the ``with``. ``look_at`` is the
same as a consumer of the loop: it watches single steps, for a run's record.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from underhood.core.learner import Learner, Step

COLUMNS = ("step", "mean", "deviation", "zeros", "gradient", "update")  # of what ``look_at`` notes of a layer


@dataclass
class Watched:
    """What was seen, by layer and by parameter (``model.named_modules()``, ``model.named_parameters()``).

    kinds: layer → its class; activations: layer → a tensor [mean, deviation, fraction of zeros] for each pass;
    alive: layer → which of its features gave anything but nothing so far, bool [features]
    gradients: parameter → the norm of its gradient, for each step; updates: parameter → the norm of the change by the
    step over the parameter's own, for each step
    """

    kinds: dict[str, str]
    activations: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    alive: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    updates: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def dead(self) -> dict[str, list[int]]:
        """Layer → the features of its ReLU that never gave anything, where there are any."""
        relus = (name for name, kind in self.kinds.items() if kind == "ReLU" and name in self.alive)
        found = {name: torch.flatten(torch.nonzero(~self.alive[name])).tolist() for name in relus}
        return {name: features for name, features in found.items() if features}

    def row(self, step: int) -> Tensor:
        """What was seen last, of each layer in ``kinds``: float64 [layers, COLUMNS]; no number where there is none.

        gradient and update are of its ``weight``.
        """
        nothing = torch.full((3,), torch.nan)
        rows = []
        for name in self.kinds:
            activation = self.activations[name][-1] if name in self.activations else nothing
            changed = [of[f"{name}.weight"][-1] if f"{name}.weight" in of else nothing[0]
                       for of in (self.gradients, self.updates)]  # fmt: skip
            rows.append(torch.stack([torch.tensor(float(step)), *activation.cpu(), *(one.cpu() for one in changed)]))
        return torch.stack(rows).double()


def layers(model: nn.Module) -> dict[str, str]:
    """The layers that are looked at: name → class, in order; what only holds or reshapes is left out."""
    passed_over = nn.Sequential, nn.Flatten
    return {
        name: type(module).__name__
        for name, module in model.named_modules()
        if name and not isinstance(module, passed_over)
    }


@contextmanager
def watch(model: nn.Module, every: int = 50) -> Iterator[Watched]:
    """Within, the first pass and then each ``every``-th is looked at: what the layers give, what the step changes.

    Between those passes the model carries no hook but one, which counts them.
    """
    seen = Watched(layers(model))
    before: dict[str, Tensor] = {}  # the parameters, as they were before the step that is looked at
    passes = 0

    def changes() -> None:
        with torch.no_grad():
            for name in list(before):
                old = before.pop(name)
                seen.updates[name].append((model.get_parameter(name) - old).norm() / old.norm())

    def look(name: str, _: nn.Module, __: Any, output: Tensor) -> None:
        given = output.detach().float()  # what takes one vectorized pass each: torch.std and comparisons are far slower
        mean = given.mean()
        deviation = torch.linalg.vector_norm(given - mean) / given.numel() ** 0.5
        others = [axis for axis in range(given.ndim) if axis != 1]
        used = given.sign().abs_().sum(dim=others) if others else given.sign().abs_()  # of each feature
        seen.activations[name].append(torch.stack([mean, deviation, 1 - used.sum() / given.numel()]))
        seen.alive[name] = seen.alive[name] | (used > 0) if name in seen.alive else used > 0

    def after_backward(name: str, parameter: Tensor) -> None:
        if parameter.grad is not None:
            seen.gradients[name].append(parameter.grad.norm())
            before[name] = parameter.detach().clone()

    with ExitStack() as counting, ExitStack() as looking:

        def begin(*_: Any) -> None:
            nonlocal passes
            changes()
            looking.close()
            if passes % every == 0:
                for name in seen.kinds:
                    hook = model.get_submodule(name).register_forward_hook(partial(look, name))
                    looking.callback(hook.remove)
                for name, parameter in model.named_parameters():
                    if parameter.requires_grad:
                        hook = parameter.register_post_accumulate_grad_hook(partial(after_backward, name))
                        looking.callback(hook.remove)
            passes += 1

        counting.callback(model.register_forward_pre_hook(begin).remove)
        yield seen
    changes()


def look_at(learn: "Learner", steps: "Iterator[Step]", every: int, looks: list[Tensor]) -> "Iterator[Step]":
    """The same steps; of each ``every``-th of the whole run, what ``Watched.row`` gives is added to ``looks``.

    looks: float64 [layers, COLUMNS] each
    """
    while True:
        due = (learn.taken + 1) % every == 0
        with watch(learn.model) if due else nullcontext() as seen:
            step = next(steps, None)
        if step is None:
            return
        if seen:
            looks.append(seen.row(step.number))
        yield step
