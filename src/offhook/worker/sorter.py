"""Sort what the arrivals logs of a machine hold into its store."""

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from offhook.arrivals.file import Slot
from offhook.arrivals.logged import arrivals_wake
from offhook.arrivals.reader import LogReader, Round
from offhook.concurrency import wait_for_event
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.stores.availability import StoreWatch
from offhook.stores.sqlite.store import SqliteStore
from offhook.stores.sqlite.writer import failure

_ROWS: Final = 64  # commits of each log that are read at a time
_POLL: Final = 1.0  # seconds after which to look although no wake-up came: they may be lost


class Sorter:
    """Moves arrivals into the store, in the order of their receipt. One process of a machine does.

    Args:
        store: open, and of this event loop.
        observer: called when a log can't be read.
    """

    def __init__(self, store: SqliteStore, observer: Observer) -> None:
        self._store = store
        self._wake = arrivals_wake(store)
        self._work = asyncio.Event()
        self._observer = observer
        self._watch = StoreWatch(observer, "messages are not handled")
        self._reader = LogReader(store.path, self._report_unreadable)
        self._lead: Slot | None = None
        self._stopped = False
        self._reported: set[Path] = set()

    def stop(self) -> None:
        """Let `run` return once it has sorted what is there."""
        self._stopped = True
        self._work.set()

    async def run(self) -> None:
        """Sort until `stop` is called; wait while the store is unavailable."""
        self._work = self._wake.listen()
        try:
            while True:
                self._work.clear()
                stopped = self._stopped
                more = await self._sort_once()
                if stopped and not more:
                    return
                if not more:
                    await wait_for_event(self._work, _POLL)
        finally:
            self._wake.close()
            await asyncio.to_thread(self._close)

    async def sort(self) -> int:
        """Sort what is there, unless another process does so; return how many arrivals there were.

        Raises:
            StoreUnavailable: a log can't be read, or the store can't be written.
        """
        sorted_ = 0
        try:
            while (found := await self._round()) is not None:
                sorted_ += len(found.arrivals)
                if not found.more:
                    break
        finally:
            await asyncio.to_thread(self._close)
        return sorted_

    async def _sort_once(self) -> bool:
        """Sort a round; return whether there is more."""
        try:
            found = await self._round()
        except StoreUnavailable as error:
            self._watch.away(error)
            return False
        if found is None:
            return False
        self._watch.back()
        return found.more

    async def _round(self) -> Round | None:
        """Sort a round; return it, or None if another process sorts."""
        if not self._leads():
            return None
        before = self._store.now()
        positions = await self._store.positions()
        try:
            found = await asyncio.to_thread(self._reader.read, positions, before, _ROWS)
        except (OSError, sqlite3.Error) as error:
            raise failure("read the arrivals of", self._store.path, error) from error
        if found.positions:
            await self._store.sort(found.arrivals, found.positions)
        return found

    def _leads(self) -> bool:
        if self._lead is None:
            with suppress(OSError):  # there will be another time
                self._lead = Slot.try_take(
                    self._store.path.with_name(f"{self._store.path.name}-sorter")
                )
        return self._lead is not None

    def _report_unreadable(self, path: Path, error: Exception) -> None:
        if path not in self._reported:
            self._reported.add(path)
            self._observer(Problem(Topic.ARRIVALS, f"{path} can't be read: {error}"))

    def _close(self) -> None:
        self._reader.close()
        if self._lead is not None:
            self._lead.release()
            self._lead = None
