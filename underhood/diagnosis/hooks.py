"""Where a ``Watch`` sits in torch while something trains: hooks, and functions that are replaced for that time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as modules
from torch.optim.optimizer import register_optimizer_step_pre_hook

from underhood.core.loader import DataLoader
from underhood.diagnosis.trace import Change
from underhood.diagnosis.watch import Watch


@contextmanager
def watching(change: Change | None = None) -> Iterator[Watch]:
    """Watch what trains within the ``with``; ``Watch.finish`` gives the trace afterwards. torch is as before then."""
    watch = Watch(change)
    backward, grad, iterate = torch.autograd.backward, torch.autograd.grad, torch.utils.data.DataLoader.__iter__
    batches = DataLoader.batches
    with ExitStack() as stack:
        handles = [
            modules.register_module_forward_pre_hook(watch.before_module),
            modules.register_module_forward_hook(watch.after_module, always_call=True),
            register_optimizer_step_pre_hook(watch.before_step),
        ]
        for handle in handles:
            stack.callback(handle.remove)
        stack.callback(setattr, torch.autograd, "backward", backward)
        stack.callback(setattr, torch.autograd, "grad", grad)
        torch.autograd.backward = _watched(backward, watch)
        torch.autograd.grad = _watched(grad, watch)
        if watch.change.precise:
            stack.callback(setattr, torch.autocast, "__init__", torch.autocast.__init__)
            torch.autocast.__init__ = _disabled(torch.autocast.__init__)  # type: ignore[method-assign]
        if watch.change.repeat:
            stack.callback(setattr, torch.utils.data.DataLoader, "__iter__", iterate)
            stack.callback(setattr, DataLoader, "batches", batches)
            torch.utils.data.DataLoader.__iter__ = _repeated(iterate)  # type: ignore[method-assign]
            DataLoader.batches = _repeated(batches)  # type: ignore[method-assign]
        with watch:
            yield watch


def _watched(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    """``torch.autograd.backward`` or ``grad``, watched."""
    names = list(signature(function).parameters)

    def watched(*args: Any, **kwargs: Any) -> Any:
        named = dict(zip(names, args, strict=False)) | kwargs
        losses = _listed(named[names[0]])
        with torch._C.DisableTorchFunction():
            watch.before_backward(losses)
        result = function(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            watch.after_backward(_given(named.get("inputs"), result))
        return result

    return watched


def _listed(tensors: Any) -> list[Any]:
    """One tensor, or several, as a list."""
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _given(inputs: Any, result: Any) -> dict[int, Tensor]:
    """The gradients that ``torch.autograd.grad`` gives, by the id of what they belong to; {} of ``backward``."""
    if result is None:
        return {}
    pairs = zip(_listed(inputs), result, strict=True)
    return {id(one): gradient for one, gradient in pairs if isinstance(gradient, Tensor)}


def _disabled(init: Callable[..., None]) -> Callable[..., None]:
    """The constructor of ``torch.autocast``, as if it were always called with ``enabled=False``."""

    def disabled(*args: Any, **kwargs: Any) -> None:
        init(*args[:3], **kwargs | {"enabled": False})  # itself, the kind of device, the data type

    return disabled


def _repeated(function: Callable[..., Any]) -> Callable[..., Any]:
    """The batches of a loader, of which all are its first."""
    firsts: dict[int, Any] = {}

    def batches(loader: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for batch in function(loader, *args, **kwargs):
            yield firsts.setdefault(id(loader), batch)

    return batches
