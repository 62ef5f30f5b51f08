"""Cross-validation of candidates on the same folds of the training images, at two numbers of images."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from underhood.core.errors import DivergedError, UnderhoodError
from underhood.core.images import Dataset, Images
from underhood.core.schedule import SCHEDULES
from underhood.data.split import image_hashes, link_equal, sample, unite
from underhood.training import RunLog
from underhood.training.candidates import SHARES, Candidate, operations
from underhood.training.config import TrainConfig
from underhood.training.distributed import SINGLE_PROCESS
from underhood.training.recipe import choose_for
from underhood.training.setup import Setup, load_config_data, make_learner, make_network
from underhood.training.threads import cpu_threads
from underhood.training.tune import features_of, head_on, reset_head

FOLDS, MOST_FOLDS = 5, 3  # into how many parts the images are divided, and how many of them are tested on at most
MOST_COMPARED = 4000  # training images that take part
SURE = 3.29  # z of the intervals (99.9 %) by which a candidate is given up after a fold


@dataclass
class _Entry:
    """A candidate with its training images."""

    candidate: Candidate
    images: Images
    frozen: Setup | None = None  # the backbone, where only its head is trained,
    features: torch.Tensor | None = None  # and what it says of the images [n, features]


def compare(
    candidates: list[Candidate], config: TrainConfig, budget: float, log: RunLog,
    shares: tuple[float, ...] = SHARES,
) -> None:  # fmt: skip
    """Fill in which test images each candidate predicts right, fold by fold.

    A candidate that is surely worse than another is given up. After the first fold there are further ones while
    the cost stays within the budget. shares: of the images, to train
    on. Raises UnderhoodError where every candidate diverges.
    """
    for one in candidates:
        one.loaded = one.loaded or load_config_data(one.config, None, log.reporter)
    entries = _entries(candidates, config, log)
    images = entries[0].images
    sizes: tuple[int, ...] = ()
    together = _kept_together(entries[0])
    for fold, (train, test) in enumerate(_folds(images, config.seed, together), start=1):
        log.reporter.progress("comparing models", fold - 1, MOST_FOLDS)
        parts = [_part(images, train, share / shares[-1], config.seed) for share in shares]
        sizes = sizes or tuple(len(part) for part in parts)  # of all folds, whose sizes differ by an image
        for entry in entries:
            _compare_on(entry, dict(zip(sizes, parts, strict=True)), test)
        if all(entry.candidate.reason for entry in entries):
            raise UnderhoodError(entries[0].candidate.reason)
        entries = [entry for entry in entries if not entry.candidate.reason]
        best = max(entry.candidate.interval(SURE)[0] for entry in entries)
        for entry in entries:
            if entry.candidate.interval(SURE)[1] < best:
                entry.candidate.reason = f"given up after {fold} of {MOST_FOLDS} folds: a lower accuracy"
        entries = [entry for entry in entries if not entry.candidate.reason]
        spent = sum(entry.candidate.cost(entry.candidate.done) for entry in entries if entry.frozen is None)
        if fold == MOST_FOLDS or len(entries) == 1 or spent * (fold + 1) / fold > budget:
            break
    log.reporter.progress("comparing models", MOST_FOLDS, MOST_FOLDS)


def _part(images: Images, rows: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A fraction of these rows, int64, of each class in proportion and at least an image."""
    if share == 1:
        return rows
    return rows[sample(images.labels[rows], max(len(images.classes), int(len(rows) * share)), seed)]


def _compare_on(entry: _Entry, parts: dict[int, np.ndarray], test: np.ndarray) -> None:
    """Train on the smaller and the larger part of the images, and test. A candidate that diverges is left out.

    parts: number of images → rows
    """
    one = entry.candidate
    for size, rows in parts.items():
        started = time.perf_counter()
        try:
            right = _evaluate(entry, rows, test)
        except DivergedError as error:
            one.right, one.reason = {}, f"left out: {error}"
            return
        one.right.setdefault(size, []).extend(right)
        one.seconds += time.perf_counter() - started
        one.done += operations(replace(one, config=_config(one)), len(rows))


def _entries(candidates: list[Candidate], config: TrainConfig, log: RunLog) -> list[_Entry]:
    """The candidates with the same images in the same order, and with features where the backbone is frozen."""
    parts = [one.loaded.dataset.train for one in candidates if one.loaded is not None]
    known = set.intersection(*(set(part.names) for part in parts))  # held out by content, which depends on the size
    names = [name for name in parts[0].names if name in known]
    if len(names) > MOST_COMPARED:
        labels = dict(zip(parts[0].names, parts[0].labels.tolist(), strict=True))
        names = [names[i] for i in sample(np.array([labels[name] for name in names]), MOST_COMPARED, config.seed)]
    entries = []
    for one, part in zip(candidates, parts, strict=True):
        row = {name: i for i, name in enumerate(part.names)}
        entry = _Entry(one, part.take(np.array([row[name] for name in names])))
        if one.config.tune == "head" and one.loaded is not None:
            started = time.perf_counter()
            recipe = choose_for(one.loaded.dataset, one.config, one.config.model)
            entry.frozen = make_network(one.loaded, recipe, one.config, SINGLE_PROCESS, None)
            progress = partial(log.reporter.progress, "computing features")
            whole = len(part) <= 2 * len(names)  # whose features are kept for the training
            of_these, _ = features_of(entry.frozen, part if whole else entry.images, one.config, progress)
            entry.features = of_these[[row[name] for name in names]] if whole else of_these
            one.seconds += time.perf_counter() - started
        entries.append(entry)
    return entries


def _kept_together(entry: _Entry) -> np.ndarray:
    """Equal numbers for images that are in the same fold, [n]: copies, and groups where there are any."""
    images, loaded = entry.images, entry.candidate.loaded
    hashes = image_hashes(images)
    if loaded is None or not loaded.groups:
        return hashes
    group = dict(zip(loaded.dataset.train.names, loaded.groups["train"].tolist(), strict=True))
    pairs = zip(link_equal(hashes), link_equal(np.array([group[name] for name in images.names])), strict=True)
    return unite(len(images), *(np.concatenate(ends) for ends in pairs))


def _folds(images: Images, seed: int, together: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to train and to test on, int64 each. None where each class has one image, or one group.

    together: of ``_kept_together``
    """
    most = max(len(np.unique(together[images.labels == label])) for label in range(len(images.classes)))
    if most < 2:
        return
    split = StratifiedGroupKFold(min(FOLDS, most), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class has fewer images than there are folds
        yield from split.split(images.labels, images.labels, together)


def _config(one: Candidate) -> TrainConfig:
    """How a candidate is trained to compare it: a network from scratch with the recipe of ``normal`` at most."""
    config = replace(one.config, cache=False)
    shorter = config.tune == "none" and config.effort == "best"
    return replace(config, effort="normal") if shorter else config


def _evaluate(entry: _Entry, rows: np.ndarray, test: np.ndarray) -> list[bool]:
    """Train on these rows; which of the test images are then predicted right."""
    one, images = entry.candidate, entry.images
    assert one.loaded is not None
    if entry.features is not None:  # which stand for the pixels: these need not be copied
        images = replace(images, pixels=images.pixels[:, :, :1, :1])
    dataset = Dataset(one.loaded.dataset.name, images.take(rows), images.take(test))
    loaded = replace(one.loaded, dataset=dataset, groups={})
    config = _config(one)
    recipe = choose_for(dataset, config, config.model)
    if entry.frozen is not None and entry.features is not None:
        labels = torch.from_numpy(images.labels)
        setup = replace(entry.frozen, loaded=loaded, recipe=recipe)
        reset_head(setup)
        train, valid = ((entry.features[part], labels[part]) for part in (rows, test))
        setup = head_on(setup, train, valid, config)
    else:
        setup = make_learner(loaded, recipe, config)
    with cpu_threads(setup, config.threads):
        for _ in setup.learn.steps(recipe.epochs, recipe.lr, SCHEDULES[config.schedule]):
            pass
        outputs, targets = setup.learn.get_preds()
    return (outputs.argmax(dim=1) == targets).tolist()
