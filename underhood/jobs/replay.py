"""``replay``: watch a training again, from the snapshots of its run."""

import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

from underhood.core.errors import RunError
from underhood.preparation.files import expanduser
from underhood.training import Reporter


def replay(
    run: str | Path, host: str = "127.0.0.1", port: int | None = None, browser: bool = True,
    *, reporter: Reporter | None = None,
) -> None:  # fmt: skip
    """Serve a page on which a run's training can be watched again, until the process is stopped.

    host, port: the address to listen on; by default this machine alone, and the first free port from 8001
    browser: open the page

    Raises UnderhoodError where the run has no snapshots, its images have changed, or the address cannot be used.
    """
    from underhood.live.replay import Replay, make_replay_app
    from underhood.live.server import served_page
    from underhood.runs.snapshots import load_snapshots
    from underhood.training.record import load_finished

    folder, reporter = expanduser(run), reporter or Reporter()
    loaded, _, data = load_finished(folder, reporter)
    snapshots = load_snapshots(loaded)
    if snapshots is None:
        raise RunError(f"{folder} has no snapshots to replay: train again without --no-snapshots")
    shown, stop = Replay(loaded, snapshots, data.dataset.valid), threading.Event()
    predicting = threading.Thread(target=shown.predict_all, args=(stop,), daemon=True)
    with served_page(make_replay_app(shown), host, port) as address:
        predicting.start()
        try:
            with suppress(KeyboardInterrupt):
                reporter.log(f"{address}  (the training of {folder} again; Ctrl-C stops the server)")
                if browser:
                    webbrowser.open(address)
                while not stop.wait(0.2):  # without a limit, a signal that another thread receives would not end it
                    pass
        finally:
            stop.set()
            predicting.join()
