"""What a connection may take: bytes, time, and a place among the others."""

import asyncio
import json
from collections import deque
from enum import Enum
from functools import lru_cache
from types import SimpleNamespace

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from underhood.serving import requests

MAX_HEADER_BYTES = 64_000  # of a request
MAX_HEADERS = 100  # of a request
MAX_PIPELINED = 32  # requests that a client may send before the one before them is answered
MAX_FRAMING_BYTES = 1_000_000  # of a request's chunk sizes, chunk extensions and trailers
MAX_CONNECTIONS = 1000  # at most; fewer where the process may not open so many files
OTHER_FILES = 124  # that the process itself needs
DISCARDED_BYTES = 5 * requests.MAX_BYTES  # of a refused body, read so that the client gets to see the response
DISCARD_TIMEOUT = 5.0  # seconds for that, or what is left of the request's own time if that is more
CHECK_EVERY = 0.5  # seconds between two looks at a connection's time


@lru_cache(1)
def max_connections() -> int:
    """How many connections are held at once: the process may not open more files than its limit."""
    try:
        import resource
    except ImportError:  # not on Windows
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, files - OTHER_FILES))


class Receiving(Enum):
    """How much of a request has arrived on a connection."""

    NOTHING, HEADERS, BODY, ALL = range(4)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on what a client may send, and on how long it may take.

    A request has ``requests.TIMEOUT`` seconds from its first byte to its last, trailers included: 408. Headers that
    are too long or too many: 431. More chunk extensions and trailers than ``MAX_FRAMING_BYTES``: 413. If a response is
    sent before the whole request has arrived, the rest is read and discarded within bounds, and the connection closed:
    a client that sends everything before it reads would see a reset connection instead of the response.
    """

    # The state of the connection
    _real: asyncio.Transport  # ``transport`` is a stand-in whose ``close`` discards what still arrives
    _timer: asyncio.TimerHandle
    _discarding = False
    _paused_at: float | None = None  # since when the client does not read its response
    # The state of the request
    _receiving = Receiving.NOTHING
    _deadline = float("inf")  # by the loop's clock; infinite while the server works
    _bytes = 0  # received since the request began
    _body_bytes = 0
    _keep_alive = False  # whether the connection may be used again after the response

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer. Where there are too many connections, close the one that waits longest for its client."""
        super().connection_made(transport)
        self._real = transport
        self.transport = SimpleNamespace(  # type: ignore[assignment]
            write=lambda data: None if transport.is_closing() else transport.write(data),
            close=self._close,
            is_closing=lambda: self._discarding or transport.is_closing(),
        )
        self._deadline = self.loop.time() + requests.TIMEOUT
        self._timer = self.loop.call_later(CHECK_EVERY, self._check)
        if len(self.connections) > max_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what arrives, and refuse what is too much."""
        self._bytes += len(data)
        if self._discarding:
            if self._bytes > DISCARDED_BYTES:
                self._abort()
            return
        super().data_received(data)
        if self._receiving is Receiving.HEADERS:
            if self._bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
                self._refuse(431, "the request's headers are too long")
        elif self._receiving is Receiving.BODY and self._bytes - self._body_bytes > MAX_FRAMING_BYTES:
            self._refuse(413, f"the request has more than {MAX_FRAMING_BYTES:,} bytes beside its body")

    def on_message_begin(self) -> None:
        """Start the time of a request."""
        super().on_message_begin()
        if self._receiving is not Receiving.NOTHING:  # what has arrived so far was the request before
            self._bytes = 0
        self._receiving, self._body_bytes = Receiving.HEADERS, 0
        self._deadline = self.loop.time() + requests.TIMEOUT

    def on_headers_complete(self) -> None:
        """Pass the request to the application. Until its body is there, a response closes the connection."""
        if self._discarding:
            return
        if len(self.headers) > MAX_HEADERS or len(self.pipeline) > MAX_PIPELINED:
            self._refuse(431, "the request has too many headers")
            return
        super().on_headers_complete()
        self._receiving = Receiving.BODY
        self.headers = deque(maxlen=0)  # type: ignore[assignment]  # trailers are dropped
        self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        """Count the bytes of the body."""
        if not self._discarding:
            self._body_bytes += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the time of the request: now it is the server's turn."""
        if not self._discarding:
            self._receiving, self._deadline = Receiving.ALL, float("inf")
            self.cycle.keep_alive = self._keep_alive
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the time of the next request."""
        super().on_response_complete()
        if self._receiving is Receiving.ALL and self.cycle.response_complete and not self._real.is_closing():
            self._receiving, self._bytes = Receiving.NOTHING, 0
            self._deadline = self.loop.time() + self.timeout_keep_alive

    def pause_writing(self) -> None:
        """Start the time that the client has to read its response."""
        self._paused_at = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Stop that time."""
        self._paused_at = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Close the connection once its request is answered."""
        self._keep_alive = False
        if self._discarding or self.cycle is None or self.cycle.response_complete:
            self._real.close()
        else:
            self.cycle.keep_alive = False

    def _check(self) -> None:
        """Close the connection if its time is up."""
        now = self.loop.time()
        if self._paused_at is not None and now >= self._paused_at + requests.TIMEOUT:
            self._abort()
        elif now >= self._deadline:
            self._expire(now)
        self._timer = self.loop.call_later(CHECK_EVERY, self._check)

    def _expire(self, now: float) -> None:
        if self._discarding or self._real.is_closing():
            self._abort()
        elif self._receiving is Receiving.NOTHING:
            self._close()
        elif self._must_wait():
            self._deadline = now + CHECK_EVERY
        else:
            self._refuse(408, f"the request was not sent within {requests.TIMEOUT:g} seconds")

    def _must_wait(self) -> bool:
        """Whether the request that is arriving was sent before the one before it is answered (pipelining)."""
        unanswered = self.cycle is not None and not self.cycle.response_complete
        return bool(self.pipeline) or (unanswered and self._receiving is Receiving.HEADERS)

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in the application's place, and close the connection."""
        if self._must_wait() or (self._receiving is Receiving.BODY and self.cycle.response_started):
            self._abort()
            return
        body = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close"), (b"retry-after", b"1")]
        lines = [
            b"%b: %b\r\n" % header for header in self.server_state.default_headers + headers[: 2 + (status == 503)]
        ]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"content-length: %d\r\n\r\n" % len(body), body]))
        if self.cycle is not None:  # what the application still sends is ignored
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._close()

    def _close(self) -> None:
        """Close the connection. What the client still sends is read and discarded first, within bounds."""
        if self._discarding or self._real.is_closing():
            return
        started = self._bytes > 0 if self._receiving is Receiving.NOTHING else True
        arriving = started and self._receiving is not Receiving.ALL
        left = 0.0 if self._receiving is Receiving.ALL else self._deadline
        self._deadline = max(left, self.loop.time() + (DISCARD_TIMEOUT if arriving else requests.TIMEOUT))
        if not arriving:
            self._real.close()
            return
        self._discarding, self._bytes = True, 0
        self.transport.write = lambda _: None  # type: ignore[assignment, method-assign]
        self.flow.resume_reading()
        self._real.write_eof()

    def _abort(self) -> None:
        """Close the connection at once, and drop what is still to be received or sent."""
        self._discarding = True
        self.transport.write = lambda _: None  # type: ignore[assignment, method-assign]
        self._real.abort()

    def _make_room(self) -> None:
        waiting = [
            one for one in self.connections
            if isinstance(one, LimitedProtocol) and one._receiving is not Receiving.ALL and not one._real.is_closing()
        ]  # fmt: skip
        longest = min(waiting, key=lambda one: one._deadline)  # this connection is one of them
        if longest is self:
            self._refuse(503, "too many connections: try again later")
        else:
            longest._abort()
