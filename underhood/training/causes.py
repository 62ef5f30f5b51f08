"""Which training images are the cause of a prediction: those without which the training ends in another answer.

A training is chaotic: one image less in one batch, or another seed, starts it on another path. So a change counts as
an effect only where it is larger than what other seeds, and the removal of random images, change in the same
prediction; and images are the cause of an answer only where it changes without them from a second seed, too.
"""

from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np

from underhood.core.errors import DataError
from underhood.runs.interventions import Intervention
from underhood.training import Reporter
from underhood.training.whatif import FoundImage, Retraining

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

SINGLES = 3  # of the images that are a cause, which are also left out one by one
LEAST_CHANGE = 0.005  # of a probability: a smaller one is no effect
CAUSE = "changes the answer"  # the verdict of an effect that does so, by more than noise
CLOSEST = 1e-4  # to 0 and 1: a probability that is closer counts as this
CONFIDENCE = 0.95  # that a training without an effect ends within the noise
CHEAP = 3e10  # multiply-adds of a training, forwards: about two seconds on two cores


class Plan(NamedTuple):
    """How much is tried. The more controls there are, the narrower is the range of the noise."""

    seeds: int  # other seeds to train from
    placebos: int  # trainings without random images
    sizes: tuple[int, ...]  # how many of the nearest images are left out at once
    singles: int  # of the nearest images, left out one by one where no cause is found
    trainings: int  # at most


USUAL = Plan(seeds=2, placebos=2, sizes=(1, 4, 16, 64), singles=1, trainings=12)
THOROUGH = Plan(seeds=4, placebos=4, sizes=(1, 4, 16, 64, 256), singles=3, trainings=24)  # where trainings are cheap


class Control(TypedDict):
    """A training that changes nothing which could be a cause. placebo: how many random images it leaves out."""

    seed: int
    placebo: int
    label: str  # the answer
    probability: float  # of the answer of the run


class Noise(TypedDict):
    """What chance alone changes in a prediction."""

    seeds: list[Control]
    placebo: list[Control]
    std: float  # of the probability, over the run and the controls
    low: float  # a training without an effect ends between ``low`` and ``high``
    high: float
    flips: int  # controls with another answer than the run's


class Effect(TypedDict):
    """A training without some images, or with other changes: what it makes of the prediction.

    verdict: within noise; more than noise; changes the answer; or not confirmed, where it does so from one seed only
    """

    paths: list[str]
    ranks: list[int]  # first and last of the images, 1 the nearest to the explained one; [] where they were named
    seed: int
    label: str  # the answer
    probability: float  # of the answer of the run
    change: float
    flips: bool
    verdict: str


class Question(NamedTuple):
    """An image, and what the run's model answers."""

    pixels: np.ndarray  # uint8 [1, c, h, w]
    inputs: "np.ndarray | Tensor"  # [1, …], what the models take
    answer: int
    probability: float


def ask(retraining: Retraining, image: FoundImage) -> Question:
    """What the run's model answers for an image. Raises UnderhoodError."""
    inputs = retraining.inputs_of(image.pixels)
    values = retraining.probabilities(retraining.before, inputs)[0]
    answer = int(values.argmax())
    return Question(image.pixels, inputs, answer, float(values[answer]))


def noise_interval(probabilities: "Sequence[float]", confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high): where one more probability is, with this confidence, if it is of the same kind as these, float [n].

    The prediction interval of a normal distribution of the logits.

    >>> [round(end, 2) for end in noise_interval([0.9, 0.92, 0.95, 0.9])]
    [0.77, 0.98]
    """
    from scipy.special import expit, logit, stdtrit

    known = logit(np.clip(probabilities, CLOSEST, 1 - CLOSEST))
    width = stdtrit(len(known) - 1, (1 + confidence) / 2) * known.std(ddof=1) * np.sqrt(1 + 1 / len(known))
    low, high = expit(known.mean() - width), expit(known.mean() + width)
    return float(low) if low > CLOSEST else 0.0, float(high) if high < 1 - CLOSEST else 1.0


class Search:
    """Trains a run again without some images, and with other seeds, and sees what becomes of one prediction."""

    def __init__(self, retraining: Retraining, question: Question, reporter: Reporter):
        self.retraining, self.question = retraining, question
        self.plan = THOROUGH if retraining.operations() <= CHEAP else USUAL
        self.seed = retraining.original.config.seed
        self.answer = retraining.original.loaded.dataset.classes[question.answer]  # of the run
        self._train, self._reporter = retraining.original.loaded.dataset.train, reporter
        self.cause: Effect | None = None  # that changes the answer from two seeds
        self._again: list[Effect] = []  # of the same changes from another seed
        self._known: dict[tuple[int, int], Effect] = {}  # ranks → effect, from the run's seed

    def measure_noise(self, sizes: "Sequence[int]", others: np.ndarray) -> Noise:
        """Train from other seeds, and without random ones of these training images, int64 [m]. Raises UnderhoodError.

        sizes: how many, in turn
        """
        rng = np.random.default_rng([self.seed, 0x70])
        seeds = [self._control((self.seed + i + 1) % 2**32, np.empty(0, int)) for i in range(self.plan.seeds)]
        counts = [min(sizes[i % len(sizes)], len(others)) for i in range(self.plan.placebos)]
        placebo = [self._control(self.seed, rng.choice(others, size, replace=False)) for size in counts if size]
        controls = [*seeds, *placebo]
        known = [self.question.probability, *(one["probability"] for one in controls)]
        low, high = noise_interval(known)
        flips = sum(one["label"] != self.answer for one in controls)
        self.noise: Noise = {"seeds": seeds, "placebo": placebo, "std": float(np.std(known, ddof=1)), "low": low,
                             "high": high, "flips": flips}  # fmt: skip
        return self.noise

    def measure(
        self, changed: "Sequence[Intervention]", ranks: "Sequence[int]" = (), seed: int | None = None,
        model: "nn.Module | None" = None,
    ) -> Effect:  # fmt: skip
        """The effect of changes. ranks: of the images that they leave out; model: after the training, if it was done.

        Raises UnderhoodError.
        """
        what = f"without {nearest(ranks)}" if ranks else "with the changes"
        label, probability = self._answer(changed, seed, what if seed is None else f"{what} from seed {seed}", model)
        flips = label != self.answer
        change = probability - self.question.probability
        outside = not self.noise["low"] <= probability <= self.noise["high"] and abs(change) >= LEAST_CHANGE
        verdict = "within noise" if not outside else CAUSE if flips else "more than noise"
        return {"paths": [one.before for one in changed if one.what != "lr"], "ranks": list(ranks),
                "seed": self.seed if seed is None else seed, "label": label, "probability": probability,
                "change": change, "flips": flips, "verdict": verdict}  # fmt: skip

    def measure_changes(self, changed: "Sequence[Intervention]", model: "nn.Module") -> list[Effect]:
        """The effect of changes, which may be any, after whose training this is the model. Raises UnderhoodError."""
        named = {one.before for one in changed if one.what != "lr"}
        rows = [i for i, name in enumerate(self._train.names) if name in named]
        labels = self.retraining.labels()
        same = np.isin(labels, labels[rows]) if rows else labels >= 0
        same[rows] = False
        self.measure_noise([max(1, len(rows))], np.flatnonzero(same & (labels >= 0)))
        effect = self.measure(changed, model=model)
        self.is_confirmed(effect, changed)
        return [effect, *self._again]

    def is_confirmed(self, effect: Effect, changed: "Sequence[Intervention]") -> bool:
        """Whether an effect changes the answer, from the run's seed and from another one, without which it is chance.

        If it does it is ``cause`` from then on; if only from the run's seed, its verdict says so.
        Raises UnderhoodError.
        """
        if effect["verdict"] == CAUSE and self._left() > 0:
            again = self.measure(changed, effect["ranks"], (self.seed + 1) % 2**32)
            self._again.append(again)
            if again["verdict"] == CAUSE:
                self.cause = effect
                return True
        if effect["verdict"] == CAUSE:
            effect["verdict"] = "not confirmed"
        return False

    def find_causes(self) -> list[Effect]:
        """Leave out the nearest training images of the answer's class, ever more of them, until the answer changes.

        Then fewer, until it changes no more; and some of them one by one. Returns the effects, those of single images
        first. Raises UnderhoodError.
        """
        rows = np.flatnonzero(self.retraining.labels() == self.question.answer)
        if not len(rows):
            raise DataError(f"no training image is {self.answer!r}: none can be left out")
        most = min(self.plan.sizes[-1], max(1, len(rows) // 3))
        self._nearest = self.retraining.nearest(self.question.pixels, rows, most).tolist()
        others = np.setdiff1d(rows, self._nearest)
        self.measure_noise((1, most), others)
        too_few = 0
        sizes = [*(size for size in self.plan.sizes if size < most), most]
        for size in (1, most) if self.chance_decides else sizes:  # then no effect can be larger than noise
            if self._is_enough(size):
                self._find_fewer(too_few, size)
                break
            too_few = size
        singles = min(SINGLES, len(self.cause["paths"])) if self.cause else min(self.plan.singles, most)
        for rank in range(2, 1 + singles):
            if self._left() > 0:
                self._without(rank, rank)
        return sorted([*self._known.values(), *self._again], key=lambda one: (len(one["paths"]), one["ranks"]))

    @property
    def chance_decides(self) -> bool:
        """Whether half of the controls have another answer than the run."""
        return 2 * self.noise["flips"] >= len(self.noise["seeds"] + self.noise["placebo"])

    def _left(self) -> int:
        return self.plan.trainings - self.retraining.trainings

    def _is_enough(self, size: int) -> bool:
        """Whether the answer changes without so many of the nearest images, from two seeds."""
        return self.is_confirmed(self._without(1, size), self._removal(1, size))

    def _find_fewer(self, too_few: int, enough: int) -> None:
        """Look for the smallest number of nearest images that is enough, between these numbers, by bisection."""
        while enough - too_few > max(1, enough // 8) and self._left() > SINGLES:  # one or two now, two one by one
            middle = (too_few + enough) // 2
            if self._is_enough(middle):
                enough = middle
            else:
                too_few = middle

    def _removal(self, first: int, last: int) -> list[Intervention]:
        return [Intervention(0, "without", self._train.names[row], "") for row in self._nearest[first - 1 : last]]

    def _without(self, first: int, last: int) -> Effect:
        """The effect of leaving out the nearest images from one rank to another, counted from 1."""
        if (first, last) not in self._known:
            self._known[first, last] = self.measure(self._removal(first, last), (first, last))
        return self._known[first, last]

    def _control(self, seed: int, rows: np.ndarray) -> Control:
        removed = [Intervention(0, "without", self._train.names[row], "") for row in rows.tolist()]
        what = f"without {len(rows):,} random image{'s' * (len(rows) != 1)}" if len(rows) else f"from seed {seed}"
        label, probability = self._answer(removed, None if seed == self.seed else seed, what)
        return {"seed": seed, "placebo": len(rows), "label": label, "probability": probability}

    def _answer(
        self, changed: "Sequence[Intervention]", seed: int | None, what: str, model: "nn.Module | None" = None
    ) -> tuple[str, float]:
        model = self.retraining.train(changed, seed, what) if model is None else model
        values = self.retraining.probabilities(model, self.question.inputs)[0]
        label, probability = self._train.classes[int(values.argmax())], float(values[self.question.answer])
        number = f"training {self.retraining.trainings} of at most {self.plan.trainings}"
        self._reporter.log(f"{number}, {what}: {label}, {self.answer} with {probability:.1%}")
        return label, probability


def nearest(ranks: "Sequence[int]") -> str:
    """Images by their ranks, first and last, in words.

    >>> nearest([1, 1]), nearest([3, 3]), nearest([1, 16])
    ('the nearest image', 'image 3 by distance', 'the 16 nearest images')
    """
    first, last = ranks
    if first == last:
        return "the nearest image" if first == 1 else f"image {first} by distance"
    return f"the {last:,} nearest images"


def describe(path: str, search: Search, effects: "Sequence[Effect]") -> str:
    """What was found of the image at a path, in one sentence."""
    noise, answer, probability = search.noise, search.answer, search.question.probability
    before, low, high = (f"{value:.1%}".replace("%", " %") for value in (probability, noise["low"], noise["high"]))
    called, cause = f"{path} is called {answer}", search.cause
    if cause:
        count = len(cause["paths"])
        which = "this image: without it," if count == 1 else f"these {count} images: without them,"
        if count > SINGLES:
            which = f"its {count} nearest images of {answer} together: without them,"
        because = f" because of {which}" if cause["ranks"] else "; with these changes"
        return f"{called}{because} it is called {cause['label']}, by more than noise and from two seeds"
    controls = len(noise["seeds"] + noise["placebo"])
    others = f"{noise['flips']} of {controls} trainings with another seed or without random images"
    within = f"chance alone moves the probability of {answer}, {before}, between {low} and {high}"
    if search.chance_decides:
        single = ", not because of single images" if effects[0]["ranks"] else ""
        return f"{called} by chance{single}: {others} call it something else"
    if any(one["verdict"] == "not confirmed" for one in effects):
        return f"{called}; its answer changes by more than noise, but not so from another seed: {within}"
    if any(one["verdict"] == "more than noise" for one in effects):
        return f"{called} in any case: its probability changes by more than noise, its answer does not"
    return f"{called}, and nothing that was tried changes more than noise does: {within}"
