"""``underhood reproduce``: every figure that the books print, computed here and compared."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from underhood.books import chapter4, chapter4_training, chapter11
from underhood.books.figures import DIFFERS, EQUAL, IN_RANGE, Row
from underhood.data.read import read
from underhood.training.reporter import Listener


def reproduce(full: bool = False, *, listener: Listener | None = None) -> dict[str, Any]:
    """Compute the figures of fastbook's chapter 4 and of "Programming Machine Learning", chapter 11.

    full: chapter 11's job to its end, 3,500 iterations
    Returns rows, each with source, section, what, book, here, verdict; equal, in_range, differs (how many);
    interrupted (with Ctrl-C in the long job: the last iteration reached, else absent). Needs mnist.
    """
    listener = listener or Listener()
    rows: list[Row] = []
    result: dict[str, Any] = {}
    data = {name: read(name, bar=listener.download) for name in ("mnist-3v7", "mnist")}
    reached: list[Any] = []

    def watched(reports: Iterable[Any]) -> Iterator[Any]:
        for report in reports:
            reached[:] = [report]
            listener.progress("iterations of chapter 11's job", report.iteration + 1, chapter11.ITERATIONS)
            yield report

    with torch.random.fork_rng(devices=[]):
        pictures = chapter4.Pictures(data["mnist-3v7"])
        for row in (*chapter4.rows(pictures), *chapter4_training.rows(pictures)):
            rows.append(row)
    try:
        for row in chapter11.rows(data["mnist"], full, watched):
            rows.append(row)
    except KeyboardInterrupt:
        result["interrupted"] = str(reached[0]) if reached else "before the first iteration"
    verdicts = Counter(row.verdict for row in rows)
    counts = {name.replace(" ", "_"): verdicts[name] for name in (EQUAL, IN_RANGE, DIFFERS)}
    return {"rows": [row._asdict() for row in rows], **counts, **result}
