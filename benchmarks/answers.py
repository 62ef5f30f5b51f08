"""Answers: coverage of prediction sets, loss after the temperature, and which images are rejected.

MNIST, Fashion-MNIST, cifar10-3000 and hymenoptera at normal effort; the sets and the temperature are fitted on 20
random halves of the validation images each and measured on the other halves. Then the images that a run rejects:
other things than digits, at 1 % of the validation digits; other things than ants and bees, at 5 %. Last, what the
distance was chosen by: the nearest prototype and Mahalanobis' distance, on corrupted, mixed and shuffled validation
images. ``ONLY=mnist`` measures the data sets whose name contains it. ``UNDERHOOD_DATA/panel`` has the data.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from drawing import drawn
from PIL import Image, ImageDraw, ImageFont

from underhood import train
from underhood.analysis import cross_entropy_per_image
from underhood.analysis.calibration import (
    calibration_half,
    distance_limit,
    feature_distances,
    fit_temperature,
    prediction_sets,
    set_limits,
    softmax,
)
from underhood.analysis.inference import answers_of, features, logits_and_distances
from underhood.analysis.prototypes import fit_prototypes, training_rows
from underhood.core.images import Images
from underhood.data.read import ReadOptions, read_parts
from underhood.preparation import Preparation, prepare_image
from underhood.runs.checkpoint import Run, last_inputs
from underhood.training import Reporter
from underhood.training.record import load_finished

PANEL, ONLY = Path(os.environ.get("UNDERHOOD_DATA", "."), "panel"), os.environ.get("ONLY", "")
DATA = {"mnist": "mnist", "fashion": PANEL / "fashion", "cifar10-3000": PANEL / "cifar10-3000",
        "hymenoptera": PANEL / "hymenoptera"}  # fmt: skip
DIVISIONS, FEW = 20, 500
LETTERS = "ABCDEFGHJKLMNPQRTUVWXYadefhkmnprtuvwxy"  # without those that look like digits


def main() -> int:
    met = True
    for name, data in DATA.items():
        if ONLY not in name:
            continue
        with tempfile.TemporaryDirectory() as place:
            reject = 0.05 if name == "hymenoptera" else 0.01
            train(data, out=Path(place) / "run", report=False, reject=reject)
            run, _, loaded = load_finished(Path(place) / "run", Reporter())
            valid = loaded.dataset.valid
            logits, _ = logits_and_distances(run.model, valid.pixels, run.calibration)
            for coverage in (0.9, 0.95):
                met &= show(name, *divisions(logits, valid.labels, coverage))
            if name in ("mnist", "hymenoptera"):
                met &= show(name, *out_of_distribution(run, valid, name))
            show(name, compared(run, loaded.dataset.train, valid), True)
    return 0 if met else 1


def show(name: str, figures: dict[str, Any], met: bool) -> bool:
    """Print figures as JSON."""
    print(json.dumps({"data": name, **figures, "met": met}), flush=True)
    return met


def divisions(logits: np.ndarray, labels: np.ndarray, coverage: float) -> tuple[dict[str, Any], bool]:
    """Coverage, size and loss on the other halves, and whether the goals are met."""
    rows, losses, rng = [], [], np.random.default_rng(0)
    for _ in range(DIVISIONS):
        shuffled = rng.permutation(len(labels))
        half = np.zeros(len(labels), bool)
        half[shuffled[calibration_half(labels[shuffled])]] = True
        temperature = fit_temperature(logits[half], labels[half])
        before, after = softmax(logits[~half], 1.0), softmax(logits[~half], temperature)
        sets = prediction_sets(after, set_limits(softmax(logits[half], temperature), labels[half], coverage))
        own = labels[~half]
        held, sizes = sets[np.arange(len(own)), own], sets.sum(axis=1)
        of_class = [(held[own == label].mean(), sizes[own == label].mean()) for label in np.unique(own)]
        rows.append((held.mean(), sizes.mean(), (sizes > 1).mean(), *min(of_class)))
        change = cross_entropy_per_image(after, own) - cross_entropy_per_image(before, own)
        means = rng.choice(change, (500, len(change))).mean(axis=1)  # bootstrap
        losses.append((cross_entropy_per_image(before, own).mean(), change.mean(), *np.quantile(means, (0.025, 0.975))))
    held, size, several, hardest, hardest_size = np.mean(rows, axis=0).tolist()
    loss, change, low, high = np.mean(losses, axis=0).tolist()
    least = coverage - (0.03 if len(labels) // 2 < FEW else 0.01)
    figures = {
        "stated": coverage, "coverage": round(held, 4), "size": round(size, 3), "several": round(several, 4),
        "hardest_coverage": round(hardest, 4), "hardest_size": round(hardest_size, 3), "loss_before": round(loss, 4),
        "change": round(change, 5), "interval": [round(low, 5), round(high, 5)],
    }  # fmt: skip
    return figures, held >= least and low <= 0


def out_of_distribution(run: Run, valid: Images, name: str) -> tuple[dict[str, Any], bool]:
    """The fraction rejected of each kind of images, and whether the goals are met."""
    other = answers_of(run, valid.pixels[~calibration_half(valid.labels)])
    figures = {"validation": round(float(other.rejected.mean()), 4)}
    kinds, goals = (digit_kinds(run, valid), DIGIT_GOALS) if name == "mnist" else (photograph_kinds(run), {})
    for kind, pixels in kinds.items():
        figures[kind] = round(float(answers_of(run, pixels).rejected.mean()), 4)
    met = all(figures[kind] >= goals.get(kind, 0.9) for kind in kinds if not kind.startswith("drawn"))
    return figures, met and all(figures[kind] <= 0.03 for kind in kinds if kind.startswith("drawn"))


DIGIT_GOALS = {"fashion": 0.95, "photographs": 0.95, "noise": 0.99, "letters": 0.7, "other letters": 0.7}


def digit_kinds(run: Run, valid: Images) -> dict[str, np.ndarray]:
    """Images that show no digits, and digits that somebody drew, prepared for a run."""
    prepared, rng, some = run.preparation, np.random.default_rng(1), valid.pixels[:1000]
    shuffled = rng.permuted(some.reshape(len(some), -1), axis=1).reshape(some.shape)
    noise = rng.integers(0, 256, (500, 28, 28, 3), dtype=np.uint8)
    return {
        "noise": np.stack([prepare_image(Image.fromarray(one), prepared) for one in noise]),
        "noise as it is": rng.integers(0, 256, (500, *some.shape[1:]), dtype=np.uint8),
        "letters": letters(prepared, "DejaVuS"),
        "other letters": letters(prepared, ("STIXGeneral", "cmr10", "cmss10", "cmb10")),
        "fashion": read_parts(PANEL / "fashion", ReadOptions(preparation=prepared)).images["train"].pixels[:2000],
        "inverted": 255 - some,
        "shuffled": shuffled,
        "photographs": read_parts(PANEL / "hymenoptera", ReadOptions(preparation=prepared)).images["train"].pixels,
        "photographs, grey, 28 × 28": photographs_as_they_are(),
        "drawn": np.stack([prepare_image(drawn(number, 7).image, prepared) for number in range(1000)]),
        "drawn from mnist": np.stack([prepare_image(drawn(i, 7, valid).image, prepared) for i in range(1000)]),
    }


def photographs_as_they_are() -> np.ndarray:
    options = ReadOptions(size=28, channels=1, fit="crop")
    return read_parts(PANEL / "hymenoptera", options).images["train"].pixels


def letters(preparation: Preparation, fonts: str | tuple[str, ...], count: int = 380) -> np.ndarray:
    """Printed letters in some of matplotlib's fonts."""
    import matplotlib as mpl

    paths = sorted((Path(mpl.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    paths = [path for path in paths if path.name.startswith(fonts)]
    images = []
    for number in range(count):
        font = ImageFont.truetype(paths[number // len(LETTERS) % len(paths)], 56)
        image = Image.new("L", (96, 96), "white")
        ImageDraw.Draw(image).text((48, 48), LETTERS[number % len(LETTERS)], "black", font, anchor="mm")
        images.append(prepare_image(image, preparation))
    return np.stack(images)


def photograph_kinds(run: Run) -> dict[str, np.ndarray]:
    """Other data sets, prepared for a run on photographs."""
    places = {"cifar10-3000": PANEL / "cifar10-3000", "fashion": PANEL / "fashion", "mnist": "mnist"}
    read = {}
    for kind, place in places.items():
        options = ReadOptions(preparation=run.preparation, limit=300)
        read[kind] = read_parts(place, options).images["train"].pixels[:300]
    return read


def compared(run: Run, train_images: Images, valid: Images) -> dict[str, Any]:
    """The fraction of changed validation images that are further away than 99 % of validation images, by distance."""
    rows = training_rows(train_images.labels, last_inputs(run.model))[:5000]
    own, labels = features(run.model, train_images.pixels[rows]).numpy(), train_images.labels[rows]
    half = calibration_half(valid.labels)
    some = valid.pixels[~half][:300]
    found: dict[str, Any] = {}
    nearest = fit_prototypes(own, labels)
    measures = {"nearest": lambda x: feature_distances(x, nearest), "mahalanobis": mahalanobis(own, labels)}
    known = features(run.model, valid.pixels[half][:1000]).numpy()
    changed = {kind: features(run.model, pixels).numpy() for kind, pixels in corrupted(some).items()}
    for name, measure in measures.items():
        limit = distance_limit(measure(known), 0.01)
        found[name] = {kind: round(float((measure(x) > limit).mean()), 3) for kind, x in changed.items()}
    return found


def corrupted(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Validation images that show nothing any more: with noise, two in one, in pieces."""
    rng = np.random.default_rng(0)
    n, channels, height, width = pixels.shape
    noisy = np.clip(pixels + rng.normal(0, 100, pixels.shape), 0, 255).astype(np.uint8)
    mixed = ((pixels.astype(int) + pixels[rng.permutation(n)]) // 2).astype(np.uint8)
    side = min(height, width) // 4
    pieces = pixels[:, :, : 4 * side, : 4 * side].reshape(n, channels, 4, side, 4, side).transpose(0, 2, 4, 1, 3, 5)
    pieces = pieces.reshape(n, 16, channels, side, side)
    pieces = np.stack([one[rng.permutation(16)] for one in pieces]).reshape(n, 4, 4, channels, side, side)
    shuffled = pixels.copy()
    shuffled[:, :, : 4 * side, : 4 * side] = pieces.transpose(0, 3, 1, 4, 2, 5).reshape(n, channels, 4 * side, 4 * side)
    return {"corrupted": noisy, "mixed": mixed, "shuffled": shuffled}


def mahalanobis(x: np.ndarray, labels: np.ndarray) -> Any:
    """The distance to the nearest class mean, measured by the covariance within classes (Lee and others, 2018)."""
    means = np.stack([x[labels == label].mean(axis=0) for label in np.unique(labels)])
    centred = x - means[np.searchsorted(np.unique(labels), labels)]
    variances, axes = np.linalg.eigh(centred.T @ centred / len(x))
    whiten = axes / np.sqrt(np.maximum(variances, 0) + 0.01 * variances.mean())
    places = means @ whiten

    def distances(rows: np.ndarray) -> np.ndarray:
        white = rows @ whiten
        return ((white**2).sum(1)[:, None] + (places**2).sum(1)[None] - 2 * white @ places.T).min(axis=1)

    return distances


if __name__ == "__main__":
    sys.exit(main())
