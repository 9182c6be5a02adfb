"""The way into a SQLite store: through the arrivals log of this process."""

import asyncio
from typing import Final

from offhook.arrivals.log import ArrivalsLog
from offhook.arrivals.record import Arrival
from offhook.concurrency import cancel_and_wait
from offhook.core.inbound import Inbound
from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.stores.sqlite.store import SqliteStore
from offhook.stores.sqlite.wakeup import Wake

_TRIM_EVERY: Final = 0.25  # seconds


def arrivals_wake(store: SqliteStore) -> Wake:
    """Return what wakes the sorter of a store."""
    return Wake(store.path.with_name(f"{store.path.name}-arrivals"))


class LoggedStore:
    """Keeps `api.Entrance` before a store of this machine: the sorter of a worker fills that.

    Args:
        store: where the webhooks go in the end; opened and closed here.
        observer: called when a log had to be put aside or copied.
    """

    def __init__(self, store: SqliteStore, observer: Observer) -> None:
        self._store = store
        self._wake = arrivals_wake(store)
        self._log = ArrivalsLog(store.path, observer, self._wake.wake_others)
        self._trimming: asyncio.Task[None] | None = None
        self._appended = False

    async def open(self) -> None:
        """Open the store and the log.

        Raises:
            StoreError: one of them can't be used.
        """
        await self._store.open()
        try:
            await self._log.open()
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

    def accept(self, inbound: Inbound) -> "asyncio.Future[bool]":
        """Append a webhook durably. Whether it is new is known when it is sorted."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(refusal: StoreUnavailable | None) -> None:
            if future.done():
                return
            if refusal is None:
                future.set_result(True)
            else:
                future.set_exception(refusal)

        self._log.append(Arrival(inbound, self._store.now()), done)
        self._appended = True
        return future

    async def knows(self, inbound: Inbound) -> bool:
        """See `api.Entrance.knows`."""
        return await self._store.knows(inbound)

    async def backlog(self, at_most: int) -> int:
        """See `api.Entrance.backlog`: what is in the store, and what waits in the log."""
        return await self._store.backlog(at_most)

    async def check(self) -> None:
        """See `api.Store.check`."""
        await self._store.check()

    async def _trim_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_EVERY)
            if self._appended:
                self._appended = False
                try:
                    empty = await self._log.trim(await self._store.positions())
                except StoreUnavailable:  # what can't be trimmed now will be later
                    empty = False
                self._appended = self._appended or not empty
