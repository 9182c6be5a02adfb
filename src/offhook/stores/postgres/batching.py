"""Gather concurrent calls into one statement and one commit."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar, cast

from offhook.errors import StoreUnavailable

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

MAX_QUEUED: Final = 20_000
"""Calls that may wait for a batch; beyond it the store counts as unavailable."""


class Batches(Generic[I, R]):
    """Gathers calls while others are under way, and writes them together.

    At low load a batch is one call, which waits for nothing; at high load it is as many as come
    while the server commits. A caller that is cancelled takes nothing with it: its call is dropped
    if it has not begun, and else finishes with its batch.

    Args:
        write: writes a batch. Returns for each item its result, or the error that its caller gets;
            an item's refusal must not touch the others.
        most: items in one batch.
        at_once: batches under way at a time.
    """

    def __init__(
        self,
        write: Callable[[Sequence[I]], Awaitable[Sequence[R | Exception]]],
        *,
        most: int,
        at_once: int,
    ) -> None:
        self._write = write
        self._most = most
        self._at_once = at_once
        self._queue: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._writers: set[asyncio.Task[None]] = set()

    def put(self, item: I) -> "asyncio.Future[R]":
        """Write an item with one of the next batches.

        Raises:
            StoreUnavailable: too many wait.
        """
        if len(self._queue) >= MAX_QUEUED:
            raise StoreUnavailable("too many writes wait for the database")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._queue.append((item, future))
        if len(self._writers) < self._at_once:
            # It begins with the loop's next turn: what else comes in this turn goes along.
            writer = loop.create_task(self._work())
            self._writers.add(writer)
        return future

    async def finish(self, within: float) -> None:
        """Wait until everything that was put is written, but no longer than `within` seconds."""
        if self._writers:
            await asyncio.wait(self._writers, timeout=within)

    async def _work(self) -> None:
        try:
            await self._write_all()
        finally:
            # Here, not by a callback of the task: between the two, an item would find its writer
            # at work that looks for nothing any more, and wait for ever.
            self._writers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _write_all(self) -> None:
        while batch := self._take():
            results = await self._results([item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _take(self) -> list[tuple[I, "asyncio.Future[R]"]]:
        batch: list[tuple[I, asyncio.Future[R]]] = []
        while self._queue and len(batch) < self._most:
            item, future = self._queue.popleft()
            if not future.cancelled():
                batch.append((item, future))
        return batch

    async def _results(self, items: Sequence[I]) -> Sequence[R | Exception]:
        try:
            return await self._write(items)
        except StoreUnavailable as error:
            return [_of_its_own(error) for _ in items]
        except Exception as error:  # noqa: BLE001 - a mistake of ours, too, must leave no caller waiting
            # One of the values can't be stored. It is to be the only one that fails.
            if len(items) == 1:
                return [error]
            half = len(items) // 2
            return [*await self._results(items[:half]), *await self._results(items[half:])]


def _of_its_own(error: StoreUnavailable) -> StoreUnavailable:
    """Return an error of each caller's own: raising one adds its traceback to it."""
    again = StoreUnavailable(str(error))
    again.__cause__ = error
    return again
