"""Group commit: many calls, one transaction, one fsync, and none returns before it.

The rows of a batch are written on the event loop, and a thread commits them. SQLite gives up
Python's global lock at each step of a statement; on a thread of its own it would have to win that
lock back from a busy loop ten times a batch; on the loop no other thread takes it. Only
where another process is writing, the thread does it all, since waiting is for threads
(docs/decisions/0003-sqlite-between-processes.md).
"""

import asyncio
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from offhook.concurrency import Deadline
from offhook.core.inbound import Inbound
from offhook.errors import StoreUnavailable
from offhook.stores.sqlite import sorting
from offhook.stores.sqlite.batch import (
    BulkWrite,
    Call,
    Entry,
    Item,
    Result,
    Write,
    fill,
    refuse,
)
from offhook.stores.sqlite.clock import StoreClock
from offhook.stores.sqlite.files import Files, Opened
from offhook.stores.sqlite.wakeup import Wake
from offhook.stores.sqlite.writer import Writer, failure

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")
MAX_QUEUED: Final = 20_000
"""Writes that may wait for a commit; beyond it the store counts as unavailable."""

_BATCH: Final = (
    256  # keeps a transaction under 5 ms of work, so that other processes get their turn
)

# The log is moved into the database in small steps, beside the writes: all at once it took 20 to
# 60 ms, within one commit (docs/decisions/0019-checkpoints-in-small-steps.md).
_CHECKPOINT_EVERY: Final = 0.02  # seconds
_CHECKPOINT_REST: Final = 10.0  # times as long as the last took: a slow disk has more to do

_LOOK_EVERY: Final = 1.0  # seconds

_TIMEOUT: Final = 10.0  # seconds until a write counts as failed; accept has its own limit


class Engine:
    """Runs writes in batches, one batch at a time, and reads on a thread of their own.

    Args:
        path: of the file, absolute.
        create, follow: as of `Files`.

    Attributes:
        clock: the store's time.
    """

    def __init__(self, path: Path, *, create: bool = True, follow: bool = True) -> None:
        self.path = path
        self.clock = StoreClock()
        self._files = Files(path, create=create, follow=follow, adopt=self.clock.anchor)
        self.wake = Wake(path)
        self._writer = Writer(path, self._files)
        self._items: deque[Item] = deque()
        self._busy = False
        self._deadline = Deadline(_TIMEOUT)
        self._idle = asyncio.Event()
        self._next_checkpoint = 0.0
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="offhook-sqlite-read")
        self._reading: Opened | None = None
        self._looking: asyncio.Handle | None = None

    async def open(self, migrate: Callable[[sqlite3.Connection], None]) -> None:
        """Create or open the file, and bring its schema up to date. Cancelling undoes that.

        Raises:
            StoreUnavailable: it can't be opened or written.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._commit_for_ever, daemon=True)
        self._thread.name = "offhook-sqlite-write"
        self._thread.start()
        try:
            await self._loop.run_in_executor(self._reader, self._prepare, migrate)
        except BaseException as error:
            self._writer.abandon()
            await self.close()
            if isinstance(error, OSError | sqlite3.Error):
                raise failure("open", self.path, error) from error
            raise
        self._look_every_second()

    async def close(self) -> None:
        """Commit what was begun, then close."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if self._looking is not None:
            self._looking.cancel()
        if self._busy:
            self._idle.clear()
            await asyncio.wait_for(self._idle.wait(), _TIMEOUT)
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, _TIMEOUT)
        await loop.run_in_executor(self._reader, self._close_reading)
        self._reader.shutdown(wait=False)
        self._writer.close()
        self.wake.close()

    def accept(self, inbound: Inbound) -> "asyncio.Future[bool]":
        """Store a webhook with the next commit; the future says whether it was new."""
        future: asyncio.Future[bool] = self._open_loop().create_future()
        self._put(Entry(sorting.accept, inbound, future))
        return future

    async def write(self, work: Write[T], *, wakes: bool = False) -> T:
        """Run `work` within the next commit.

        Args:
            work: called with the connection and the time; on the loop or on a thread.
            wakes: whether workers have something new to look at afterwards.

        Raises:
            StoreUnavailable: nothing was written, or it is not known to be within ten seconds.
            StoreError: nothing was written: `work` failed, and would again.
        """
        future: asyncio.Future[T] = self._open_loop().create_future()
        self._put(Call(work, future, wakes))
        return await self._committed(future)

    async def put(self, write: BulkWrite[I, T], value: I) -> T:
        """Write a value within the next commit, together with all others that are put for `write`.

        Workers have something new to look at afterwards. Raises what `write` does.
        """
        future: asyncio.Future[T] = self._open_loop().create_future()
        self._put(Entry(write, value, future))
        return await self._committed(future)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection for reading.

        Raises:
            StoreUnavailable: the file can't be read.
        """
        return await self._open_loop().run_in_executor(self._reader, self._read, work)

    async def checkpoint(self) -> None:
        """Move the write-ahead log's pages into the database, without stopping writers."""
        await self.read(_move_log)

    async def _committed(self, future: "asyncio.Future[T]") -> T:
        try:
            with self._deadline:
                return await future
        except TimeoutError:
            raise StoreUnavailable(f"no commit to {self.path} within {_TIMEOUT:g} s") from None

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise StoreUnavailable("the store is closed")
        return self._loop

    # On the event loop

    def _put(self, item: Item) -> None:
        if len(self._items) > MAX_QUEUED:
            raise StoreUnavailable("too many writes wait for the disk")
        self._items.append(item)
        if not self._busy:
            self._busy = True
            self._open_loop().call_soon(self._next_batch)

    def _next_batch(self) -> None:
        items = self._take()
        if not items:
            self._busy = False
            self._idle.set()
            return
        try:
            connection = self._writer.try_begin()
            if connection is None:
                self._jobs.put(lambda: self._all_at_once(items))
                return
            results = fill(connection, items, self.clock.now())
        except Exception as error:  # noqa: BLE001 - a mistake of ours, too, must leave no caller waiting
            self._finished(items, refuse(items, self._writer.fail(error)))
        else:
            self._jobs.put(lambda: self._commit(items, results))

    def _take(self) -> list[Item]:
        """Take a batch. A cancelled webhook was answered 503: it need not be stored."""
        items: list[Item] = []
        while self._items and len(items) < _BATCH:
            item = self._items.popleft()
            if not item.future.cancelled():
                items.append(item)
        return items

    def _finished(self, items: Sequence[Item], results: Sequence[Result]) -> None:
        for future, result, error in results:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        if _is_news(items, results):
            self.wake.wake_here()
        self._checkpoint_if_due()
        self._next_batch()

    def _checkpoint_if_due(self) -> None:
        if self._loop is not None and time.monotonic() >= self._next_checkpoint:
            self._next_checkpoint = math.inf  # until this one is done
            self._loop.run_in_executor(self._reader, self._checkpoint)

    def _look_every_second(self) -> None:
        """Close connections to a file that is not the store any more, even when idle.

        The last process to close one saves what the log holds, and others wait for that.
        """
        if self._loop is None:
            return
        self._looking = self._loop.call_later(_LOOK_EVERY, self._look_every_second)
        if not self._busy:
            self._writer.look()
        if self._reading is not None:
            self._reader.submit(self._look_at_reading)

    # On the writer's thread

    def _commit_for_ever(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _all_at_once(self, items: Sequence[Item]) -> None:
        try:
            connection = self._writer.begin()
            results = fill(connection, items, self.clock.now())
        except Exception as error:  # noqa: BLE001 - nor may it end the thread that commits
            self._deliver(items, refuse(items, self._writer.fail(error)))
        else:
            self._commit(items, results)

    def _commit(self, items: Sequence[Item], results: Sequence[Result]) -> None:
        try:
            self._writer.commit()
        except Exception as error:  # noqa: BLE001 - as in `_all_at_once`
            results = refuse(items, self._writer.fail(error))
        self._deliver(items, results)
        if _is_news(items, results):
            self.wake.wake_others()

    def _deliver(self, items: Sequence[Item], results: Sequence[Result]) -> None:
        """Hand a whole batch to the event loop in one call."""
        loop = asyncio.Future.get_loop(results[0][0])
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._finished, items, results)

    # On the reader's thread

    def _prepare(self, migrate: Callable[[sqlite3.Connection], None]) -> None:
        def migrated(connection: sqlite3.Connection) -> None:
            migrate(connection)
            self.clock.anchor(connection)

        self._writer.prepare(migrated)

    def _checkpoint(self) -> None:
        began = time.monotonic()
        try:
            self._read(_move_log)
        except StoreUnavailable:
            pass  # the next write says what is wrong
        finally:
            ended = time.monotonic()
            pause = max(_CHECKPOINT_EVERY, _CHECKPOINT_REST * (ended - began))
            self._next_checkpoint = ended + pause

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._reading is None:
                self._reading = self._files.open_again()
            self._reading.check()
            return work(self._reading.connection)
        except (OSError, sqlite3.Error) as error:
            self._close_reading()
            raise failure("read", self.path, error) from error

    def _look_at_reading(self) -> None:
        if self._reading is not None:
            try:
                self._reading.check()
            except OSError:
                self._close_reading()

    def _close_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


def _is_news(items: Sequence[Item], results: Sequence[Result]) -> bool:
    """Return whether workers have something new to look at; not after a batch that failed."""
    return any(item.wakes for item in items) and any(error is None for _, _, error in results)


def _move_log(connection: sqlite3.Connection) -> None:
    """Move what no reader needs any more from the log into the database. Stops no writer."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
