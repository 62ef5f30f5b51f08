"""What "Programming Machine Learning", chapter 11, prints in its Elixir form, from its own random numbers."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from underhood.books.figures import Row, figure, ranged
from underhood.books.long_job import Job, iterations
from underhood.books.threefry import chapter11_weights
from underhood.core.images import Dataset
from underhood.scratch import backprop
from underhood.scratch.backprop import Report

SOURCE = "Programming Machine Learning 11"
SECTION = "Training the network"
HIDDEN, RATE, ITERATIONS = 200, 0.01, 3500
of = partial(figure, SOURCE, SECTION)

FIRST = (  # loss, accuracy in per cent
    ("2.2787163257598877", "13.80"),
    ("2.2671103477478027", "18.27"),
    ("2.2557082176208496", "24.21"),
    ("2.2444677352905273", "29.92"),
    ("2.2333567142486572", "34.72"),
)
LAST = {3497: "0.13987 94.21", 3498: "0.13985 94.21", 3499: "0.13983 94.21"}
WITHIN = {"loss": 1e-4, "accuracy": 0.03}  # of the last lines; accuracy in per cent
ONE_PICTURE = 0.0101  # per cent of 10,000: after the fifth iteration two classes of one picture are 3e-9 apart


def rows(data: Dataset, full: bool = False, watch: Callable[[Iterable[Any]], Iterator[Any]] = iter) -> Iterator[Row]:
    """The first five iterations by ``scratch/backprop.py``; with ``full`` also the last three of 3,500. data: mnist.

    watch: wraps the reports of the 3,500, as a progress bar does
    """
    w1, w2 = chapter11_weights(HIDDEN)
    x, x_test = (part.pixels.reshape(len(part), -1).astype(np.float32) for part in (data.train, data.valid))
    y, y_test = backprop.one_hot_encode(data.train.labels), data.valid.labels
    yield of("shapes of x_train and y_train", "60000 784 60000 10", [x.shape, y.shape])
    yield of("shapes of weight1 and weight2", "785 200 201 10", [w1.shape, w2.shape])
    for report, _, _ in backprop.train(x, y, x_test, y_test, HIDDEN, len(FIRST), RATE, (w1, w2)):
        loss, accuracy = FIRST[report.iteration]
        yield of(f"iteration {report.iteration}: loss", loss, report.loss)
        yield of(f"iteration {report.iteration}: accuracy in %", accuracy, 100 * report.accuracy, ONE_PICTURE)
    if full:
        for report in watch(iterations(Job(data), w1, w2, RATE, ITERATIONS)):
            if report.iteration in LAST:
                yield _last(report)


def _last(report: Report) -> Row:
    what = f"iteration {report.iteration}: loss, accuracy in % (within {WITHIN['loss']} and {WITHIN['accuracy']})"
    ours, within = (report.loss, 100 * report.accuracy), list(WITHIN.values())
    low, high = ([value + sign * width for value, width in zip(ours, within, strict=True)] for sign in (-1, 1))
    return ranged(SOURCE, SECTION, what, LAST[report.iteration], low, high)
