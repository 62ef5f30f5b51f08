"""Shortcuts: can the class be predicted from what should not matter, such as the size of an image or its border?

A model learns the easiest thing that tells the classes apart. Where all images of one class have a black border, it
learns the border, its accuracy is high, and it fails on images from elsewhere. For each such cue a small forest of
trees is trained on that cue alone and cross-validated, on a sample of the training images. No torch here.

A cue is named a shortcut if its balanced accuracy is ``FAR`` of the way from chance to 100 % or more, and the lower end
of its 95 % interval ``SURELY`` of the way; or if it tells a single class from all others (an F1 score of ``TELLS``).
The border and the corners also have to tell more than the same measurements further inside: a texture, or a background,
that fills the image is no shortcut. The figures behind these numbers are in docs/data.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from underhood.core.images import Images
from underhood.data.parts import Parts
from underhood.data.split import folds, sample

MOST_IMAGES = 2000  # in the sample
FOLDS = 5
TREES = 40
FAR, SURELY = 1 / 3, 1 / 5  # of the way from chance to 100 %
TELLS, LEAST_OF_CLASS = 0.85, 20  # F1 score of a class, and how many of its images are in the sample at least
MORE = 0.15  # by which the border tells more than the inside, of the way and of the F1 score
STRIP, CORNER, INSET = 0.04, 0.125, 0.25  # of the shorter side: width of the border, side of a corner, where inside is
MAKE, MODEL, SOFTWARE, ORIENTATION, CHANGED = 0x010F, 0x0110, 0x0131, 0x0112, 0x0132  # EXIF tags
EXIF, TAKEN = 0x8769, 0x9003


class Shortcut(TypedDict):
    """What a cue tells of the class. accuracy: balanced, by cross-validation, from 0 to 1."""

    cue: str
    accuracy: float
    interval: tuple[float, float]  # 95 %
    chance: float
    classes: list[str]  # each of which the cue alone tells from all others
    sentence: str


@dataclass(frozen=True)
class _Measured:
    """Balanced accuracy with its 95 % interval, and the F1 score of each class, float [classes].

    It is 0 for rare classes, and where to answer the class always is hardly worse.
    """

    accuracy: float
    interval: tuple[float, float]
    chance: float
    f1: np.ndarray

    def way(self, accuracy: float) -> float:
        """How far an accuracy is on the way from chance to 100 %."""
        return (accuracy - self.chance) / (1 - self.chance)


def find_shortcuts(parts: Parts, seed: int = 0) -> list[Shortcut]:
    """The cues that predict the class of the training images far better than chance, the best first.

    parts: as ``read_parts`` returns them; of files, those in the sample are opened; seed: of the sample and the folds
    """
    classes = parts.images["train"].classes
    return [_shortcut(cue, one, classes) for cue, one, named in measure_cues(parts, seed) if named]


def measure_cues(parts: Parts, seed: int = 0) -> list[tuple[str, _Measured, bool]]:
    """Each cue that differs between images, what it tells, and whether it is a shortcut; the best first."""
    every = parts.images["train"]
    rows = sample(every.labels, MOST_IMAGES, seed)
    images, sizes = every.take(rows), parts.sizes[: len(every)][rows]
    groups = parts.groups["train"][rows] if "train" in parts.groups else None
    if len(images) < 2:
        return []
    fold = folds(images, FOLDS, seed, groups)
    if len(np.unique(images.labels[fold >= 0])) < 2:
        return []
    facts = _read_facts(_paths(parts, images.names))
    units = np.arange(len(images)) if groups is None else groups
    boxes = _content_boxes(images.pixels, sizes, parts.preparation.fit, facts)

    def measured(values: np.ndarray) -> _Measured:
        return _measure(values, images, fold, units, seed)

    cues: dict[str, np.ndarray] = {
        "image size": _size_values(sizes),
        "file format": _format_values(facts),
        "EXIF": _exif_values(facts),
        "mean brightness": images.pixels.mean(axis=(1, 2, 3), dtype=np.float32)[:, None],
    }
    found = [(cue, one := measured(values), _is_far(one)) for cue, values in cues.items() if _differs(values)]
    for cue, measure in {"the border": _strips, "the corner": _corners}.items():
        values = _of_boxes(measure, images.pixels, boxes)
        if _differs(values):
            one = measured(values)
            inside = _of_boxes(measure, images.pixels, _inset(boxes)) if _is_far(one) else values
            found.append((cue, one, _is_far(one) and _tells_more(one, measured(inside))))
    return _best_first(found)


def shortcut_lines(shortcuts: Sequence[Shortcut]) -> list[str]:
    """A line for the terminal for each shortcut."""
    return [f"shortcut: {one['sentence']}" for one in shortcuts]


def _best_first(found: list[tuple[str, _Measured, bool]]) -> list[tuple[str, _Measured, bool]]:
    """In the order of their accuracy. Of the border and the corners, which overlap, only the better one is named."""
    found = sorted(found, key=lambda one: -one[1].accuracy)
    edges = [cue for cue, _, named in found if named and cue in ("the border", "the corner")]
    return [(cue, one, named and cue not in edges[1:]) for cue, one, named in found]


def _is_far(one: _Measured) -> bool:
    far = one.way(one.accuracy) >= FAR and one.way(one.interval[0]) >= SURELY
    return far or bool((one.f1 >= TELLS).any())


def _tells_more(border: _Measured, inside: _Measured) -> bool:
    """Whether the border tells more of the class than what is further inside."""
    further = border.way(border.accuracy) - inside.way(inside.accuracy)
    return further >= MORE or bool(((border.f1 >= TELLS) & (border.f1 - inside.f1 >= MORE)).any())


def _shortcut(cue: str, one: _Measured, classes: tuple[str, ...]) -> Shortcut:
    tells = [name for name, f1 in zip(classes, one.f1.tolist(), strict=True) if f1 >= TELLS]
    known = f"predicts the class of {one.accuracy:.0%} of the images (chance {one.chance:.0%})".replace("%", " %")
    if one.way(one.accuracy) < FAR:
        known = f"tells {', '.join(map(repr, tells[:3]))} from all other classes"
    return {
        "cue": cue.removeprefix("the "),
        "accuracy": round(one.accuracy, 6),
        "interval": one.interval,
        "chance": one.chance,
        "classes": tells,
        "sentence": f"{cue} alone {known}: unless that is what the classes are about, a model learns it instead",
    }


def _measure(values: np.ndarray, images: Images, fold: np.ndarray, units: np.ndarray, seed: int) -> _Measured:
    """What values [n, v] tell of the class of images that the forest was not trained on. units: groups, int64 [n]"""
    from sklearn.ensemble import ExtraTreesClassifier

    predicted = np.full(len(images), -1)
    for number in np.unique(fold[fold >= 0]).tolist():
        held = fold == number
        forest = ExtraTreesClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=seed)
        predicted[held] = forest.fit(values[~held], images.labels[~held]).predict(values[held])
    scored = fold >= 0
    known = np.unique(images.labels[scored])
    recall, variance, f1 = [], 0.0, np.zeros(len(images.classes))
    for label in known.tolist():
        mine = scored & (images.labels == label)
        right, count = int((predicted[mine] == label).sum()), int(mine.sum())
        recall.append(right / count)
        independent = len(np.unique(units[mine]))
        smoothed = (right / count * independent + 1) / (independent + 2)
        variance += smoothed * (1 - smoothed) / (independent + 2)
        score, always = 2 * right / (count + (predicted == label).sum()), 2 * count / (count + scored.sum())
        if count >= LEAST_OF_CLASS and score >= always + FAR * (1 - always):  # than to answer this class always
            f1[label] = score
    accuracy, half = float(np.mean(recall)), 1.96 * float(np.sqrt(variance)) / len(known)
    return _Measured(accuracy, (max(0.0, accuracy - half), min(1.0, accuracy + half)), 1 / len(known), f1)


def _differs(values: np.ndarray) -> bool:
    return values.shape[1] > 0 and bool((values != values[0]).any())


def _size_values(sizes: np.ndarray) -> np.ndarray:
    width, height = sizes.T.astype(float)
    return np.stack([width, height, width / height, width * height], axis=1)


def _paths(parts: Parts, names: Sequence[str]) -> list[Path]:
    """The image files; [] where the images are no files of their own."""
    place = Path(parts.where)
    root = place if place.is_dir() else place.parent
    return [root / name for name in names] if names and (root / names[0]).is_file() else []


def _read_facts(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What each file says of itself, without its pixels: format, mode, quality, and EXIF tags. {} where it fails."""
    from PIL import Image

    facts: list[dict[str, Any]] = []
    for path in paths:
        fact: dict[str, Any] = {}
        try:
            with Image.open(path) as image:
                tables = getattr(image, "quantization", None) or {}
                fact |= {"format": image.format, "suffix": path.suffix.lower(), "mode": image.mode}
                fact["quality"] = sum(map(sum, tables.values())) / max(1, len(tables))
                tags = image.getexif()
                fact["exif"] = dict(tags) | dict(tags.get_ifd(EXIF))
        except Exception:  # whatever is wrong with it: its pixels could be read
            pass
        facts.append(fact)
    return facts


def _one_hot(texts: Sequence[Any], most: int = 12) -> np.ndarray:
    """A column for each of the most frequent texts, float [n, kinds]."""
    kinds, counts = np.unique([str(text) for text in texts], return_counts=True)
    frequent = kinds[np.argsort(-counts, kind="stable")[:most]]
    return (np.array([str(text) for text in texts])[:, None] == frequent).astype(float)


def _format_values(facts: list[dict[str, Any]]) -> np.ndarray:
    if not facts:
        return np.empty((0, 0))
    texts = [_one_hot([fact.get(name) for fact in facts]) for name in ("format", "suffix", "mode")]
    return np.hstack([*texts, np.array([[fact.get("quality", 0.0)] for fact in facts])])


def _exif_values(facts: list[dict[str, Any]]) -> np.ndarray:
    """Whether there is EXIF, how much, by which camera and program, which way up, on which day at what hour."""
    if not facts:
        return np.empty((0, 0))
    tags = [fact.get("exif", {}) for fact in facts]
    texts = [_one_hot([one.get(tag) for one in tags]) for tag in (MAKE, MODEL, SOFTWARE, ORIENTATION)]
    return np.hstack([*texts, np.array([[len(one), *_day_and_hour(one)] for one in tags], float)])


def _day_and_hour(tags: dict[int, Any]) -> tuple[float, float]:
    from datetime import datetime

    try:
        when = datetime.strptime(str(tags.get(TAKEN) or tags.get(CHANGED)).strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return -1.0, -1.0
    return float(when.toordinal()), when.hour + when.minute / 60


def _content_boxes(pixels: np.ndarray, sizes: np.ndarray, fit: str, facts: list[dict[str, Any]]) -> np.ndarray:
    """Where the image is in its pixels, without padding: int [n, 4], left, top, right, bottom."""
    height, width = pixels.shape[2:]
    stored = sizes.astype(float)
    turned = [fact.get("exif", {}).get(ORIENTATION, 1) in (5, 6, 7, 8) for fact in facts]
    if any(turned):
        stored[turned] = stored[turned][:, ::-1]
    if fit != "pad":
        return np.tile([0, 0, width, height], (len(pixels), 1))
    scale = np.minimum(width / stored[:, 0], height / stored[:, 1])
    inner = np.maximum(1, np.round(stored * scale[:, None])).astype(int)
    start = ([width, height] - inner) // 2
    return np.hstack([start, start + inner])


def _inset(boxes: np.ndarray) -> np.ndarray:
    """Boxes further inside, int [n, 4]."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    x, y = (width * INSET).astype(int), (height * INSET).astype(int)
    return boxes + np.stack([x, y, -x, -y], axis=1)


def _of_boxes(measure: Callable[[np.ndarray, int], list[np.ndarray]], pixels: np.ndarray, boxes: np.ndarray) -> Any:
    """Mean and standard deviation of each channel in parts of each box: float [n, values].

    measure: from images [n, c, h, w] and the shorter side of the whole image to parts of them, each [n, c, …]
    """
    kinds, which = np.unique(boxes, axis=0, return_inverse=True)
    rows: list[np.ndarray] = [np.empty(0)] * len(pixels)
    for number, (left, top, right, bottom) in enumerate(kinds.tolist()):
        members = np.flatnonzero(which.reshape(-1) == number)
        some = pixels[members, :, top:bottom, left:right].astype(np.float32)
        flat = [part.reshape(*part.shape[:2], -1) for part in measure(some, min(pixels.shape[2:]))]
        values = np.hstack([one for part in flat for one in (part.mean(axis=2), part.std(axis=2))])
        for member, row in zip(members.tolist(), values, strict=True):
            rows[member] = row
    return np.stack(rows)


def _strips(images: np.ndarray, side: int) -> list[np.ndarray]:
    """The four edges of images [n, c, h, w], a few pixels wide."""
    wide = max(1, round(STRIP * side))
    return [images[:, :, :wide], images[:, :, -wide:], images[..., :wide], images[..., -wide:]]


def _corners(images: np.ndarray, side: int) -> list[np.ndarray]:
    """The four corners of images [n, c, h, w]."""
    wide = max(1, round(CORNER * side))
    ends = slice(None, wide), slice(-wide, None)
    return [images[:, :, y, x] for y in ends for x in ends]
