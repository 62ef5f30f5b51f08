"""What a leak is worth: the accuracy as the images are split, and without near-duplicates of training images.

A near-duplicate of a training image, or an image of its group, is easier to classify than a new one. The accuracy on
such validation images says how well a model remembers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from underhood.analysis import accuracy_interval
from underhood.core.images import Dataset, Images
from underhood.data.cache import take_images
from underhood.data.near_duplicates import NearDuplicates, near_duplicate_groups
from underhood.data.parts import Parts, ReadOptions, read_parts
from underhood.data.read import LoadedData
from underhood.data.split import hold_out, join, link_equal, unite
from underhood.training import Reporter, RunLog
from underhood.training.config import TrainConfig

FIFTH = 0.2  # of the images are held out where the data has no validation part, as ``read`` does
ENOUGH, SHARE = 30, 0.2  # leak-free validation images, at least: so many, and this fraction of them


@dataclass(frozen=True)
class Split:
    """Which of the joined images of a data set train and validate: int64 [n] and [m], rows."""

    train: np.ndarray
    valid: np.ndarray
    own: bool  # whether it is the data's own


def default_split(parts: Parts, images: Images) -> Split:
    """The split that ``read`` makes with its defaults. images: the joined images of all parts"""
    groups = np.concatenate(list(parts.groups.values())) if parts.groups else None
    if len(parts.images) == 1:
        return Split(*hold_out(images, FIFTH, 0, groups), own=False)
    starts = np.cumsum([0] + [len(part) for part in parts.images.values()])
    rows = {part: np.arange(starts[i], starts[i + 1]) for i, part in enumerate(parts.images)}
    return Split(rows["train"], rows["valid"] if "valid" in rows else rows["test"], own=True)


def join_groups(parts: Parts, near: np.ndarray) -> np.ndarray:
    """Groups of near-duplicates, int64 [n], united with the groups that the data has: int64 [n]."""
    if not parts.groups:
        return near
    links = [link_equal(near), link_equal(np.concatenate(list(parts.groups.values())))]
    first, second = (np.concatenate(side) for side in zip(*links, strict=True))
    return unite(len(near), first, second)


def leaked(groups: np.ndarray, train: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Which validation images share a group with a training image, bool [m].

    groups: of all images, int64 [n]; train, valid: their rows, int64 [k] and [m]
    """
    return np.isin(groups[valid], groups[train])


def enough(labels: np.ndarray, clean: np.ndarray) -> bool:
    """Whether enough validation images are leak-free to measure an accuracy on them.

    At least ENOUGH, and SHARE of all, and one or more of each class that has validation images.

    labels: int [m]; clean: which are leak-free, bool [m]
    """
    kept = labels[clean]
    return len(kept) >= max(ENOUGH, SHARE * len(labels)) and set(kept.tolist()) == set(labels.tolist())


def accuracy(right: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """The accuracy, its 95 % interval and the number of images.

    right: whether each prediction is correct, bool [m]; groups: int64 [m], see ``accuracy_interval``
    """
    low, high = accuracy_interval(right, groups)
    return {
        "accuracy": round(float(right.mean()), 6),
        "interval": [round(low, 6), round(high, 6)],
        "images": len(right),
    }


def measure_leak(parts: Parts, near: NearDuplicates, config: TrainConfig, reporter: Reporter) -> dict[str, Any]:
    """Both accuracies, with the model that ``train`` would choose: as the data is split, and leak-free.

    near: the near-duplicates among the images of all parts, one part after the other
    config: the data that the parts were read from, and how models are trained

    Returns as_split and leak_free, each with its accuracy, interval and images (None where nothing leaks), leaked (how
    many validation images), pairs (the paths of a validation and a training image each) and how, in one sentence.
    Raises UnderhoodError.
    """
    from underhood.training.choice import choose_config

    images = join(list(parts.images.values()))
    split, groups = default_split(parts, images), join_groups(parts, near_duplicate_groups([images], near))
    unclean = leaked(groups, split.train, split.valid)
    crossing = crossing_pairs(near.pairs, split)
    result: dict[str, Any] = {
        "as_split": None, "leak_free": None, "leaked": int(unclean.sum()), "images": len(split.valid),
        "pairs": [[images.names[a], images.names[b]] for a, b in crossing.tolist()],
        "how": "No validation image has a near-duplicate or an image of its group among the training images.",
    }  # fmt: skip
    if not unclean.any():
        return result
    reporter.log("leaks: choosing a model …")
    config, _ = choose_config(config, RunLog(reporter))
    parts = _prepared_for(config, parts, reporter)
    images = join(list(parts.images.values()))
    reporter.log("leaks: training on the images as they are split …")
    right = _right(parts, images, split.train, split.valid, config)
    result["as_split"] = accuracy(right, groups[split.valid])
    if enough(images.labels[split.valid], ~unclean):
        result["leak_free"] = accuracy(right[~unclean], groups[split.valid][~unclean])
        result["how"] = (
            f"One model: leak-free are the {int((~unclean).sum()):,} of {len(split.valid):,} validation images that "
            "have no near-duplicate or image of their group among the training images."
        )
        return result
    reporter.log("leaks: training on a split that keeps near-duplicates and groups together …")
    rows = np.sort(np.concatenate([split.train, split.valid]))
    some = images.take(rows)
    train, valid = hold_out(some, len(split.valid) / len(rows), 0, groups[rows])
    result["leak_free"] = (
        accuracy(_right(parts, some, train, valid, config), groups[rows][valid]) if len(valid) else None
    )
    result["how"] = (
        f"Two models: {int((~unclean).sum()):,} of {len(split.valid):,} validation images are leak-free, too few "
        "to measure on, so a second model was trained on a split that keeps near-duplicates and groups together."
    )
    return result


def crossing_pairs(pairs: np.ndarray, split: Split) -> np.ndarray:
    """The pairs [m, 2] of a validation image and a training image, in this order: int64 [k, 2]."""
    found = np.concatenate([pairs, pairs[:, ::-1]])
    return found[np.isin(found[:, 0], split.valid) & np.isin(found[:, 1], split.train)]


def _prepared_for(config: TrainConfig, parts: Parts, reporter: Reporter) -> Parts:
    """The same parts, as the model takes them: a backbone takes larger images."""
    from underhood.training.setup import has_published_weights, shape_for

    if not has_published_weights(config):
        return parts
    size, channels, fit = shape_for(config)
    options = ReadOptions(
        size=size, channels=channels, fit=fit, cache=config.cache, progress=reporter.read_progress(),
        group_by=config.group_by,
    )  # fmt: skip
    return read_parts(config.data, options)


def _right(parts: Parts, images: Images, train: np.ndarray, valid: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Whether a model trained on some rows classifies others correctly, bool [m]."""
    held_out = take_images(images, valid)
    return predict_held_out(parts, take_images(images, train), held_out, config).argmax(axis=1) == held_out.labels


def predict_held_out(parts: Parts, train: Images, held_out: Images, config: TrainConfig | None = None) -> np.ndarray:
    """Probabilities of images by a model that was trained on others: float32 [held out, classes].

    config: how it is trained; by default with effort ``fast``
    Raises UnderhoodError.
    """
    from underhood.analysis.inference import predict_proba
    from underhood.core.schedule import one_cycle
    from underhood.training.recipe import choose_for
    from underhood.training.setup import make_learner

    config = config or TrainConfig(effort="fast")
    loaded = LoadedData(Dataset(parts.name, train, held_out), parts.preparation, [], [], {})
    recipe = choose_for(loaded.dataset, config, config.model)
    setup = make_learner(loaded, recipe, config)
    for _ in setup.learn.steps(setup.recipe.epochs, setup.recipe.lr, one_cycle):
        pass
    return predict_proba(setup.network, held_out.pixels, setup.learn.device).numpy()
