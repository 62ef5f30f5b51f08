"""``underhood reproduce``: compute every figure that the books print, and compare."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NotRequired, TypedDict

import torch

from underhood.books import DIFFERS, EQUAL, IN_RANGE, Row, chapter4, chapter4_training, elixir
from underhood.data.read import read
from underhood.training import Reporter


class ReproduceResult(TypedDict):
    """What ``reproduce`` returns: the figures, and how many have each verdict."""

    rows: list[dict[str, Any]]  # source, section, what, book, here, verdict
    equal: int
    in_range: int
    differs: int
    interrupted: NotRequired[str]  # the last iteration reached


def reproduce(full: bool = False, *, reporter: Reporter | None = None) -> ReproduceResult:
    """Compute the figures of fastbook's chapter 4 and of "Programming Machine Learning", chapter 11. Needs MNIST.

    full: run chapter 11's job to its end, 3,500 iterations
    Returns a dictionary: rows (each with source, section, what, book, here, verdict), the counts equal, in_range and
    differs, and, after Ctrl-C in the long job, interrupted (the last iteration reached).
    """
    reporter = reporter or Reporter()
    rows: list[Row] = []
    interrupted = ""
    data = {name: read(name, bar=reporter.download) for name in ("mnist-3v7", "mnist")}
    reached: list[Any] = []

    def watched(reports: Iterable[Any]) -> Iterator[Any]:
        for report in reports:
            reached[:] = [report]
            reporter.progress("iterations of chapter 11's job", report.iteration + 1, elixir.ITERATIONS)
            yield report

    with torch.random.fork_rng(devices=[]):
        sample = chapter4.MnistSample(data["mnist-3v7"])
        rows += [*chapter4.rows(sample), *chapter4_training.rows(sample)]
    try:
        for row in elixir.rows(data["mnist"], full, watched):
            rows.append(row)
    except KeyboardInterrupt:
        interrupted = str(reached[0]) if reached else "before the first iteration"
    verdicts = Counter(row.verdict for row in rows)
    result: ReproduceResult = {
        "rows": [row._asdict() for row in rows],
        "equal": verdicts[EQUAL],
        "in_range": verdicts[IN_RANGE],
        "differs": verdicts[DIFFERS],
    }
    if interrupted:
        result["interrupted"] = interrupted
    return result
