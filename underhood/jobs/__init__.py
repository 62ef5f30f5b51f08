"""What the commands and Python users call: each job composes the rooms and returns a plain dictionary.

Nothing here prints. Who wants to follow passes a ``Listener``; the command line's is in ``underhood.show``.
"""

from underhood.jobs.comparing import ladder, lr_find
from underhood.jobs.exporting import export
from underhood.jobs.looking import compare
from underhood.jobs.measuring import evaluate, predict
from underhood.jobs.pictures import check, clear_cache, get
from underhood.jobs.reporting import report
from underhood.jobs.rerunning import rerun
from underhood.jobs.resuming import resume
from underhood.jobs.training import train
from underhood.listener import Listener

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
