"""Watches a training loop from outside, and may change one thing in it.

``Watch`` is a context (``hooks.watching`` enters it): within it, each function of torch that is called passes through
``__torch_function__``, and ``backward``, ``optimizer.step`` and the modules' forward passes through hooks. Nothing
about the loop has to be known: with an optimizer, by hand, in a framework or in a script, it is watched the same way.
"""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from underhood.diagnosis import graph, measure
from underhood.diagnosis.trace import Change, LossSeen, Pass, StepSeen, Trace

LOSSES = {
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss",
    "smooth_l1_loss", "huber_loss", "kl_div", "multi_margin_loss", "soft_margin_loss", "gaussian_nll_loss",
}  # fmt: skip
LAYERS = {"linear", "conv1d", "conv2d", "conv3d", "matmul", "mm", "addmm", "bmm", "__matmul__", "batch_norm", "mul"}
COMPARISONS = {"eq", "__eq__", "ne", "__ne__"}
KEPT_BATCHES, CLOSELY = 40, 60  # batches that are kept; steps of which everything is looked at
FOLLOWED = 400  # steps of which autograd's graph is followed
WINDOW = 10  # steps over which a unit that is never active counts as dead


class Enough(BaseException):
    """Stops a loop that is watched: no ``except Exception`` of the loop catches it."""


class Watch(TorchFunctionMode):
    """Collects a ``Trace`` of whatever trains within it. change: see ``Change``"""

    def __init__(self, change: Change | None = None):
        super().__init__()
        self.change, self.trace = change or Change(), Trace()
        self._pass: Pass | None = None
        self._starting = False  # whether its first layer is being computed
        # the last passes of which no ``backward`` is known, and autograd's node of their start
        self._open: deque[tuple[Pass | None, Any]] = deque(maxlen=4)
        self._depth, self._fresh = 0, False  # of modules that are being called; no layer was seen yet in the outermost
        self._models: dict[int, nn.Module] = {}  # all outermost modules that were called
        self._top: nn.Module | None = None  # the outermost module with parameters
        self._first_parameter: int | None = None
        self._before: dict[int, Tensor] = {}  # the parameters at the last ``backward``
        self._half: dict[int, Tensor] = {}  # of those in bfloat16 or float16, which numbers had a gradient
        self._updated = False  # whether they may have changed since
        self._units: dict[int, Any] = {}  # of this window of steps, of the one before, and of the first step
        self._last_units: dict[int, Any] = {}
        self._first_units: dict[int, Any] = {}
        self._unit = 0  # how many activation functions there were in this pass
        self._scale: tuple[Tensor, Tensor] | None = None
        self._inputs: Tensor | None = None
        self._began = time.perf_counter()

    # -- every function of torch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called in place of each function of torch. Looks at its arguments and its result."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in LAYERS and len(args) > 1:
            args = self._before_layer(name, args)
        result = func(*args, **kwargs)
        if self._starting:
            self._starting = False
            self._open.append((self._pass, getattr(result, "grad_fn", None)))
        if self._pass is not None:
            self._look_at(name, args, kwargs, result)
        return result

    def _look_at(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """A function was called between the first layer of a forward pass and the next ``backward``."""
        if name in measure.ELEMENTWISE or name in LOSSES:
            self._look_at_shapes(name, args)
        if name in LOSSES:
            self._look_at_loss(name, args, kwargs)
        elif name in COMPARISONS:
            self._look_at_answers(args)
        elif kind := measure.activation(name, args, kwargs):
            self._look_at_units(kind, result)
        elif name.startswith("dropout") and kwargs.get("training", len(args) < 3 or args[2]):
            self.trace.forward_only_dropout |= self._top is not None and not self._top.training
        self._look_for_targets(args)

    def _before_layer(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, weights = args[0], [one for one in args[1:3] if isinstance(one, Tensor)]
        if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point() or not self._is_first(x, weights):
            return args
        self._fresh = False
        if self._updated and torch.is_grad_enabled():
            self._scale_updates()
        if self.change.standardise:
            if self._scale is None:
                self._scale = x.detach().mean(), x.detach().std().clamp_min(1e-8)
            x = (x - self._scale[0]) / self._scale[1]
            args = (x, *args[1:])
        self._start_pass(name, x.detach())
        return args

    def _is_first(self, x: Tensor, weights: list[Tensor]) -> bool:
        """Whether this is the first layer of a forward pass."""
        if self._top is not None:
            return self._fresh and any(isinstance(one, nn.Parameter) for one in weights)
        own = [one for one in weights if one.is_leaf and one.requires_grad and not isinstance(one, nn.Parameter)]
        if not own or x.requires_grad or (x.is_leaf and id(x) in self.trace.parameters):
            return False
        if torch.is_grad_enabled():
            self._first_parameter = id(own[0])
        return id(own[0]) == self._first_parameter

    def _start_pass(self, name: str, x: Tensor) -> None:
        trace, kind = self.trace, torch.is_grad_enabled()
        trace.autocast |= torch.is_autocast_enabled(x.device.type)
        closely = sum(one.gradients == kind for one in trace.passes) < 4 * CLOSELY
        modes: dict[str, bool] = measure.modes(self._top) if self._top is not None else {}
        self._pass = measure.forward_pass(x, len(trace.steps), modes, closely, name == "batch_norm")
        trace.passes.append(self._pass)
        self._inputs, self._unit, self._starting = x, 0, True

    def _look_at_shapes(self, name: str, args: tuple[Any, ...]) -> None:
        shapes = measure.accidental(args, len(self._pass.rows)) if self._pass else None
        if shapes and len(self.trace.broadcasts) < 9:
            self.trace.broadcasts.setdefault(name, (*shapes, torch.is_grad_enabled()))

    def _look_at_loss(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outputs, targets = (args + tuple(kwargs.get(key) for key in ("input", "target")[len(args) :]))[:2]
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or not outputs.requires_grad:
            return
        self._take_targets(targets)
        self.trace.loss = LossSeen(name, outputs.detach(), targets.detach())

    def _look_at_answers(self, args: tuple[Any, ...]) -> None:
        if self._pass is not None and self._pass.answers is None:
            self._pass.answers = measure.answers(args, len(self._pass.rows))

    def _look_at_units(self, kind: str, result: Any) -> None:
        if self._pass is None or not self._pass.gradients or not isinstance(result, Tensor) or result.ndim < 2:
            return
        measure.add_units(self._units, self._unit, kind, result.detach())
        if not self.trace.steps:
            measure.add_units(self._first_units, self._unit, kind, result.detach())
        self._unit += 1

    def _look_for_targets(self, args: tuple[Any, ...]) -> None:
        if self._pass is None or not self._pass.gradients or len(self.trace.targets) > len(self.trace.steps):
            return
        for one in measure.tensors(args):
            if one is not self._inputs and measure.is_target(one, len(self._pass.rows)):
                self._take_targets(one)
                return

    def _take_targets(self, targets: Tensor) -> None:
        trace = self.trace
        if len(trace.targets) > len(trace.steps) or self._pass is None or len(targets) != len(self._pass.rows):
            return
        while len(trace.targets) < len(trace.steps):  # of steps without any
            trace.targets.append(np.zeros(0, int))
        numbers = targets.detach().argmax(1) if targets.ndim == 2 and targets.shape[1] > 1 else targets.detach()
        trace.targets.append(numbers.reshape(-1).cpu().double().round().numpy().astype(int))
        if len(trace.batches) < KEPT_BATCHES and self._inputs is not None:
            trace.batches.append((self._inputs.cpu(), targets.detach().cpu()))

    # -- backward

    def before_backward(self, losses: Iterable[Any]) -> None:
        """Look at the parameters and their gradients before ``backward`` adds to them. Raises Enough."""
        self._close_step()
        self._stop_if_enough()
        tensors = [loss for loss in losses if isinstance(loss, Tensor)]
        self._follow(tensors)
        if self._closely():
            for seen in self.trace.parameters.values():
                kept = seen.parameter.grad is not None and bool(seen.parameter.grad.any())
                seen.left = kept and (seen.just_moved or seen.left)
        loss = float(tensors[0].detach().sum()) if tensors else float("nan")
        self.trace.steps.append(StepSeen(loss, 0.0))
        if len(self.trace.steps) % WINDOW == 0:
            self._last_units, self._units = self._units, {}

    def _follow(self, losses: list[Tensor]) -> None:
        """Which parameters and which forward passes these losses depend on."""
        nodes: set[Any] = set()
        if len(self.trace.steps) < FOLLOWED:
            leaves, nodes = graph.leaves(losses, self.trace.graph)
            for leaf in leaves:
                measure.parameter(self.trace.parameters, leaf).reached = True
        for one, node in list(self._open):
            depends = node in nodes if nodes and node is not None else one is self._pass
            if one is not None and one.gradients and depends:
                one.trains = True
                self._open.remove((one, node))

    def after_backward(self, gradients: dict[int, Tensor]) -> None:
        """Look at the gradients. gradients: those that ``torch.autograd.grad`` gives, of the
        parameters' shapes [...], by their ids"""
        known, scaled = self.trace.parameters, self.change.updates != 1
        self._updated, self._before, self._half = scaled, {}, {}
        if self._closely() or scaled:
            self._before = {key: one.parameter.detach().clone() for key, one in known.items()}
        if self._closely():
            sizes = [measure.take_gradient(one, gradients.get(key, one.parameter.grad)) for key, one in known.items()]
            self.trace.steps[-1].gradient = max(sizes, default=0.0)
            self._half = measure.with_gradient_in_half(known, gradients)
        self._pass = None

    def before_step(self, optimizer: Optimizer, *_: Any) -> None:
        """torch's optimizer is about to step."""
        trace, groups = self.trace, optimizer.param_groups
        trace.optimizer_steps += 1
        trace.lr = float(groups[0]["lr"]) if trace.lr is None else trace.lr
        if not self._closely():
            return
        with torch._C.DisableTorchFunction():
            own = [parameter for group in groups for parameter in group["params"]]
            trace.empty_steps += not any(one.grad is not None and bool(one.grad.any()) for one in own)
            for one in own:
                measure.parameter(trace.parameters, one).in_optimizer = True

    def _closely(self) -> bool:
        return len(self.trace.steps) <= CLOSELY

    def _close_step(self) -> None:
        """The step before is over: which parameters have moved?"""
        if not self.trace.steps:
            return
        step, parameters = self.trace.steps[-1], self.trace.parameters
        for key, before in self._before.items():
            seen = parameters[key]
            moved = not torch.equal(seen.parameter.detach(), before)
            if key in self._half:
                seen.lost = measure.left_by_step(before, seen.parameter.detach(), self._half[key])
            seen.moved |= moved
            seen.just_moved = moved
            step.moved = bool(step.moved) or moved
            step.left |= moved and seen.left

    def _scale_updates(self) -> None:
        """Make the last step of the parameters larger or smaller."""
        self._updated = False
        with torch.no_grad():
            for key, before in self._before.items():
                parameter = self.trace.parameters[key].parameter.data
                parameter.copy_(before + self.change.updates * (parameter - before))

    def _stop_if_enough(self) -> None:
        done, evaluated = len(self.trace.steps), not all(one.trains for one in self.trace.passes[:-1])
        late = time.perf_counter() - self._began > self.change.seconds
        if late or (done >= self.change.steps and (evaluated or not self.change.evaluate)):
            raise Enough

    # -- modules

    def before_module(self, module: nn.Module, _: Any) -> None:
        """A module is called."""
        self._depth += 1
        with torch._C.DisableTorchFunction():
            self._look_at_module(module)

    def _look_at_module(self, module: nn.Module) -> None:
        if self._depth == 1 and any(True for _ in module.parameters()):
            self._top, self._fresh = module, True
            if id(module) not in self._models:
                self._models[id(module)] = module
                for name, parameter in module.named_parameters():
                    measure.parameter(self.trace.parameters, parameter, name).in_model = True
        if self._top is not None:
            for own in module.parameters(recurse=False):
                if id(own) in self.trace.parameters:
                    self.trace.parameters[id(own)].used = True

    def after_module(self, *_: Any) -> None:
        """A module has returned, or raised an error."""
        self._depth -= 1
        if self._depth == 0:
            self._top = None

    def finish(self) -> Trace:
        """The trace, when the loop is over."""
        self._close_step()
        self.trace.units = measure.units(self._last_units or self._units)
        self.trace.first_units = measure.units(self._first_units)
        return self.trace
