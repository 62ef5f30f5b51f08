"""The images that the page has: which ones, and as sprites, many in one PNG."""

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from underhood.data.files import data_url, encode_png

if TYPE_CHECKING:
    from underhood.analysis.interpretation import Interpretation
    from underhood.core.images import Dataset

RIGHT_PER_CLASS = 8  # validation images on the diagonal of the confusion matrix
MAX_NEIGHBOURS = 3000  # training images whose features the page computes
MAX_WORK = 6_000_000_000  # multiply-adds for them: some ten seconds in a browser
SPRITE_WIDTH = 2048  # pixels


def sprite(pixels: np.ndarray, budget: int) -> dict[str, Any]:
    """As many of these images, uint8 [n, c, h, w], as fit, from the first: address (a PNG), columns, count.

    budget: characters of the address
    """
    count = min(len(pixels), max(1, 30 * budget // max(1, pixels[:1].size)))  # a PNG is hardly ever a thirtieth of it
    while count:
        content = encode_png(_grid(pixels[:count]), 9)
        length = 4 * math.ceil(len(content) / 3) + 22
        if length <= budget:
            return {"address": data_url(content), "columns": _columns(pixels), "count": count}
        count = min(count - 1, int(count * 0.97 * budget / length))
    return {"address": None, "columns": 1, "count": 0}


def validation_images(dataset: "Dataset", predictions: "Interpretation", budget: int) -> dict[str, Any]:
    """The confusion matrix and images for its cells: the misclassified ones, highest loss first, and some right ones.

    Returns counts, a list of [label, predicted, images], sprites, and for each of their images label, predicted and
    probability. budget: characters
    """
    right = [np.flatnonzero(predictions.right & (predictions.labels == label)) for label in range(len(dataset.classes))]
    few = _in_turn([rows[np.linspace(0, len(rows) - 1, RIGHT_PER_CLASS).round().astype(int)] if len(rows) else rows
                    for rows in right])  # fmt: skip
    few = np.array(list(dict.fromkeys(few.tolist())), int)
    wrong = np.flatnonzero(~predictions.right)
    wrong = wrong[np.argsort(-predictions.loss[wrong], kind="stable")]
    shown = sprite(dataset.valid.pixels[few], budget // 3)
    failed = sprite(dataset.valid.pixels[wrong], budget - len(shown["address"] or ""))
    counts = predictions.confusion_matrix().counts
    rows = np.concatenate([few[: shown["count"]], wrong[: failed["count"]]])
    columns = predictions.labels, predictions.predicted, np.round(predictions.probability, 4)
    return {
        "counts": [
            [label, predicted, int(counts[label, predicted])] for label, predicted in np.argwhere(counts).tolist()
        ],
        "sprites": [shown, failed],
        "rows": [[column[row].item() for column in columns] for row in rows.tolist()],
    }


def training_images(dataset: "Dataset", budget: int, work: int) -> dict[str, Any]:
    """As many training images as fit, of each class as many as of the others: a sprite and their labels.

    budget: characters; work: multiply-adds that the features of one image take
    """
    labels = dataset.train.labels
    most = max(50, min(MAX_NEIGHBOURS, MAX_WORK // max(1, work)))
    rng = np.random.default_rng(0)
    rows = _in_turn([rng.permutation(np.flatnonzero(labels == label)) for label in range(len(dataset.classes))])[:most]
    made = sprite(dataset.train.pixels[rows], budget)
    return {"sprites": [made], "labels": labels[rows[: made["count"]]].tolist(), "of": len(labels)}


def pixels_as_text(pixels: np.ndarray) -> str:
    """Pixels, uint8 [n, c, h, w], as base64."""
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def _in_turn(groups: Sequence[np.ndarray]) -> np.ndarray:
    """The first of each group, the second of each, and so on."""
    places = np.concatenate([np.arange(len(group)) for group in groups])
    return np.concatenate(groups)[np.argsort(places, kind="stable")].astype(int)


def _columns(pixels: np.ndarray) -> int:
    return max(1, SPRITE_WIDTH // pixels.shape[3])


def _grid(pixels: np.ndarray) -> np.ndarray:
    """Images, uint8 [n, c, h, w], in rows of as many as fit into ``SPRITE_WIDTH`` pixels: uint8 [c, h', w']."""
    n, c, h, w = pixels.shape
    columns = min(_columns(pixels), n)
    rows = math.ceil(n / columns)
    whole = np.zeros((rows * columns, c, h, w), np.uint8)
    whole[:n] = pixels
    return whole.reshape(rows, columns, c, h, w).transpose(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)
