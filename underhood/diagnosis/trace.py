"""What is changed in a training, and what was seen of it: steps, forward passes, parameters. ``watch.py`` does both."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

START = 3  # steps whose mean loss is the loss at the start


@dataclass(frozen=True)
class Change:
    """What is changed in a loop while it is watched, and when it is stopped.

    updates: factor of each step of the parameters, as a learning rate is; standardise: inputs of the first layer have
    mean 0 and standard deviation 1; repeat: loaders give their first batch for ever; widen: each hidden layer has twice
    as many units, where ``widened`` can tell (else nothing is trained); precise: ``torch.autocast`` does nothing;
    steps: at most; seconds: at most; evaluate: after these steps, go on until images were evaluated
    """

    updates: float = 1.0
    standardise: bool = False
    repeat: bool = False
    widen: bool = False
    precise: bool = False
    steps: int = 300
    seconds: float = 60.0
    evaluate: bool = False
    seed: int = 0


@dataclass
class StepSeen:
    """A call of ``backward``, and what happened until the next one."""

    loss: float
    gradient: float  # the largest of any parameter, in size; NaN where one is not finite
    left: bool = False  # whether it moved parameters by gradients that were there before ``backward`` added its own
    moved: bool | None = None  # whether a parameter has another value at the next ``backward``; None: not looked at


@dataclass
class Pass:
    """A forward pass: a batch that went through the model.

    step: how many calls of ``backward`` there were before; rows: a number for each image, equal for equal images,
    int64 [n]; mean, std, low, high: of the numbers that the first layer gets; colours: of each image the mean of each
    channel there, float64 [n, c], None for inputs without channels; modes: whether layers of dropout and batch
    normalisation were in training mode, one for each kind of layer
    """

    step: int
    trains: bool  # whether ``backward`` followed
    rows: np.ndarray
    mean: float
    std: float
    low: float
    high: float
    colours: np.ndarray | None
    modes: dict[str, bool]
    gradients: bool  # whether torch was recording for ``backward``
    normalised: bool = False  # whether the first layer is batch normalisation
    answers: tuple[np.ndarray, np.ndarray] | None = None  # what was predicted and what is right, int [n] each


@dataclass
class ParameterSeen:
    """A parameter of the model, or a tensor that ``backward`` reached."""

    name: str
    parameter: Tensor
    in_model: bool = False
    in_optimizer: bool = False
    used: bool = False  # its module was called
    reached: bool = False  # by ``backward``
    gradient: float = 0.0  # the largest that it ever got, in size
    moved: bool = False  # whether its value ever changed
    just_moved: bool = False  # whether it changed before the last ``backward``
    left: bool = False  # whether its gradient, at the last ``backward``, was from before it moved
    lost: float = 0.0  # in bfloat16 or float16: the fraction of its numbers with a gradient that the last step left

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return self.parameter.numel()


@dataclass
class LossSeen:
    """What the last call of a loss of torch got in training. name: of the function in ``torch.nn.functional``.

    outputs, targets: its arguments, detached
    """

    name: str
    outputs: Tensor
    targets: Tensor


@dataclass
class Units:
    """The outputs of one activation function. active: which units were ever above 0 in the last steps, bool [units]."""

    name: str
    active: np.ndarray
    saturated: float = 0.0  # of a sigmoid or tanh: the fraction of its outputs at its ends


@dataclass
class Trace:
    """What was seen of a training, in the order in which it happened."""

    steps: list[StepSeen] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    parameters: dict[int, ParameterSeen] = field(default_factory=dict)  # by id
    batches: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # (inputs, targets) of the first ones
    targets: list[np.ndarray] = field(default_factory=list)  # of each step, int [n]
    loss: LossSeen | None = None
    graph: list[str] = field(default_factory=list)  # squashing functions that directly follow one another, in pairs
    broadcasts: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = field(default_factory=dict)
    units: list[Units] = field(default_factory=list)  # of the last steps
    first_units: list[Units] = field(default_factory=list)  # of the first step
    lr: float | None = None  # of torch's optimizer
    optimizer_steps: int = 0
    empty_steps: int = 0  # calls of ``optimizer.step`` when all gradients were 0 or None
    autocast: bool = False  # whether a forward pass was in reduced precision
    forward_only_dropout: bool = False  # ``F.dropout`` was active though the model was in evaluation mode
    error: str = ""  # of a script that stopped: one line

    @property
    def losses(self) -> np.ndarray:
        """The loss of each step: float64 [steps]."""
        return np.array([step.loss for step in self.steps])

    @property
    def first_loss(self) -> float:
        """The loss at the start, before a learning rate that is too high has made it larger; NaN without steps."""
        return float(min(self.losses[0], self.losses[:START].mean())) if self.steps else math.nan

    @property
    def last_loss(self) -> float:
        """``loss_after`` all steps."""
        return self.loss_after(len(self.steps))

    def loss_after(self, steps: int) -> float:
        """The mean loss of the last fifth of so many steps; infinite where one is NaN or infinite."""
        losses = self.losses[max(0, steps - max(5, steps // 5)) : steps]
        return float(losses.mean()) if len(losses) and np.isfinite(losses).all() else math.inf

    @property
    def training(self) -> Iterator[Pass]:
        """The forward passes that ``backward`` followed."""
        return (one for one in self.passes if one.trains)

    @property
    def evaluation(self) -> Iterator[Pass]:
        """The others."""
        return (one for one in self.passes if not one.trains)

    def looked_at(self) -> tuple[list[Pass], list[Pass]]:
        """(passes that trained, the others), of which more than their modes is known: the first ones."""
        training, evaluation = (
            [one for one in side if not math.isnan(one.mean)] for side in (self.training, self.evaluation)
        )
        return training, evaluation

    def answers(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(what was predicted, what is right) in evaluation, int [n] each; None where nothing was compared."""
        pairs = [one.answers for one in self.evaluation if one.answers is not None]
        if not pairs:
            return None
        predicted, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
        return predicted, right
