"""Near-duplicates: copies of an image that were resized, recompressed, cropped, brightened, mirrored or turned.

Pairs are proposed by small descriptors of the pixels and by perceptual hashes. A proposed pair is aligned, and
confirmed if both images then agree far better than unrelated ones do.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from underhood.core.images import Images
from underhood.data.alignment import IDENTITY, PAIRS, SMALLEST, agreement, align, detail, grey, scale_and_turn
from underhood.data.neighbours import RANK, Pairs, propose, relative_distances
from underhood.data.split import group_copies, image_hashes, link_equal, unite
from underhood.preparation import Preparation

SAME = 0.7  # the similarity from which on two images are near-duplicates
LEAST = 0.5  # the similarity of near-duplicates, at least
PHOTOGRAPHS, LOOK_ALIKES = 0.05, 0.004  # of near-duplicates: the relative distance times what is dissimilar, at most
IN_PLACE = 0.0045  # of those that were not moved: the squared relative distance times what is unexplained, at most
CROWD = 3_000  # images for which these limits were measured
PLAIN = 2.5  # grey levels: images with less fine detail are among the look-alikes
MOST_SCALED, MOST_TURNED = 0.4, 12.0  # of copies: the logarithm of their scale, and degrees
BACKGROUND = 512  # pairs of unrelated images that are aligned
BLANK = 3.0  # grey levels: the least standard deviation of an image that is compared


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of near-duplicates among images, by their rows. Of exact copies only the first is among them."""

    pairs: np.ndarray  # int64 [m, 2]
    similarity: np.ndarray  # float [m], from 0 to 1
    kinds: list[str]  # m: how the images differ


def find_near_duplicates(
    parts: Sequence[Images],
    content: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NearDuplicates:
    """The near-duplicates among the images of all parts, each pair once. Rows count from the first part's first image.

    content: float [n, 2], the part of the width and of the height that is not padding; all of both by default
    progress: called with the numbers of comparisons done and in total

    Blank images and those below SMALLEST pixels a side have none.
    """
    rows, small, aspect = _comparable(parts, content)
    if len(rows) < 2:
        return NearDuplicates(np.zeros((0, 2), np.int64), np.zeros(0), [])
    pairs = propose(small, progress)
    transforms, agreed = _align(small, pairs, aspect)
    kept = np.flatnonzero(_confirmed(small, pairs, transforms, agreed, _look_alike(small, pairs, aspect)))
    found = np.stack([pairs.neighbour[kept], pairs.image[kept]], axis=1)
    kinds = [describe_change(small[a], small[b], transforms[k]) for (a, b), k in zip(found, kept.tolist(), strict=True)]
    return NearDuplicates(rows[found], score(agreed[kept]), kinds)


def _comparable(parts: Sequence[Images], content: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of different images that are not blank, int64 [m], grey [m, s, s], and their width over height [m]."""
    height, width = parts[0].pixels.shape[2:]
    if min(height, width) < SMALLEST:
        return np.zeros(0, np.int64), np.zeros((0, 1, 1), np.float32), np.zeros(0)
    hashes = np.concatenate([image_hashes(images) for images in parts])
    rows = np.sort(np.unique(group_copies(hashes), return_index=True)[1])
    ends = np.cumsum([len(images) for images in parts])
    shares = np.ones((len(hashes), 2)) if content is None else content
    whole = np.split(shares, ends[:-1])
    small = np.concatenate([grey(images.pixels, some) for images, some in zip(parts, whole, strict=True)])[rows]
    seen = small.std(axis=(1, 2)) >= BLANK
    aspect = shares[rows, 0] * width / (shares[rows, 1] * height)
    return rows[seen], small[seen], aspect[seen]


def _align(small: np.ndarray, pairs: Pairs, aspect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Align the images of pairs: transformations, float32 [m, 2, 3], and how the images then agree, float [m, 3]."""
    transforms, agreed = [np.zeros((0, 2, 3), np.float32)], [np.zeros((0, 3))]
    for start in range(0, len(pairs.image), PAIRS):
        some = slice(start, start + PAIRS)
        first, second = small[pairs.neighbour[some]], small[pairs.image[some]]
        transforms.append(align(first, second, pairs.change[some], aspect[pairs.image[some]]))
        agreed.append(agreement(first, second, transforms[-1]))
    return np.concatenate(transforms), np.concatenate(agreed)


def _look_alike(small: np.ndarray, pairs: Pairs, aspect: np.ndarray) -> float:
    """How much unrelated images look alike, from 0 (photographs) to 1 (digits, clothes): by a sample of pairs."""
    some = np.random.default_rng(0).permutation(len(pairs.image))[:BACKGROUND]
    chance = pairs.take(some)._replace(neighbour=pairs.unrelated[some])
    if not len(some):
        return 0.0
    most = 0.9 if len(small) > 2 * RANK else 0.5  # of few images, some that should be unrelated are copies
    typical = float(np.quantile(score(_align(small, chance, aspect)[1]), most))
    return float(np.clip((typical - 0.3) / 0.15, 0, 1))


def _confirmed(
    small: np.ndarray, pairs: Pairs, transforms: np.ndarray, agreed: np.ndarray, look_alike: float
) -> np.ndarray:
    """Which pairs are near-duplicates, bool [m].

    A copy agrees with the image once it is aligned, and is much nearer than an image's neighbours usually are. Where
    images look alike, it must be nearer still, the more so the more there are. A copy that was not moved (recompressed,
    resized, brightened) may agree less: it is near without being aligned, which look-alikes are not.
    """
    alike, unexplained = score(agreed), np.sqrt(1 - agreed[:, 0])
    nearest = np.minimum(pairs.ratio, relative_distances(small, pairs, transforms))
    both = np.minimum(*(detail(small[rows]) for rows in (pairs.image, pairs.neighbour)))
    plain = np.maximum(look_alike, both < PLAIN)  # of skies there are others like it, too
    crowd = (max(CROWD, len(small)) / CROWD) ** plain  # among more images there are more look-alikes
    limit = PHOTOGRAPHS ** (1 - plain) * LOOK_ALIKES**plain / crowd
    in_place = np.abs(pairs.change - IDENTITY).max(axis=(1, 2)) == 0
    unmoved = in_place & (pairs.ratio**2 * unexplained <= IN_PLACE / crowd)
    scale, turn = scale_and_turn(transforms)
    possible = (np.abs(np.log(scale)) <= MOST_SCALED) & (turn <= MOST_TURNED)
    return possible & (alike >= LEAST) & ((nearest * (1 - alike) <= limit) | unmoved)


def score(agreed: np.ndarray) -> np.ndarray:
    """One number from 0 to 1, float [n], for what ``agreement`` measured, float [n, 3]."""
    return np.sqrt(agreed[:, 0] * agreed[:, 1]) * (agreed[:, 2] >= 0.5)


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How similar the images of each pair are once they are aligned, from 0 to 1: float [n].

    first, second: prepared images, uint8 [n, c, h, w] each. Pairs at SAME or above are near-duplicates. Brightness,
    contrast, small shifts, turns and changes of scale do not count. 0 for blank images and those that are too small.
    """
    if not len(first) or min(first.shape[2:]) < SMALLEST:
        return np.zeros(len(first))
    scores = []
    for start in range(0, len(first), PAIRS):
        one, other = (grey(images[start : start + PAIRS]) for images in (first, second))
        begin = np.repeat(IDENTITY[None], len(one), axis=0)
        wide = np.full(len(one), first.shape[3] / first.shape[2])
        scores.append(score(agreement(one, other, align(one, other, begin, wide))))
    return np.concatenate(scores)


def describe_change(first: np.ndarray, second: np.ndarray, transform: np.ndarray) -> str:
    """How an image differs from its near-duplicate: mirrored, turned, crop, brightness, recompressed or resized, same.

    first, second: grey images, float32 [s, s]; transform: float32 [2, 3], from places in the first to the second
    """
    scale, turn = (float(value[0]) for value in scale_and_turn(transform[None]))
    if np.linalg.det(transform[:, :2]) < 0:
        return "mirrored"
    if turn > 2:
        return "turned"
    if abs(np.log(scale)) > 0.05 or np.abs(transform[:, 2]).max() > 0.06:
        return "crop"
    if abs(np.log(max(first.mean(), 1) / max(second.mean(), 1))) > 0.06:
        return "brightness"
    return "recompressed or resized" if np.abs(first - second).mean() > 1 else "same"


def content_shares(preparation: Preparation, sizes: np.ndarray, parts: Sequence[Images]) -> np.ndarray | None:
    """The part of the width and of the height of each image that is not padding: float [n, 2]; None if all of it is.

    sizes: int [n, 2], width and height of the images as stored
    parts: the same images, prepared; where the padding is tells which were turned, as EXIF may say
    """
    if preparation.fit != "pad":
        return None
    target = np.array([preparation.width, preparation.height])
    stored, turned = (_fitted(one, target) for one in (sizes, sizes[:, ::-1]))
    ends = np.cumsum([len(images) for images in parts])[:-1]
    as_stored, as_turned = (
        np.concatenate([_padded(part.pixels, some) for part, some in zip(parts, np.split(inner, ends), strict=True)])
        for inner in (stored, turned)
    )
    return np.asarray(np.where((~as_stored & as_turned)[:, None], turned, stored) / target)


def _fitted(sizes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Width and height of images that are made as large as the target allows: float [n, 2]."""
    return np.asarray(np.maximum(1, np.round(sizes * (target / sizes).min(axis=1, keepdims=True))))


def _padded(pixels: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Whether the edges beyond the inner width and height, [n, 2], can be padding, of one colour: bool [n]."""
    columns, rows = pixels[..., [0, -1]], pixels[:, :, [0, -1]]
    height, width = pixels.shape[2:]
    plain = [(edges == edges[:, :, :1, :1]).all(axis=(1, 2, 3)) for edges in (columns, rows)]
    return np.asarray((plain[0] | (inner[:, 0] > width - 2)) & (plain[1] | (inner[:, 1] > height - 2)))


def near_duplicate_groups(parts: Sequence[Images], found: NearDuplicates) -> np.ndarray:
    """The group of each image, int64 [n]: exact copies and near-duplicates share one, directly or through others.

    parts: those in which the near-duplicates were found
    """
    hashes = np.concatenate([image_hashes(images) for images in parts])
    copied, other = link_equal(hashes)
    pairs = found.pairs.T  # [2, m]
    return unite(len(hashes), np.concatenate([copied, pairs[0]]), np.concatenate([other, pairs[1]]))


def near_duplicate_entries(parts: dict[str, Images], found: NearDuplicates) -> list[dict[str, Any]]:
    """One entry for each group of near-duplicates: its ``paths``, ``similarity``, ``kind`` and ``splits``.

    The similarity is that of the least similar pair that was confirmed, the kind that of the most pairs, and the splits
    are the parts that have such an image. The entries with the highest similarity come first.

    parts: the images in which the near-duplicates were found, part by part
    """
    names = [name for images in parts.values() for name in images.names]
    groups = near_duplicate_groups(list(parts.values()), found)
    part = np.repeat(np.arange(len(parts)), [len(images) for images in parts.values()])
    of_pairs: dict[int, list[int]] = {}
    for number, group in enumerate(groups[found.pairs[:, 0]].tolist()):
        of_pairs.setdefault(group, []).append(number)
    members: dict[int, list[int]] = {group: [] for group in of_pairs}
    for row in np.flatnonzero(np.isin(groups, list(of_pairs))).tolist():
        members[int(groups[row])].append(row)
    entries = [
        {
            "paths": [names[row] for row in rows],
            "similarity": round(float(found.similarity[of_pairs[group]].min()), 4),
            "kind": Counter(found.kinds[number] for number in of_pairs[group]).most_common(1)[0][0],
            "splits": list(dict.fromkeys(list(parts)[part[row]] for row in rows)),
        }
        for group, rows in members.items()
    ]
    return sorted(entries, key=lambda entry: -entry["similarity"])
