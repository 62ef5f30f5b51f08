"""What "Programming Machine Learning", chapter 11, prints in its Elixir form, from its own random numbers."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from underhood.books.figures import Row, figure, ranged
from underhood.books.long_job import Job, iterations
from underhood.books.threefry import chapter11_weights
from underhood.data.images import Dataset
from underhood.scratch.backprop import Report

SOURCE = "Programming Machine Learning 11"
SECTION = "Training the network"
HIDDEN, RATE, ITERATIONS = 200, 0.01, 3500
of = partial(figure, SOURCE, SECTION)

FIRST = (
    "2.2787163257598877 13.80",
    "2.2671103477478027 18.27",
    "2.2557082176208496 24.21",
    "2.2444677352905273 29.92",
    "2.2333567142486572 34.72",
)
LAST = {3497: "0.13987 94.21", 3498: "0.13985 94.21", 3499: "0.13983 94.21"}
WITHIN = {"loss": 1e-4, "accuracy": 0.03}  # of the last lines; accuracy in per cent


def rows(data: Dataset, full: bool = False, watch: Callable[[Iterable[Any]], Iterator[Any]] = iter) -> Iterator[Row]:
    """The first five iterations; with ``full`` all 3,500, and the last three. data: mnist.

    watch: wraps the iterations (reports), as a progress bar does
    """
    job = Job(data)
    w1, w2 = chapter11_weights(HIDDEN)
    inputs, classes = data.train.pixels[0].size, len(data.classes)
    yield of("shapes of x_train and y_train", "60000 784 60000 10", [len(data.train), inputs, len(data.train), classes])
    yield of("shapes of weight1 and weight2", "785 200 201 10", [w1.shape, w2.shape])
    for report in watch(iterations(job, w1, w2, RATE, ITERATIONS if full else len(FIRST))):
        if report.iteration < len(FIRST):
            yield of(f"iteration {report.iteration}: loss, accuracy in %", FIRST[report.iteration], _shown(report))
        elif report.iteration in LAST:
            yield _last(report)


def _shown(report: Report) -> list[float]:
    return [report.loss, 100 * report.accuracy]


def _last(report: Report) -> Row:
    what = f"iteration {report.iteration}: loss, accuracy in % (within {WITHIN['loss']} and {WITHIN['accuracy']})"
    ours, within = _shown(report), list(WITHIN.values())
    low, high = ([value + sign * width for value, width in zip(ours, within, strict=True)] for sign in (-1, 1))
    return ranged(SOURCE, SECTION, what, LAST[report.iteration], low, high)
