"""Are validation images among the training images?"""

import numpy as np

from underhood.data.near_duplicates import content_shares, find_near_duplicates
from underhood.data.split import image_hashes, join, link_equal, unite
from underhood.diagnosis import Finding, fine, found, suspicious
from underhood.diagnosis.case import Case
from underhood.training.leaks import default_split, leaked

SUSPICION = "images that measure the model are among those that trained it"
SECONDS, AFTER = 2.0, ("no-gradient", "input-scale")
MOST_SEARCHED = 10_000  # images, among which near-duplicates are found in a few seconds
SHARE = 0.02  # of the images of a validation


def examine(case: Case) -> Finding | None:
    """Look for copies across the split; compare each image that was evaluated with those that were trained on."""
    return _in_training(case) if case.parts is None else _of_images(case)


def _of_images(case: Case) -> Finding | None:
    if case.parts is None:
        return None
    parts, lists = case.parts, list(case.parts.images.values())
    images, many = join(lists), sum(map(len, lists)) > MOST_SEARCHED
    split = default_split(parts, images)
    hashes = image_hashes(images)
    _, groups = np.unique(hashes, return_inverse=True)
    if not many:
        near = find_near_duplicates(lists, content_shares(parts.preparation, parts.sizes, lists))
        links = [link_equal(groups), (near.pairs[:, 0], near.pairs[:, 1])]
        groups = unite(len(images), *(np.concatenate(side) for side in zip(*links, strict=True)))
    seen, total = int(leaked(groups, split.train, split.valid).sum()), len(split.valid)
    numbers = f"{seen:,} of {total:,} validation images have a copy, or a near-duplicate, among the training images"
    numbers += f" (of more than {MOST_SEARCHED:,} images, only equal ones are looked for)" if many else ""
    fix = f"underhood check {case.data()} --leaks: it lists them, and measures what they are worth"
    if seen > max(1.5, SHARE * total):
        return found(numbers, fix)
    return suspicious(numbers, fix) if seen > max(1.5, SHARE / 2 * total) else fine(numbers)


def _in_training(case: Case) -> Finding | None:
    trace = case.trace
    if trace is None:
        return None
    sides = [[one.rows for one in side] for side in trace.looked_at()]
    if not all(sides):
        return None
    train = np.unique(np.concatenate(sides[0]))
    shares = np.array([np.isin(rows, train).mean() for rows in sides[1]])
    counts = np.array([len(rows) for rows in sides[1]])
    clean = shares <= SHARE
    if clean.any() and not clean.all() and (shares[~clean] > 0.2).all():  # two sets are measured, one of them training
        shares, counts = shares[clean], counts[clean]
    seen, total = float((shares * counts).sum()), int(counts.sum())
    if seen > max(1.5, SHARE * total):
        return found(
            f"{round(seen):,} of {total:,} images that were evaluated had been trained on before",
            "measure on images that are not in the training loader: hold them out before anything else is done",
        )
    return fine(f"{round(seen):,} of {total:,} images that were evaluated were among the {len(train):,} trained on")
