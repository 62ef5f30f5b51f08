"""Decode and prepare the images of requests. Large ones in processes of their own, which can be killed.

A process is started when the first large image arrives: ``python -m underhood.serving.decoding``. It reads a line of
JSON and an image file, and writes a line of JSON and the prepared pixels, until its input ends with the server.
"""

import asyncio
import io
import json
import math
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np

from underhood.data.decode import available_cpus
from underhood.preparation import Preparation, prepare_image
from underhood.preparation.files import MAX_PIXELS, BadImageError, ImageTooLargeError, header_pixels
from underhood.serving import requests
from underhood.serving.batching import Overloaded
from underhood.serving.requests import HTTPError

QUICK_BYTES, QUICK_SIDE = 4096, 128  # of a PNG, in bytes and pixels: prepared at once, without a thread
THREAD_BYTES, THREAD_PIXELS = 1_000_000, 2_000_000  # of an image: prepared in a thread; larger ones in a process
MAX_PROCESSES = 8  # that decode large images; fewer on fewer CPUs
MAX_PIXELS_AT_ONCE = MAX_PIXELS  # of all large images that are being decoded
MAX_WAITING = 64  # large images that wait for their turn
MAX_PREPARED = 200_000_000  # numbers of the prepared images of all requests: 64 of the largest
DECODE_TIMEOUT = 10.0  # seconds for a large image
PROCESS_MEMORY = 1_500_000_000  # bytes of address space that a process may use beside what it starts with


def is_quick(content: bytes) -> bool:
    """Whether a file is a small PNG, by what its header declares: few bytes can hold a large image."""
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    small = content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) <= QUICK_BYTES and max(width, height) <= QUICK_SIDE
    return small and content.count(b"IHDR") == 1  # a decoder would use the second


class PixelBudget:
    """A number of pixels that may be decoded at the same time. Who waits longest is served first."""

    def __init__(self, pixels: int):
        self._most = self._free = pixels
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Wait until there are so many (at most all), and hold them for the length of an ``async with`` block."""
        pixels = min(pixels, self._most)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, turn))
        self._next()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._free += pixels
            else:
                self._waiting.remove((pixels, turn))
            self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            pixels, turn = self._waiting.popleft()
            self._free -= pixels
            turn.set_result(None)


class Child:
    """A process that decodes one image after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "underhood.serving.decoding"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._input, self._output = process, process.stdin, process.stdout

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def prepare(self, content: bytes, preparation: Preparation, steps: Sequence[str]) -> np.ndarray:
        """An image file as uint8 [c, h, w]. Raises HTTPError: 400 or 413; OSError, EOFError if the process ended."""
        line = {"bytes": len(content), "preparation": preparation.as_dict(), "steps": list(steps)}
        self._input.write(json.dumps(line).encode() + b"\n")
        self._input.write(content)
        self._input.flush()
        reply = self._output.readline()
        if not reply:
            raise EOFError
        result = json.loads(reply)
        if "detail" in result:
            raise HTTPError(result["status"], result["detail"])
        shape = preparation.channels, preparation.height, preparation.width
        return np.frombuffer(self._output.read(math.prod(shape)), np.uint8).reshape(shape)

    def kill(self) -> None:
        """End the process. ``prepare`` in another thread then raises."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()


class Decoder:
    """Prepares the images of requests, within bounds of memory and time.

    preparation: how an image becomes pixels
    """

    def __init__(self, preparation: Preparation):
        self._preparation = preparation
        count = min(MAX_PROCESSES, available_cpus())
        self._turns = asyncio.Semaphore(count)
        self._waiting = 0  # large images
        self._pixels = PixelBudget(MAX_PIXELS_AT_ONCE)
        self._prepared = PixelBudget(MAX_PREPARED)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")  # each waits for a process
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        weakref.finalize(self, _kill_all, self._children)

    def room(self, images: int) -> AbstractAsyncContextManager[None]:
        """Wait until so many prepared images find room beside those of other requests: small files become large arrays.

        Raises Overloaded where that takes too long.
        """
        numbers = images * self._preparation.channels * self._preparation.height * self._preparation.width
        return self._hold_prepared(numbers) if numbers > requests.SMALL_BODY else nullcontext()

    @asynccontextmanager
    async def _hold_prepared(self, numbers: int) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(requests.TIMEOUT):
                    await stack.enter_async_context(self._prepared.hold(numbers))
            except TimeoutError:
                raise Overloaded from None
            yield

    async def prepare(self, images: Sequence[bytes], steps: Sequence[str]) -> list[np.ndarray]:
        """Image files as pixels, uint8 [c, h, w] each.

        Raises HTTPError: 400 or 413, and Overloaded where an image waits too long for its turn. When the task is
        cancelled, decoding stops.
        """
        if len(images) == 1 and is_quick(images[0]):  # a thread would take as long as the work
            return [_prepare(images[0], self._preparation, steps)]
        stop = threading.Event()
        try:
            async with asyncio.timeout(requests.TIMEOUT):
                prepared = await asyncio.to_thread(_prepare_small, images, self._preparation, steps, stop)
        except TimeoutError:
            raise Overloaded from None
        finally:
            stop.set()
        return [
            await self._prepare_large(content, pixels, steps) if isinstance(pixels, int) else pixels
            for content, pixels in zip(images, prepared, strict=True)
        ]

    async def _prepare_large(self, content: bytes, pixels: int, steps: Sequence[str]) -> np.ndarray:
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        async with AsyncExitStack() as stack:
            self._waiting += 1
            try:
                async with asyncio.timeout(requests.TIMEOUT):
                    await stack.enter_async_context(self._turns)
                    await stack.enter_async_context(self._pixels.hold(pixels))
            except TimeoutError:
                raise Overloaded from None
            finally:
                self._waiting -= 1
            return await self._in_process(content, steps)

    async def _in_process(self, content: bytes, steps: Sequence[str]) -> np.ndarray:
        child = None
        try:
            child = self._take()
            async with asyncio.timeout(DECODE_TIMEOUT):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, child.prepare, content, self._preparation, steps)
        except HTTPError:
            raise
        except BaseException as error:  # too slow, ended or cancelled
            if child is not None:
                self._drop(child)
                child = None
            if isinstance(error, TimeoutError):
                raise HTTPError(413, f"the image takes more than {DECODE_TIMEOUT:g} seconds to decode") from None
            if isinstance(error, (OSError, EOFError, ValueError)):
                raise HTTPError(413, "the image takes too much memory to decode") from None
            raise
        finally:
            if child is not None:
                self._idle.append(child)

    def _take(self) -> Child:
        """A process that waits for an image, or a new one."""
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            self._drop(child)
        child = Child()
        self._children.add(child)
        return child

    def _drop(self, child: Child) -> None:
        self._children.discard(child)
        child.kill()


def _kill_all(children: set[Child]) -> None:
    for child in children:
        child.kill()


def _prepare(content: bytes, preparation: Preparation, steps: Sequence[str]) -> np.ndarray:
    """An image file as uint8 [c, h, w]. Raises HTTPError: 400 or 413."""
    try:
        return prepare_image(io.BytesIO(content), preparation, steps)
    except BadImageError as bad:
        raise HTTPError(413 if isinstance(bad, ImageTooLargeError) else 400, f"the image {bad}") from None


def _prepare_small(
    images: Sequence[bytes], preparation: Preparation, steps: Sequence[str], stop: threading.Event
) -> list[np.ndarray | int]:
    """The small images, prepared, uint8 [c, h, w] each. In the place of a large one: the number of its pixels."""
    prepared: list[np.ndarray | int] = []
    for content in images:
        if stop.is_set():
            break
        pixels = header_pixels(content)
        if pixels is None:  # refused when it is decoded, unless a process finds that it can be
            pixels = MAX_PIXELS
        large = pixels > THREAD_PIXELS or len(content) > THREAD_BYTES
        prepared.append(pixels if large else _prepare(content, preparation, steps))
    return prepared


def main() -> None:
    """Decode what arrives on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C
    _limit_memory()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        job = json.loads(line)
        content = source.read(job["bytes"])
        _end_after(2 * DECODE_TIMEOUT)
        reply, pixels = {}, b""
        try:
            pixels = _prepare(content, Preparation(**job["preparation"]), job["steps"]).tobytes()
        except HTTPError as error:
            reply = {"status": error.status, "detail": error.detail}
        _end_after(0)
        with suppress(BrokenPipeError):
            target.write(json.dumps(reply).encode() + b"\n" + pixels)
            target.flush()


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (taken + PROCESS_MEMORY, most))


def _end_after(seconds: float) -> None:
    """End this process if an image takes so long, even if the server that waits for it has ended. 0: do not."""
    if sys.platform != "win32":
        signal.alarm(int(seconds))


if __name__ == "__main__":
    main()
