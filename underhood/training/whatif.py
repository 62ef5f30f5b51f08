"""A finished run, trained again in memory with something changed and everything else equal. Nothing is written."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from underhood.core.errors import DataError, RunError
from underhood.data.named import NAMES
from underhood.data.read import LoadedData
from underhood.preparation import prepare_image
from underhood.preparation.files import BadImageError, expanduser
from underhood.runs import read_json
from underhood.runs.folder import environment, read_config
from underhood.runs.interventions import Intervention, read_interventions
from underhood.training import Reporter, RunLog
from underhood.training.config import TrainConfig
from underhood.training.interventions import Steering, intervene
from underhood.training.learners import Setup
from underhood.training.recipe import Recipe
from underhood.training.record import load_finished, recorded_threads, stored_recipe
from underhood.training.setup import make_setup
from underhood.training.threads import cpu_threads, pinned_threads

if TYPE_CHECKING:
    from torch import Tensor, nn

    from underhood.core.images import Images
    from underhood.runs.checkpoint import Run

ENVIRONMENT = ("underhood", "torch", "processor", "threads", "processes", "device")  # that change the last digits


class Original(NamedTuple):
    """A finished run, and what it takes to train it again."""

    run: "Run"
    config: TrainConfig
    recipe: Recipe
    loaded: LoadedData
    interventions: list[Intervention]


def load_original(folder: Path, reporter: Reporter) -> Original:
    """Read a finished run. Raises UnderhoodError, also where its images have changed."""
    run, config, loaded = load_finished(folder, reporter)
    stored = read_config(folder)
    config = replace(
        config, track=None, device="cpu" if stored.get("device") == "cpu" else "auto", threads=recorded_threads(folder)
    )
    return Original(run, config, stored_recipe(folder, stored), loaded, read_interventions(folder))


class FoundImage(NamedTuple):
    """An image that a user names."""

    path: str
    label: str | None  # None: it is not known
    pixels: np.ndarray  # uint8 [1, c, h, w]


class Retraining:
    """Trains a run again, as often as it is asked to: its data are read once.

    ``setup`` is that of the run, not trained; ``before`` is the model to compare with, the run's own; ``trainings`` is
    how many trainings there were. A model here takes what the learner trains on: pixels [n, c, h, w], or with
    ``--tune head`` features [n, features].
    """

    def __init__(self, original: Original, reporter: Reporter):
        self.original, self.trainings = original, 0
        self._reporter = reporter
        self.setup = self._new_setup(original.interventions, None)
        self.before = self._same_machine_model()

    @property
    def steps(self) -> int:
        """The number of steps of the run."""
        stopped = [one.step for one in self.original.interventions if one.what == "stop"]
        return min([self.original.recipe.epochs * len(self.setup.learn.dls.train), *stopped])

    def operations(self) -> float:
        """Multiply-adds of a training, forwards. Those of a last layer on features are not counted: they are few."""
        from underhood.analysis.inference import multiply_adds

        train, recipe = self.original.loaded.dataset.train, self.original.recipe
        if recipe.tune == "head":
            return 0.0
        return float(recipe.epochs * len(train) * multiply_adds(self.original.run.model, train.pixels[0]))

    def train(self, changed: Sequence[Intervention] = (), seed: int | None = None, what: str = "") -> "nn.Module":
        """The model after a training with these changes beside the run's own.

        seed: of the initial weights, the order and the augmentation, where it is another than the run's; the images
        that are held out and the pixel statistics stay. Raises UnderhoodError.
        """
        from underhood.core.schedule import SCHEDULES

        original, recipe = self.original, self.original.recipe
        setup = self._new_setup(merged(original.interventions, changed, recipe.lr), seed)
        steering = Steering(None, recipe.lr, SCHEDULES[original.config.schedule], setup.interventions)
        self.trainings += 1
        learn, what = setup.learn, f"training {self.trainings}{what and f', {what}'}"
        with cpu_threads(setup, original.config.threads), pinned_threads(learn):
            for step in learn.steps(recipe.epochs, recipe.lr, steering.schedule):
                self._reporter.progress(what, step.number, step.total)
                if steering.ends_at(step.number):
                    break
            learn.state_dict()  # raises DivergedError where a loss is NaN or infinite
        return learn.model

    def probabilities(self, model: "nn.Module", inputs: "np.ndarray | Tensor | None" = None) -> np.ndarray:
        """The probabilities of each class, float32 [n, classes], for inputs [n, …]; by default the validation images.

        They are at the run's temperature, as ``predict`` states them, for each model, and computed with the run's
        number of threads. Raises UnderhoodError where the model predicts NaN.
        """
        from underhood.analysis.calibration import softmax
        from underhood.analysis.inference import predict_proba

        with cpu_threads(self.setup, self.original.config.threads):
            found = predict_proba(model, self._inputs("valid") if inputs is None else inputs)
        with np.errstate(divide="ignore"):  # the logits, up to a constant; of 0 they are −∞, which stays 0
            return softmax(np.log(found.numpy()), self.original.run.calibration.temperature)

    def inputs_of(self, pixels: np.ndarray) -> "np.ndarray | Tensor":
        """What the models here take, [n, …], for pixels, uint8 [n, c, h, w]."""
        from underhood.analysis.inference import features

        return features(self.original.run.model, pixels) if self.original.recipe.tune == "head" else pixels

    def nearest(self, pixels: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
        """Of these training images, int64 [m], the nearest ones by the run's features: int64 [≤ count].

        pixels: of the image to compare with, uint8 [1, c, h, w]
        """
        import torch

        from underhood.analysis.inference import nearest_images

        train = self.original.loaded.dataset.train
        if self.original.recipe.tune != "head":
            return nearest_images(self.original.run.model, pixels, train, rows, count)[0]
        own, known = torch.as_tensor(self.inputs_of(pixels)), torch.as_tensor(self._inputs("train"))
        distances = torch.cdist(own, known[torch.from_numpy(rows)])[0]
        return rows[distances.topk(min(count, len(rows)), largest=False).indices.numpy()]

    def load(self, folder: Path) -> "nn.Module":
        """The model of a run that was trained with changes. Raises RunError."""
        from underhood.runs.checkpoint import load_run

        self.trainings += 1
        return self._trained_part(load_run(folder))

    def equals_run(self, model: "nn.Module") -> bool:
        """Whether a model's weights are the run's, bit for bit."""
        import torch

        own, theirs = model.state_dict(), self._trained_part(self.original.run).state_dict()
        return all(torch.equal(own[name].cpu(), theirs[name].cpu()) for name in theirs)

    def labels(self) -> np.ndarray:
        """The label of each training image, int64 [n], as the run was trained; −1 for those that it left out."""
        train = self.original.loaded.dataset.train
        labels, rows = train.labels.copy(), {name: i for i, name in enumerate(train.names)}
        for one in self.original.interventions:
            if one.what == "relabel":
                labels[rows[one.before]] = train.classes.index(one.after)
        labels[[rows[one.before] for one in self.original.interventions if one.what == "without"]] = -1
        return labels

    def _inputs(self, part: str) -> "np.ndarray | Tensor":
        known: Images | tuple[Tensor, Tensor] = getattr(self.setup.learn.dls, part).dataset
        return known[0] if isinstance(known, tuple) else known.pixels

    def _new_setup(self, interventions: Sequence[Intervention], seed: int | None) -> Setup:
        run, config, recipe, loaded, _ = self.original
        config = config if seed is None else replace(config, seed=seed)
        setup = make_setup(config, RunLog(Reporter()), recipe=recipe, loaded=loaded)
        own, before = setup.published, run.pretrained
        if own and before and own["sha256"] != before.get("sha256"):
            raise RunError(f"{own['source']} is not the file that {run.path} was trained with: restore it")
        intervene(setup, interventions)
        return setup

    def _trained_part(self, run: "Run") -> "nn.Module":
        from underhood.training.tune import last_layer

        model = last_layer(run.model) if self.original.recipe.tune == "head" else run.model  # type: ignore[arg-type]
        return copy.deepcopy(model).to(self.setup.learn.device)

    def _same_machine_model(self) -> "nn.Module":
        """The run's model; where this machine or its versions are others, that of the same training here."""
        recorded = read_json(self.original.run.path, "environment.json")
        with cpu_threads(self.setup, self.original.config.threads):
            here = environment(str(self.setup.learn.device))
        others = [f"{name} was {recorded.get(name)}, is {here[name]}" for name in ENVIRONMENT
                  if recorded.get(name) != here[name]]  # fmt: skip
        if not others:
            return self._trained_part(self.original.run)
        self._reporter.warn(f"{', '.join(others)}: the last digits may differ, so the run is trained here, too")
        return self.train(what="nothing changed")


def merged(own: Sequence[Intervention], changed: Sequence[Intervention], lr: float) -> list[Intervention]:
    """A run's own interventions and further ones, in the order of their steps.

    A further learning rate replaces one at the same step. lr: the highest one at the start
    """
    replaced = {one.step for one in changed if one.what == "lr"}
    kept = [one for one in own if one not in changed and not (one.what == "lr" and one.step in replaced)]
    rows, now = [], repr(float(lr))
    for one in sorted([*kept, *changed], key=lambda one: one.step):
        rows.append(one._replace(before=now) if one.what == "lr" else one)
        now = one.after if one.what == "lr" else now
    return rows


def locate(original: Original, path: str) -> tuple[str, int] | None:
    """(part, row) of an image of the run, by its name or as a file; None if it is none of them."""
    parts = original.loaded.dataset.parts
    for part, images in parts.items():
        if path in images.names:
            return part, list(images.names).index(path)
    file, data = expanduser(path), Path(original.config.data)
    if str(data) in NAMES or not data.exists() or not file.is_file():
        return None
    root = data if data.is_dir() else data.parent
    for part, images in parts.items():
        for row, name in enumerate(images.names):
            other = root / name
            if other.name == file.name and other.is_file() and other.samefile(file):
                return part, row
    return None


def training_image(original: Original, path: str, what: str) -> str:
    """The name of a training image. what: is to happen to it, for the message. Raises DataError for any other."""
    found = locate(original, path)
    if found is None:
        raise _unknown_image(original, path, ["train"])
    part, row = found
    name = original.loaded.dataset.parts[part].names[row]
    if part != "train":
        raise DataError(f"{name} is in the {part} part of {original.run.path}: only training images can {what}")
    return name


def find_image(original: Original, path: str) -> FoundImage:
    """An image of the run, by its name, or in any file. Raises DataError."""
    found, parts = locate(original, path), original.loaded.dataset.parts
    if found:
        images, i = parts[found[0]], found[1]
        return FoundImage(images.names[i], images.classes[images.labels[i]], images.pixels[i : i + 1])
    if not expanduser(path).is_file():
        raise _unknown_image(original, path, [part for part in parts if part != "train"])
    try:
        return FoundImage(path, None, prepare_image(str(expanduser(path)), original.run.preparation)[None])
    except BadImageError as bad:
        raise DataError(f"{path} {bad}: name another image") from None


def _unknown_image(original: Original, path: str, parts: Sequence[str]) -> DataError:
    names = [name for part in parts for name in original.loaded.dataset.parts[part].names]
    near = get_close_matches(path, names, n=3)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    kind = "training image" if parts == ["train"] else "image"
    return DataError(f"{path} is no {kind} of {original.run.path}: {hint}pictures.csv lists them")
