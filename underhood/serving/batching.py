"""Dynamic batching: requests that arrive at the same time are predicted in one batch."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Overloaded(Exception):
    """Too many items are waiting: the client should try again later."""


class Batcher(Generic[Item, Result]):
    """Collects items and passes them to ``work`` in batches, one batch at a time.

    work: a function of a batch that returns one result per item; an exception in a result's place is raised for the
        caller that submitted the item
    batch_size: the most items in a batch
    max_waiting: the most items that wait; more raise ``Overloaded``

    There is no delay to fill a batch: it holds the items that arrived in the same turn of the event loop, or while the
    batch before it was worked on. A batch runs in a thread; a single item runs without one, because handing it over
    would take longer than the work.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        batch_size: int = 128,
        max_waiting: int = 1024,
    ):
        self._work, self._batch_size, self._max_waiting = work, batch_size, max_waiting
        self._items: list[tuple[Item, asyncio.Future[Result]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._busy = False

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """The results of these items, in their order. Raises Overloaded, or the exception that is an item's result."""
        if len(self._items) + len(items) > self._max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        self._items += zip(items, futures, strict=True)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next, loop)  # after everything that arrived in this turn of the loop
        if len(futures) == 1:
            return [await futures[0]]
        return list(await asyncio.gather(*futures))

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next batch, in the thread if it has more than one item."""
        batch, self._items = self._items[: self._batch_size], self._items[self._batch_size :]
        batch = [(item, future) for item, future in batch if not future.done()]  # without cancelled requests
        items, futures = [item for item, _ in batch], [future for _, future in batch]
        if len(items) > 1:
            running = loop.run_in_executor(self._thread, self._try, items)
            running.add_done_callback(lambda done: self._finish(loop, futures, done.result()))
        else:
            self._finish(loop, futures, self._try(items) if items else [])

    def _try(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        try:
            return self._work(items)
        except Exception as error:
            return [error] * len(items)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: "Sequence[asyncio.Future[Result]]",
        results: Sequence[Result | Exception],
    ) -> None:
        """Resolve a batch's futures, and schedule the next batch if items are waiting."""
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._busy = bool(self._items)
        if self._busy:
            loop.call_soon(self._next, loop)
