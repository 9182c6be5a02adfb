"""The way into a SQLite store: through the arrivals log of this process."""

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from offhook.arrivals.log import ArrivalsLog
from offhook.arrivals.old_spool import OldSpool
from offhook.arrivals.record import Arrival
from offhook.arrivals.waiting import unavailable, waiting
from offhook.concurrency import cancel_and_wait
from offhook.core.inbound import Inbound, Webhook
from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.stores.availability import StoreWatch
from offhook.stores.sqlite.files import beside
from offhook.stores.sqlite.store import SqliteStore
from offhook.stores.sqlite.wakeup import Wake

_TRIM_EVERY: Final = 0.25  # seconds


def arrivals_wake(store: SqliteStore) -> Wake:
    """Return what wakes the sorter of a store."""
    return Wake(beside(store.path, "-arrivals"))


class LoggedStore:
    """Keeps `api.Entrance` before a store of this machine, into which a worker's sorter reads it.

    Nothing of a webhook is read here but its kind: it is appended as it came.

    Args:
        store: where the webhooks go in the end; opened and closed here.
        observer: called when a log had to be put aside or copied.
        old_spool: the spool of an earlier version, which may hold webhooks.
    """

    def __init__(
        self, store: SqliteStore, observer: Observer, *, old_spool: Path | None = None
    ) -> None:
        self._store = store
        self._old_spool = None if old_spool is None else OldSpool(old_spool, observer)
        self._wake = arrivals_wake(store)
        self._log = ArrivalsLog(store.path, observer, self._wake.wake_others)
        self._watch = StoreWatch(observer, "webhooks wait in the arrivals log")
        self._trimming: asyncio.Task[None] | None = None
        self._appended = True  # by the process whose log was taken over

    async def open(self) -> None:
        """Open the store and the log.

        Raises:
            StoreError: one of them can't be used.
        """
        await self._store.open()
        try:
            await self._log.open()
            await self._move_old()
        except BaseException:
            await self._store.close()
            raise
        self._trimming = asyncio.create_task(self._trim_for_ever(), name="offhook arrivals")

    async def close(self) -> None:
        """Append what was begun, and close both. May be called twice."""
        await cancel_and_wait(self._trimming)
        self._trimming = None
        await self._log.close()
        self._wake.close()
        await self._store.close()

    def accept(self, webhook: Webhook) -> "asyncio.Future[bool]":
        """Append a webhook durably. Whether it is new is known when it is sorted: always True.

        Raises:
            StoreUnavailable: it can't be appended.
        """
        self._appended = True
        return self._log.append(Arrival(webhook, self._store.now()))

    async def knows(self, webhook: Webhook) -> bool:
        """See `api.Entrance.knows`. What is yet to be sorted is not known."""
        return await self._store.knows(Inbound.of(webhook))

    async def backlog(self, at_most: int) -> int:
        """See `api.Entrance.backlog`: what is in the store, and what waits in the logs."""
        stored = await self._store.backlog(at_most)
        return min(at_most, stored + (await waiting(self._store, at_most)).number)

    async def check(self) -> None:
        """Write something to the log, as for a webhook. The store may be away: webhooks wait.

        Raises:
            StoreUnavailable: the log can't be written.
        """
        await self._log.check()

    async def _trim_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_EVERY)
            with suppress(StoreUnavailable):  # there will be another time
                await self._move_old()
            if self._appended:
                self._appended = False
                self._appended = not await self._trim() or self._appended

    async def _move_old(self) -> None:
        """Move what an earlier version keeps in a spool to a log, until its last process ends."""
        if self._old_spool is not None and self._old_spool.exists():
            try:
                await asyncio.to_thread(self._old_spool.move, self._store.path, self._store.now)
            except (OSError, sqlite3.Error) as error:
                raise unavailable(self._store.path, error) from error
            self._wake.wake_others()

    async def _trim(self) -> bool:
        """Trim what has been sorted; return whether the log is empty then."""
        try:
            await self._log.look()
            empty = await self._log.trim(await self._store.positions())
        except StoreUnavailable as error:
            self._watch.away(error)
            return False
        self._watch.back()
        return empty
