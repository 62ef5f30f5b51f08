"""``RUN/tensorboard``: an event file, as TensorBoard reads it.

Written record by record, where torch's ``SummaryWriter`` hands them to a thread of its own, whose errors (a full disk)
end in a traceback that nobody can catch. A number of a step is one record (tensorflow's ``event.proto``).
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class EventFile:
    """A new file in the folder. first: what is there of this step and of later ones counts no longer.

    Raises OSError, with the file's name.
    """

    def __init__(self, folder: Path, first: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        self.path = folder / f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}"  # read in this order
        self._records = RecordWriter(self.path.open("xb"))
        self._write(Event(wall_time=time.time(), step=first, file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=first, session_log=start))

    def add_scalar(self, tag: str, scalar_value: float, global_step: int, walltime: float | None = None) -> None:
        """Note a number of a step. walltime: seconds since 1970, now by default."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        value = Summary.Value(tag=tag, simple_value=scalar_value)
        self._write(Event(wall_time=walltime or time.time(), step=global_step, summary=Summary(value=[value])))

    def flush(self) -> None:
        """All that was noted is in the file when this returns."""
        with self._named():
            self._records.flush()

    def close(self) -> None:
        """Nothing more comes."""
        with self._named():
            self._records.close()

    def _write(self, event: "Event") -> None:
        with self._named():
            self._records.write(event.SerializeToString())

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # a write's error does not know the file
            raise OSError(error.errno, error.strerror, str(self.path)) from None
