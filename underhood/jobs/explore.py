"""``explore``: a run's network as one file to look inside, with a certificate that both predict the same."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from underhood.core.errors import RunError
from underhood.data.files import short_list
from underhood.data.named import NAMES
from underhood.data.read import load_data
from underhood.preparation.files import expanduser
from underhood.runs import atomic_write
from underhood.runs.checkpoint import Run, load_run
from underhood.runs.folder import changes, missing_files, read_config
from underhood.training import Reporter
from underhood.training.record import stored_config

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
    max_difference: float | None  # of a probability
    browser: str | None
    seconds: float
    run: str
    model: str
    snapshots: list[int]  # the training's steps that the page has


def explore(run: str | Path, *, reporter: Reporter | None = None) -> ExploreResult:
    """Write ``explore.html`` into a run's folder: its network, in one file that any browser opens.

    An installed Chromium opens the page and predicts all validation images: each label must be torch's, and each
    probability within 1e-4. Without Chromium the page is written as not certified. Returns explore (the path), bytes,
    certified, images (how many), agree (how many of them have the same label), max_difference (of a probability),
    browser, seconds, run, model and snapshots (steps of the training). Raises RunError where the model is too large,
    the run's images have changed or the predictions differ, and then leaves the page as it was.
    """
    from underhood.explorer import page_data, render
    from underhood.explorer.certificate import uncertified
    from underhood.explorer.weights import export_network
    from underhood.runs.snapshots import load_snapshots

    started, reporter = time.perf_counter(), reporter or Reporter()
    loaded = load_run(expanduser(run))
    network = export_network(loaded, load_snapshots(loaded))
    dataset = _images(loaded, reporter)
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


def _images(run: Run, reporter: Reporter) -> "Dataset":
    """The images that a run was trained and validated on. Raises RunError where they are gone or have changed."""
    folder = run.path
    if missing := missing_files(folder, report=False):
        raise RunError(f"{folder} is not finished, it has no {missing[0]}: underhood train --resume {folder}")
    config = stored_config(folder, read_config(folder))
    if str(config.data) not in NAMES and not Path(config.data).exists():
        raise RunError(f"{folder} was trained on {config.data}, which is no longer there: restore it")
    data = load_data(
        config.data, preparation=run.preparation, valid=config.valid, seed=config.seed, limit=config.limit,
        skip_bad=config.skip_bad, cache=config.cache, verify_cache=config.verify_cache,
        progress=reporter.read_progress(), bar=reporter.download,
    )  # fmt: skip
    if changed := changes(folder, data):
        what = f"the images of {folder} have changed since ({short_list(changed)})"
        raise RunError(f"{what}: restore them, or train again with underhood rerun {folder}")
    return data.dataset


def _certificate(page: str, run: Run, dataset: "Dataset", reporter: Reporter) -> "Certificate":
    """The certificate of a page; one that says that there is none where no browser has opened it."""
    from underhood.analysis.inference import predict_proba
    from underhood.explorer.certificate import BrowserError, certify, find_browser, uncertified

    browser = find_browser()
    if browser is None:
        reporter.log(f"explore.html is not certified, as there is no Chromium: {INSTALL}")
        return uncertified(len(dataset.valid))
    reporter.log(
        f"{browser} opens the page and predicts {len(dataset.valid):,} validation images, to compare with torch"
    )
    try:
        return certify(page, browser, dataset.valid.pixels, predict_proba(run.model, dataset.valid.pixels).numpy())
    except BrowserError as error:
        reporter.warn(f"explore.html is not certified, as {browser} did not open it ({error}): {INSTALL}")
        return uncertified(len(dataset.valid))
