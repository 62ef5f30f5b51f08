"""A connection whose client must say what it wants in time: uvicorn itself waits for headers for ever, and takes any
number of them."""

from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from underhood.serving import requests as bodies

MOST_HEAD = 64_000  # bytes of a request before its body


class Patient(HttpToolsProtocol):
    """uvicorn's, with 408 for headers that take longer than ``bodies.PATIENCE``, and 431 for more than MOST_HEAD."""

    _waiting: TimerHandle | None = None
    _head = 0  # bytes

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """The wait for the first request begins."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """The wait for this request's headers begins."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """It is over: what follows is the body."""
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count, as long as it is headers."""
        self._head += len(data)
        super().data_received(data)
        if self._waiting is not None and self._head > MOST_HEAD:
            self._refuse(b"431 Request Header Fields Too Large")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._head = 0
            self._waiting = self.loop.call_later(bodies.PATIENCE, self._refuse, b"408 Request Timeout")

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, status: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
