"""``explore``: a run's network as one file to look inside, with a certificate that both predict the same."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from underhood.preparation.files import expanduser
from underhood.runs import atomic_write
from underhood.runs.checkpoint import Run, load_run
from underhood.training import Reporter
from underhood.training.record import load_finished

if TYPE_CHECKING:
    from underhood.core.images import Dataset
    from underhood.explorer.certificate import Certificate

INSTALL = "install Chromium (apt-get install chromium) and run underhood explore again to have it checked"


class ExploreResult(TypedDict):
    """What ``explore`` returns."""

    explore: str  # path
    bytes: int
    certified: bool  # whether a browser's predictions were compared with torch's
    images: int  # validation images
    agree: int  # that have the same label in both
    sets_agree: int | None  # that have the same set of labels; None where the run has no sets
    rejections_agree: int  # that are rejected for the same reason, or not at all
    max_difference: float | None  # of a probability
    browser: str | None
    seconds: float
    run: str
    model: str
    snapshots: list[int]  # the training's steps that the page has


def explore(run: str | Path, *, reporter: Reporter | None = None) -> ExploreResult:
    """Write ``explore.html`` into a run's folder: its network, in one file that any browser opens.

    An installed Chromium opens the page and predicts all validation images: each label, each set of labels and each
    rejection must be torch's, and each probability within 1e-4. Without Chromium the page is written as not certified.
    Returns explore (the path), bytes, certified, images (how many), agree (how many of them have the same label),
    sets_agree (the same set; None without sets), rejections_agree (the same rejection, or none), max_difference (of a
    probability), browser, seconds, run, model and snapshots (steps of the training). Raises RunError where the model is
    too large, the run's images have changed or the predictions differ, and then leaves the page as it was.
    """
    from underhood.explorer import page_data, render
    from underhood.explorer.certificate import uncertified
    from underhood.explorer.weights import export_network
    from underhood.runs.snapshots import load_snapshots

    started, reporter = time.perf_counter(), reporter or Reporter()
    loaded = load_run(expanduser(run))
    network = export_network(loaded, load_snapshots(loaded))  # refuses large models before the images are read
    dataset = load_finished(loaded.path, reporter)[2].dataset
    data = page_data(loaded, network, dataset)
    certificate = _certificate(render(data, uncertified(len(dataset.valid))), loaded, dataset, reporter)
    content = render(data, certificate).encode()
    path = loaded.path / "explore.html"
    atomic_write(path, content)
    return {
        "explore": str(path), "bytes": len(content), **certificate, "seconds": round(time.perf_counter() - started, 1),
        "run": str(run), "model": loaded.architecture.model,
        "snapshots": [one["step"] for one in network["snapshots"] if one["step"] is not None],
    }  # fmt: skip


def _certificate(page: str, run: Run, dataset: "Dataset", reporter: Reporter) -> "Certificate":
    """The certificate of a page; one that says that there is none where no browser has opened it."""
    from underhood.explorer.answers import expected_answers
    from underhood.explorer.certificate import BrowserError, certify, find_browser, uncertified

    browser = find_browser()
    if browser is None:
        reporter.log(f"explore.html is not certified, as there is no Chromium: {INSTALL}")
        return uncertified(len(dataset.valid))
    reporter.log(
        f"{browser} opens the page and predicts {len(dataset.valid):,} validation images, to compare with torch"
    )
    try:
        return certify(page, browser, expected_answers(run, dataset.valid.pixels))
    except BrowserError as error:
        reporter.warn(f"explore.html is not certified, as {browser} did not open it ({error}): {INSTALL}")
        return uncertified(len(dataset.valid))
