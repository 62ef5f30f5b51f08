"""What the commands and Python users call: each job composes the rooms and returns a plain dictionary.

Nothing here prints. Who wants to follow passes a ``Listener``; the command line's is in ``underhood.display.terminal``.
"""

from underhood.jobs.check import check, clear_cache, get
from underhood.jobs.compare import compare
from underhood.jobs.evaluate import evaluate, predict
from underhood.jobs.export import export
from underhood.jobs.ladder import ladder, lr_find
from underhood.jobs.report import report
from underhood.jobs.rerun import rerun
from underhood.jobs.resume import resume
from underhood.jobs.train import train
from underhood.training.reporter import Listener

__all__ = [
    "Listener",
    "check",
    "clear_cache",
    "compare",
    "evaluate",
    "export",
    "get",
    "ladder",
    "lr_find",
    "predict",
    "report",
    "rerun",
    "resume",
    "train",
]
