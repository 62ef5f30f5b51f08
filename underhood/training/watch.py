"""``watch(model)``: what happens inside while a model works, by hooks that are always removed.

    with watch(learn.model, every=10) as seen:
        learn.fit(3, 0.01)
    seen.activations["5"]      # one row for each pass that was looked at

No training code knows of it; nothing is looked at, and nothing costs anything, outside the ``with``.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Watched:
    """What was seen, by layer and by parameter (``model.named_modules()``, ``model.named_parameters()``).

    kinds: layer → its class; activations: layer → a tensor [mean, deviation, fraction of zeros] for each pass;
    alive: layer → which of its features gave anything but nothing so far, bool [features]
    gradients: parameter → the norm of its gradient, for each step; updates: parameter → the norm of the change by the
    step over the parameter's own, for each step
    """

    kinds: dict[str, str] = field(default_factory=dict)
    activations: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    alive: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    updates: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def dead(self) -> dict[str, list[int]]:
        """Layer → the features of its ReLU that never gave anything, where there are any."""
        relus = (name for name, kind in self.kinds.items() if kind == "ReLU" and name in self.alive)
        found = {name: torch.flatten(torch.nonzero(~self.alive[name])).tolist() for name in relus}
        return {name: features for name, features in found.items() if features}


@contextmanager
def watch(model: nn.Module, every: int = 1) -> Iterator[Watched]:
    """Within, each ``every``-th pass is looked at: what the layers give, and what the step changes."""
    seen = Watched()
    passes, before = 0, {}  # type: int, dict[str, Tensor]

    def changes() -> None:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in before:
                    old = before.pop(name)
                    seen.updates[name].append((parameter - old).norm() / old.norm())

    def begin(*_: Any) -> None:
        nonlocal passes
        changes()
        passes += 1

    def look(name: str, _: nn.Module, __: Any, output: Tensor) -> None:
        if passes % every:
            return
        given = output.detach().float()
        nothing = given == 0
        statistics = torch.stack([given.mean(), given.std(correction=0), nothing.float().mean()])
        seen.activations[name].append(statistics)
        features = ~nothing.transpose(0, 1).flatten(1).all(dim=1) if given.ndim > 1 else ~nothing
        seen.alive[name] = seen.alive[name] | features if name in seen.alive else features

    def after_backward(name: str, parameter: Tensor) -> None:
        if not passes % every and parameter.grad is not None:
            seen.gradients[name].append(parameter.grad.norm())
            before[name] = parameter.detach().clone()

    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        for name, module in model.named_modules():
            if name and not isinstance(module, (nn.Sequential, nn.Flatten)):
                seen.kinds[name] = type(module).__name__
                hooks.callback(module.register_forward_hook(partial(look, name)).remove)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                hook = parameter.register_post_accumulate_grad_hook(partial(after_backward, name))
                hooks.callback(hook.remove)
        yield seen
    changes()
