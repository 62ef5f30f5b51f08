"""Where a loss stopped being a number: the step is taken again, with an eye on what each layer gives."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from underhood.core.learner import Learner, Step


def first_not_finite(learn: "Learner", steps: "Iterator[Step]", number: int) -> str:
    """Take the steps up to ``number`` and say where in the model its first output is that is no finite number.

    steps: what ``learn.steps`` gives, of a learner that begins before that step
    Returns words such as "in layer 4 (Conv2d)", "in the weights of layer 4 (Conv2d)", or "in the loss alone".
    """
    while learn.taken < number - 1:
        next(steps)
    found: list[str] = []

    def look(name: str, module: nn.Module, _: Any, output: Tensor) -> None:
        if not found and not torch.isfinite(output).all():
            of = "" if all(torch.isfinite(p).all() for p in module.parameters(recurse=False)) else "the weights of "
            found.append(f"in {of}layer {name} ({type(module).__name__})")

    with ExitStack() as hooks:
        for name, module in learn.model.named_modules():
            if not list(module.children()):
                hooks.callback(module.register_forward_hook(partial(look, name)).remove)
        next(steps)
    return found[0] if found else "in the loss alone"
