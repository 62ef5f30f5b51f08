"""Requests that arrive together are predicted together: what waits while one batch is worked on is the next batch."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Overloaded(Exception):
    """More waits than can be answered soon."""


class Batcher(Generic[Item, Answer]):
    """Hands what waits to ``work``, in one thread, at most ``most`` at a time.

    work: items → as many answers, each what that item's asker gets: an exception is raised there
    waiting: so many may wait; who comes next is told ``Overloaded``
    Nothing waits for company longer than the loop takes to see who has come at the same moment. A single item is worked
    on without the thread, which would take longer than the work.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Answer | Exception]], most: int = 128, waiting: int = 1024
    ):
        self._work, self._most, self._waiting = work, most, waiting
        self._items: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._running: asyncio.Task[None] | None = None

    async def ask(self, items: Sequence[Item]) -> list[Answer]:
        """The answers to items that belong together. Raises Overloaded, or what work gave for one of them."""
        if len(self._items) + len(items) > self._waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]
        self._items += zip(items, futures, strict=True)
        if self._running is None or self._running.done():
            self._running = loop.create_task(self._run())
        return list(await asyncio.gather(*futures))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._items:
            await asyncio.sleep(0)  # who has come at the same moment asks now
            batch, self._items = self._items[: self._most], self._items[self._most :]
            wanted = [(item, future) for item, future in batch if not future.done()]  # who has gone needs no answer
            if not wanted:
                continue
            try:
                items = [item for item, _ in wanted]
                alone = len(items) == 1
                answers = self._work(items) if alone else await loop.run_in_executor(self._thread, self._work, items)
            except Exception as error:
                answers = [error] * len(wanted)
            for (_, future), answer in zip(wanted, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def close(self) -> None:
        self._thread.shutdown(wait=True)
