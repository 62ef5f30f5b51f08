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
        self._busy = False

    async def ask(self, items: Sequence[Item]) -> list[Answer]:
        """The answers to items that belong together. Raises Overloaded, or what work gave for one of them."""
        if len(self._items) + len(items) > self._waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]
        self._items += zip(items, futures, strict=True)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next, loop)  # after all who have come at the same moment
        if len(futures) == 1:
            return [await futures[0]]
        return list(await asyncio.gather(*futures))

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work on what waits, in the thread if it is more than one item, and come again until nothing does."""
        batch, self._items = self._items[: self._most], self._items[self._most :]
        batch = [(item, future) for item, future in batch if not future.done()]  # who has gone needs no answer
        items, futures = [item for item, _ in batch], [future for _, future in batch]
        if len(items) > 1:
            working = loop.run_in_executor(self._thread, self._try, items)
            working.add_done_callback(lambda done: self._hand_out(loop, futures, done.result()))
        else:
            self._hand_out(loop, futures, self._try(items) if items else [])

    def _try(self, items: Sequence[Item]) -> Sequence[Answer | Exception]:
        try:
            return self._work(items)
        except Exception as error:
            return [error] * len(items)

    def _hand_out(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: "Sequence[asyncio.Future[Answer]]",
        answers: Sequence[Answer | Exception],
    ) -> None:
        for future, answer in zip(futures, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._busy = bool(self._items)
        if self._busy:
            loop.call_soon(self._next, loop)
