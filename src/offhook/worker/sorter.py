"""Sort what the arrivals logs of a machine hold into its store."""

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from offhook.arrivals.file import LogFile, Slot, is_unreadable, logs_of
from offhook.arrivals.logged import arrivals_wake
from offhook.arrivals.reader import LogReader, Round
from offhook.arrivals.record import NS_OF_S, Arrival
from offhook.arrivals.waiting import unavailable, waiting
from offhook.concurrency import wait_for_event
from offhook.core.inbound import Inbound
from offhook.errors import SchemaTooNew, StoreBroken, StoreError, StoreUnavailable
from offhook.events import Observer, Problem, Sorted, Topic
from offhook.stores.api import Overtaken, Store
from offhook.stores.availability import StoreWatch
from offhook.stores.sqlite.files import beside
from offhook.stores.sqlite.store import SqliteStore

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE: Final = 256  # arrivals of each log: some milliseconds of a transaction
_REST: Final = 2.0  # times as long as it took to sort a part of a backlog
_POLL: Final = 1.0  # seconds after which to look although no wake-up came: they may be lost
_OVERDUE: Final = 1.0  # seconds after which arrivals are sorted whoever leads
_STANDING_IN: Final = 10.0  # seconds for which that goes on
_TEND_EVERY: Final = 10.0  # seconds
_LAST: Final = 1.0  # seconds for what is left when a worker ends: tens of thousands of messages
_CATCH_UP_POLL: Final = 0.02  # seconds


class Sorter:
    """Moves arrivals into the store, in the order of their receipt.

    Several processes may do so at once: what one has stored, the store refuses from the others. To
    save work, one leads, and the others look only whether something has waited for too long because
    that one is stopped, or blocked by a handler.

    Args:
        store: open, and of this event loop.
        observer: called with what was sorted, and when something can't be; in part on a thread.
    """

    def __init__(self, store: SqliteStore, observer: Observer) -> None:
        self._store = store
        self._wake = arrivals_wake(store)
        self._work = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stop_by = math.inf
        self._observer = observer
        self._watch = StoreWatch(observer, "messages are not handled")
        self._reader = LogReader(store.path, store.now, self._report_unreadable)
        # Of its own: handlers may keep all threads of the event loop's executor busy.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offhook-sorter")
        self._lead: Slot | None = None
        self._stands_in_until = 0.0
        self._positions: dict[bytes, int] | None = None  # as the store has them, if it is known
        self._next_tending = 0.0
        self._reported: set[Path] = set()

    def stop(self, patience: float = _LAST) -> None:
        """Let `run` return once it has sorted what is there.

        Args:
            patience: seconds, after which it is left to others, or to the next start.
        """
        self._stop_by = time.monotonic() + patience
        self._stopped.set()
        self._work.set()

    async def run(self) -> None:
        """Sort until `stop` is called; wait while the store is unavailable.

        Raises:
            StoreBroken: the store is gone, and does not come back by itself.
        """
        self._work = self._wake.listen()
        try:
            while True:
                self._work.clear()
                stopped = self._stopped.is_set()
                began = time.monotonic()
                more = await self._sort_if_due()
                if stopped and (not more or time.monotonic() >= self._stop_by):
                    return
                if more:
                    # A backlog is handled in the order of its receipt, sorted or not: the handlers
                    # of what comes first need the time more.
                    await wait_for_event(self._stopped, _REST * (time.monotonic() - began))
                else:
                    leads = self._lead is not None or time.monotonic() < self._stands_in_until
                    await wait_for_event(self._work if leads else self._stopped, _POLL)
        finally:
            self._wake.close()
            await self._close()

    async def catch_up(self, patience: float) -> bool:
        """Have all that is in the logs now in the store, whoever sorts it; close.

        Args:
            patience: seconds, after which it is left to others.

        Returns:
            Whether all of it is in the store.

        Raises:
            StoreUnavailable: a log can't be read, or the store can't be written.
        """
        deadline = time.monotonic() + patience
        try:
            goals: Mapping[bytes, int] = {}
            while True:
                ends = await self._read(self._reader.ends)
                # Of one that is gone, another one holds what is to be sorted.
                goals = {name: goals.get(name, end) for name, end in ends.items()}
                more = await self._round()
                positions = self._positions or {}
                done = all(positions.get(name, 0) >= goal for name, goal in goals.items())
                if done or not more:
                    await self._tend()
                if done:
                    return True
                if time.monotonic() >= deadline:
                    return False
                if not more:
                    self._positions = None  # others sort too
                    await asyncio.sleep(_CATCH_UP_POLL)
        finally:
            await self._close()

    async def _sort_if_due(self) -> bool:
        """Sort a round, if that is for this process to do; return whether there is more."""
        try:
            if not (self._leads() or await self._stands_in()):
                return False
            more = await self._round()
            await self._tend()
        except StoreBroken:
            raise
        except StoreUnavailable as error:
            self._watch.away(error)
            return False
        self._watch.back()
        return more

    async def _stands_in(self) -> bool:
        """Return whether to sort although another process leads: it does not get to it."""
        if time.monotonic() < self._stands_in_until:
            return True
        oldest = (await waiting(self._store, at_most=1, thread=self._thread)).since
        if oldest is None or self._store.now() - oldest < _OVERDUE * NS_OF_S:
            return False
        self._stands_in_until = time.monotonic() + _STANDING_IN
        self._positions = None
        return True

    async def _round(self) -> bool:
        """Sort a round; return whether there is more."""
        before, self._positions = self._positions, None  # until it is known again
        if before is None:
            before = dict(await self._store.positions())
        found = await self._read(self._reader.read, before, _AT_ONCE)
        if found.positions:
            try:
                await self._sort(found, before)
            except Overtaken:
                self._stands_in_until = 0.0  # another process gets to it after all
                return self._lead is not None
        self._positions = before | found.positions
        return found.more

    async def _sort(self, found: Round, before: Mapping[bytes, int]) -> None:
        webhooks = await self._read_each(found.arrivals)
        arrived = [(inbound, arrival.received) for arrival, inbound in webhooks]
        try:
            new = await self._store.sort(arrived, found.positions, before)
        except (StoreUnavailable, Overtaken):
            raise
        except StoreError:  # about one of them, which is found out by storing each by itself
            new = await self._sort_each(webhooks)
            await self._store.sort((), found.positions, before)
        if arrived:
            waited = (self._store.now() - arrived[0][1]) / NS_OF_S
            self._observer(Sorted(sum(new), len(new) - sum(new), waited))

    async def _read_each(self, arrivals: Sequence[Arrival]) -> Sequence[tuple[Arrival, Inbound]]:
        """Read what each says of itself, and set aside those that can't be read."""
        read = []
        for arrival in arrivals:
            try:
                read.append((arrival, Inbound.of(arrival.webhook)))
            except ValueError as error:
                await self._set_aside(arrival, "a webhook", str(error))
        return read

    async def _sort_each(self, webhooks: Sequence[tuple[Arrival, Inbound]]) -> Sequence[bool]:
        """Store each by itself, and set aside those that can't be. Return which were new."""
        results = await asyncio.gather(
            *[
                self._store.sort([(inbound, arrival.received)], {}, {})
                for arrival, inbound in webhooks
            ],
            return_exceptions=True,
        )
        new: list[bool] = []
        for (arrival, inbound), result in zip(webhooks, results, strict=True):
            if not isinstance(result, BaseException):
                new += result
            elif isinstance(result, StoreError) and not isinstance(result, StoreUnavailable):
                await self._set_aside(arrival, ascii(inbound.sid), str(result))
            else:
                raise result
        return new

    async def _set_aside(self, arrival: Arrival, name: str, reason: str) -> None:
        path = await self._read(self._reader.set_aside, [arrival], reason)
        self._observer(Problem(Topic.ARRIVALS, f"{name} was set aside in {path}: {reason}"))

    async def _tend(self) -> None:
        """Trim the logs whose processes have ended, and put aside what can't be read of them."""
        if time.monotonic() < self._next_tending or self._positions is None:
            return
        self._next_tending = time.monotonic() + _TEND_EVERY
        with suppress(StoreUnavailable):  # there will be another time
            for path in await self._read(lambda: list(logs_of(self._store.path))):
                await self._read(self._tend_one, path, self._positions)

    def _tend_one(self, path: Path, positions: Mapping[bytes, int]) -> None:
        slot = Slot.try_take(path, self._store.path)
        if slot is None:  # its process trims it
            return
        try:
            with closing(slot.open()) as file:
                self._trim(slot, file, positions.get(file.name, 0))
        except SchemaTooNew:  # a worker of that version trims it; the reader has reported it
            return
        except sqlite3.DatabaseError as error:
            if not is_unreadable(error):
                raise
            self._observer(slot.put_aside(error))
        finally:
            slot.release()

    def _trim(self, slot: Slot, file: LogFile, position: int) -> None:
        try:
            file.tidy(position)
        except sqlite3.DatabaseError as error:
            if not is_unreadable(error):
                raise
            other = Slot.take(self._store.path)
            try:
                with closing(other.open()) as to:
                    self._observer(slot.move(file, to, error))
            finally:
                other.release()

    async def _read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something with the logs, on another thread.

        Raises:
            StoreUnavailable: it can't be done at present.
        """
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))
        except (OSError, sqlite3.Error) as error:
            raise unavailable(self._store.path, error) from error

    def _leads(self) -> bool:
        if self._lead is None:
            store = self._store.path
            with suppress(OSError):  # there will be another time
                self._lead = Slot.try_take(beside(store, "-sorter"), store)
        return self._lead is not None

    def _report_unreadable(self, path: Path, error: Exception) -> None:
        if path not in self._reported:
            self._reported.add(path)
            self._observer(Problem(Topic.ARRIVALS, f"{path} can't be read: {error}"))

    async def _close(self) -> None:
        try:
            await self._read(self._reader.close)
        finally:
            self._thread.shutdown(wait=False)
            if self._lead is not None:
                self._lead.release()
                self._lead = None
            self._positions = None


async def catch_up(store: Store, observer: Observer, *, patience: float) -> bool:
    """Have all that has been acknowledged by now in the store, so that a command finds it.

    Args:
        store: that is open. Only one of this machine has arrivals logs.
        observer: called when something can't be sorted.
        patience: seconds, after which what is left is left to a worker.

    Returns:
        Whether all of it is there.

    Raises:
        StoreUnavailable: a log can't be read, or the store can't be written.
    """
    if not isinstance(store, SqliteStore):
        return True
    return await Sorter(store, observer).catch_up(patience)
