"""Append arrivals durably: one commit for all that have gathered, on a thread of its own."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from offhook.arrivals.file import LogFile, Slot, is_unreadable
from offhook.arrivals.record import Arrival, pack
from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.stores.sqlite.files import FileMoved
from offhook.stores.sqlite.writer import failure

T = TypeVar("T")
_Gathered = tuple[Arrival, "asyncio.Future[bool]"]

MAX_GATHERED: Final = 20_000
"""Arrivals that may wait for a commit; beyond it the log counts as unavailable."""

_BATCH: Final = 256  # arrivals of one row: as many as the sorter stores in one transaction


class ArrivalsLog:
    """The log of one ingress process, its only writer. Made and used on one event loop.

    What is appended while a commit is under way goes into the next one: a commit takes little
    longer for a hundred arrivals than for one, and no caller waits for two of them.

    Args:
        home: the path that the log is beside: of a store's file, or of a spool.
        observer: called on the log's thread when a log was renamed, or copied to another file.
        wake: called after each commit, on the log's thread: there is something to sort.
    """

    def __init__(self, home: Path, observer: Observer, wake: Callable[[], None]) -> None:
        self._home = home
        self._observer = observer
        self._wake = wake
        self._gathered: list[_Gathered] = []
        self._committing = False
        self._idle = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = True
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._slot: Slot | None = None
        self._file: LogFile | None = None

    async def open(self) -> None:
        """Take a log over from a process that has died, or make one.

        Raises:
            StoreUnavailable: none can be written here.
            SchemaTooNew: a newer offhook has written it.
        """
        self._loop, self._closed = asyncio.get_running_loop(), False
        self._thread = threading.Thread(target=self._run, name="offhook-arrivals", daemon=True)
        self._thread.start()
        try:
            await self._call(self._begin)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what was appended, and close. May be called twice."""
        if self._closed or self._thread is None:
            return
        self._closed = True
        if self._committing:
            self._idle.clear()
            await self._idle.wait()
        self._jobs.put(self._end)
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def append(self, arrival: Arrival) -> "asyncio.Future[bool]":
        """Append with the next commit, in the order of the calls.

        Returns:
            True once it is durable; `StoreUnavailable` if it is not. What is cancelled before its
            commit has begun is left out.

        Raises:
            StoreUnavailable: too many wait for the disk, or the log is closed.
        """
        loop = self._loop
        if self._closed or loop is None:
            raise StoreUnavailable("the arrivals log is closed")
        if len(self._gathered) >= MAX_GATHERED:
            raise StoreUnavailable("too many webhooks wait for the disk")
        future: asyncio.Future[bool] = loop.create_future()
        self._gathered.append((arrival, future))
        if not self._committing:
            self._committing = True
            loop.call_soon(self._next)
        return future

    async def trim(self, positions: Mapping[bytes, int]) -> bool:
        """Remove what has been sorted, and give back its place; return whether nothing is left.

        Args:
            positions: how far, by the names of logs; of this one too, unless nothing was sorted.

        Raises:
            StoreUnavailable: it can't be written at present.
        """
        return await self._call(lambda: self._trim(positions))

    async def look(self) -> None:
        """Look whether the log can still be found, and copy it into another one if not.

        Raises:
            StoreUnavailable: it can't be copied at present.
        """
        await self._call(self._look)

    async def check(self) -> None:
        """Write as much as a webhook can take, and change nothing by it.

        Raises:
            StoreUnavailable: it can't be written at present.
        """
        await self._call(self._probe)

    # On the event loop

    def _next(self) -> None:
        gathered, self._gathered = self._gathered[:_BATCH], self._gathered[_BATCH:]
        batch = [one for one in gathered if not one[1].done()]
        if batch:
            self._jobs.put(lambda: self._commit(batch))
        elif self._gathered:
            self._next()
        else:
            self._committing = False
            self._idle.set()

    def _committed(self, batch: Sequence[_Gathered], refusal: StoreUnavailable | None) -> None:
        for _, future in batch:
            if future.done():  # nobody waits for it any more
                continue
            if refusal is None:
                future.set_result(True)
            else:
                future.set_exception(refusal)
        self._next()

    async def _call(self, work: Callable[[], T]) -> T:
        """Run something on the thread, between two commits."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._closed:
            raise StoreUnavailable("the arrivals log is closed")

        def settle(act: Callable[[], None]) -> None:
            if not future.cancelled():
                act()

        def job() -> None:
            try:
                result = work()
            except (OSError, sqlite3.Error) as failed:
                _tell(
                    loop,
                    settle,
                    partial(future.set_exception, failure("write", self._home, failed)),
                )
            except Exception as failed:  # noqa: BLE001 - it is the caller's, not the thread's
                _tell(loop, settle, partial(future.set_exception, failed))
            else:
                _tell(loop, settle, partial(future.set_result, result))

        self._jobs.put(job)
        return await future

    # On the thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _begin(self) -> None:
        slot = Slot.take(self._home)
        try:
            self._file = self._open_any(slot)
        except BaseException:
            slot.release()
            raise
        self._slot = slot

    def _open_any(self, slot: Slot) -> LogFile:
        """Open a log; one that can't be read is put aside, and another begun."""
        try:
            return slot.open()
        except sqlite3.Error as error:
            if not is_unreadable(error):
                raise
            self._observer(slot.put_aside(error))
            return slot.open()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        if self._file is not None:
            with suppress(OSError, sqlite3.Error, StoreUnavailable):
                self._look()  # or what it holds ends with the process
        self._close_file()
        if self._slot is not None:
            self._slot.release()
            self._slot = None

    def _commit(self, batch: Sequence[_Gathered]) -> None:
        arrivals = [arrival for arrival, _ in batch]
        refusal = None
        try:
            self._append(arrivals)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            refusal = failure("write", self._home, error)
        if self._loop is not None:
            _tell(self._loop, self._committed, batch, refusal)
        if refusal is None:
            self._wake()

    def _append(self, arrivals: Sequence[Arrival]) -> None:
        """Commit a row to a log that can be found."""
        self._move_if_lost()
        row = pack(arrivals), max(received for _, received in arrivals), len(arrivals)
        try:
            self._writable().append(*row)
        except sqlite3.Error as error:
            self._replace_damaged(error)
            self._writable().append(*row)
        self._move_if_lost()  # the row is durable, and is copied with the others

    def _replace_damaged(self, error: sqlite3.Error) -> None:
        """Go on in another log, or raise the error again if the log is not damaged."""
        if self._file is None or not is_unreadable(error):
            raise error
        self._move(error)

    def _writable(self) -> LogFile:
        if self._file is None:
            self._begin()
        if self._file is None:
            raise StoreUnavailable("the arrivals log is closed")
        return self._file

    def _probe(self) -> None:
        file = self._writable()
        file.probe()
        file.checkpoint()  # else an ingress that is asked whether it is ready, and idle, fills it

    def _look(self) -> None:
        self._move_if_lost()
        try:
            if self._slot is not None:
                self._slot.check(self._home)
        except FileMoved as error:
            self._move(error)

    def _move_if_lost(self) -> None:
        try:
            self._writable().check()
        except FileMoved as error:
            self._move(error)
        if self._slot is not None and not self._slot.is_held():  # others may take it
            self._slot.release()
            self._slot = Slot.try_take(self._slot.path, self._home)
            if self._slot is None:
                self._close_file()
                self._begin()

    def _move(self, error: Exception) -> None:
        """Go on in another log, and copy into it what is in one that others can't find or read."""
        lost, lost_slot = self._file, self._slot
        if lost is None or lost_slot is None:
            return
        slot = Slot.take(self._home)
        try:
            file = self._open_any(slot)
            problem = lost_slot.move(lost, file, error)
            file.check()
        except BaseException:
            slot.release()
            raise
        self._file, self._slot = file, slot
        lost_slot.release()
        self._observer(problem)

    def _trim(self, positions: Mapping[bytes, int]) -> bool:
        if self._file is None:
            return False
        position = positions.get(self._file.name, 0)
        try:
            self._file.tidy(position)
        except sqlite3.Error as error:
            self._replace_damaged(error)
        return self._writable().is_empty()


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *given: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *given)
