"""Read labelled images of any supported kind: a data set by name, a folder per class, IDX files, or a table."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from underhood.core.errors import DataError, UnreadableError
from underhood.core.images import Dataset, Images
from underhood.data.cache import take_images
from underhood.data.decode import Progress
from underhood.data.named import DownloadBar
from underhood.data.parts import Parts, ReadOptions, crossing_groups, read_parts, require_classes
from underhood.data.split import describe_copies, find_copies, hold_out
from underhood.preparation import Preparation

FIFTH = 0.2  # the fraction held out by default if the data has no validation part
FAR = 1.5  # times more or less held out than was wanted, in whole groups: a warning says so
FEW = 8  # images: a warning names classes with fewer


@dataclass(frozen=True)
class LoadedData:
    """A data set and how it was read."""

    dataset: Dataset
    preparation: Preparation
    notes: list[str]  # what was chosen and what was ignored
    warnings: list[str]  # what may need a fix
    left_out: dict[str, str]  # path of each unreadable image that ``skip_bad`` left out → reason
    validates_on_test: bool = False  # whether the images that validate are the data's test part, as it has no other
    # part → the group of each image, int64 [n], with the same number in all parts; an image that belongs to no group
    # has a number of its own. {} where there are no groups.
    groups: dict[str, np.ndarray] = field(default_factory=dict)


def read(
    data: str | Path = "digits",
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: str | None = None,
    preparation: Preparation | None = None,
    valid: float | None = None,
    seed: int = 0,
    limit: int | None = None,
    skip_bad: bool = False,
    cache: bool = True,
    verify_cache: bool = False,
    progress: Progress | None = None,
    bar: DownloadBar | None = None,
    group_by: str | None = None,
) -> Dataset:
    """Read labelled images and split them into training and validation images.

    data: a name (digits, mnist, mnist-3v7, fashion-mnist), a folder, or a CSV or TSV file
    size, channels, fit: pixels a side, 1 (grey) or 3, and what happens to images of another size (pad, crop, stretch,
        digit); by default they are chosen from the images
    preparation: use this one, such as another run's, instead of the three above
    valid: the fraction held out if the data has neither a valid nor a test part; a fifth by default
    seed: of the images held out and of those that ``limit`` selects
    limit: use at most this many images of the training part, each class in proportion
    skip_bad: leave unreadable images out instead of raising an error
    cache: keep the decoded pixels of many image files and reuse them the next time
    verify_cache: compare all reused pixels with their hashes; by default a random sample of 1,000 images
    progress: called with the numbers of files decoded so far and in total
    bar: makes a progress bar for a download from the file name
    group_by: a regular expression; images with the same match in their names are a group, which is held out as a whole.
        By default groups are a table's column ``group``, or are found from the files: see ``groups.py``

    Raises UnknownNameError, DataError, and UnreadableError, which lists all unreadable images.
    """
    return load_data(
        data, size=size, channels=channels, fit=fit, preparation=preparation, valid=valid, seed=seed, limit=limit,
        skip_bad=skip_bad, cache=cache, verify_cache=verify_cache, progress=progress, bar=bar, group_by=group_by,
    ).dataset  # fmt: skip


def load_data(
    data: str | Path = "digits",
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: str | None = None,
    preparation: Preparation | None = None,
    valid: float | None = None,
    seed: int = 0,
    limit: int | None = None,
    skip_bad: bool = False,
    cache: bool = True,
    verify_cache: bool = False,
    progress: Progress | None = None,
    bar: DownloadBar | None = None,
    group_by: str | None = None,
) -> LoadedData:
    """Read labelled images as ``read`` does, with the preparation, notes, warnings and unreadable images beside them.

    The arguments are those of ``read``. Raises UnknownNameError, DataError, UnreadableError.
    """
    if valid is not None and not 0 < valid < 1:
        raise ValueError(f"valid must be between 0 and 1, not {valid}")
    options = ReadOptions(size, channels, fit, preparation, limit, seed, cache, progress, bar, verify_cache, group_by)
    return split_parts(read_parts(data, options), options, valid, skip_bad)


def split_parts(parts: Parts, options: ReadOptions, valid: float | None = None, skip_bad: bool = False) -> LoadedData:
    """``load_data`` of images that were read already, with these options. Raises DataError, UnreadableError."""
    _check_readable(parts, options.limit, skip_bad)
    images = {part: these for part, these in parts.images.items() if len(these) or part != "test"}
    warnings = parts.warnings + describe_copies(find_copies(images))
    notes = [f"{parts.preparation.describe()} ({_reason(parts, options)})", *parts.notes]
    if parts.unreadable:
        warnings.append(
            f"left out {len(parts.unreadable)} unreadable image{'s' * (len(parts.unreadable) > 1)}, listed in data.json"
        )
    few = {name: count for name, count in images["train"].counts().items() if count < FEW}
    if few:
        warnings.append(f"few images of {', '.join(f'{name!r} ({count})' for name, count in few.items())}")
    if len(images) == 1:
        dataset, groups = _hold_out(parts, FIFTH if valid is None else valid, options.seed, notes, warnings)
    else:
        dataset, groups = _given_parts(parts, images, notes, warnings)
        if valid is not None:
            warnings.append(f"--valid {valid} has no effect: the data has its own validation part")
    on_test = images.keys() == {"train", "test"}
    return LoadedData(dataset, parts.preparation, notes, warnings, parts.unreadable, on_test, groups)


def _check_readable(parts: Parts, limit: int | None, skip_bad: bool) -> None:
    """Raise an error unless there are images to train and to validate on."""
    if parts.unreadable and not skip_bad:
        raise UnreadableError(parts.unreadable)
    least = len(parts.images["train"].classes)
    if limit is not None and limit < least:
        raise DataError(f"--limit {limit} leaves some classes without an image: it must be at least {least}")
    require_classes(parts)
    if "valid" in parts.images and not len(parts.images["valid"]):
        raise DataError(f"{parts.where}: no image of the valid part can be read: fix them or remove the part")


Held = tuple[Dataset, dict[str, np.ndarray]]  # a data set, and the groups of its parts


def _given_parts(parts: Parts, images: dict[str, Images], notes: list[str], warnings: list[str]) -> Held:
    """The data's own validation part, and its test part if there are both."""
    warnings += crossing_groups(parts)
    if "valid" not in images:
        notes.append("validated on its test part")
        groups = {name: parts.groups[part] for name, part in (("train", "train"), ("valid", "test")) if parts.groups}
        return Dataset(parts.name, images["train"], images["test"]), groups
    test = images.get("test")
    notes.append("validated on its valid part" + (", scored on its test part once, at the end" if test else ""))
    groups = {part: numbers for part, numbers in parts.groups.items() if part in images}
    return Dataset(parts.name, images["train"], images["valid"], test), groups


def _hold_out(parts: Parts, fraction: float, seed: int, notes: list[str], warnings: list[str]) -> Held:
    """This fraction of each class as validation images."""
    images, group = parts.images["train"], parts.groups.get("train")
    if group is not None and len(group) > 1 and (group == group[0]).all():
        fix = "a group is held out as a whole, so name two or more, or omit it"
        raise DataError(f"{parts.where} has only one group ({parts.grouped}): {fix}")
    train_rows, valid_rows = hold_out(images, fraction, seed, group)
    train, valid = take_images(images, train_rows), take_images(images, valid_rows)
    share, of, whole = fraction, "each class", ""
    if group is not None:
        share, of, whole = len(valid) / len(images), "the images", f" in whole groups: {parts.grouped}"
    notes.append(f"validated on {len(valid):,} images held out ({share:.0%} of {of}, seed {seed}){whole}")
    if len(valid) and not fraction / FAR <= share <= fraction * FAR:
        fix = "name more and smaller groups with --group-by, or give the data a validation part of its own"
        warnings.append(f"{share:.0%} of the images are held out, not {fraction:.0%}, as groups are large: {fix}")
    without = [name for name, count in valid.counts().items() if count == 0]
    if without:
        warnings.append(f"no image of {', '.join(map(repr, without))} could be held out for validation")
    if not len(valid):
        why = "no class has two different ones" if group is None else "no class has images of two groups"
        raise DataError(f"{parts.where}: no image can be held out for validation: {why}")
    groups = {} if group is None else {"train": group[train_rows], "valid": group[valid_rows]}
    return Dataset(parts.name, train, valid), groups


def _reason(parts: Parts, options: ReadOptions) -> str:
    """Where the preparation comes from."""
    if options.preparation:
        return "as in the other run"
    if options.size:
        return f"--size {options.size}, {parts.preparation.fit}"
    sizes = np.unique(parts.sizes, axis=0).tolist()
    if sizes == [[parts.preparation.width, parts.preparation.height]]:
        return "the images' own size"
    return f"images of {len(sizes)} sizes, {parts.preparation.fit}"
