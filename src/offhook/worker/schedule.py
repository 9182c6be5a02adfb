"""Have scheduled sends join their conversations when they are due."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from offhook.arrivals.waiting import waiting
from offhook.concurrency import wait_for_event
from offhook.errors import StoreUnavailable
from offhook.stores.api import Store
from offhook.stores.sqlite.store import SqliteStore

_LONGEST: Final = 1.0  # seconds between two looks: others may have scheduled something meanwhile
_SHORTEST: Final = 0.05
_AT_ONCE: Final = 100  # requests in one transaction


class Schedule:
    """Watches what is scheduled, as long as this worker works.

    Args:
        store: open, and of this event loop.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopped = asyncio.Event()
        # Of its own: handlers may keep all threads of the event loop's executor busy.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offhook-schedule")

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    async def run(self) -> None:
        """Start what is due, until `stop` is called."""
        try:
            while not self._stopped.is_set():
                await wait_for_event(self._stopped, await self._look())
        finally:
            self._thread.shutdown(wait=False)

    async def _look(self) -> float:
        """Start what is due; return the seconds until the next look."""
        try:
            due = await self._store.next_request_due()
            if due == 0.0:
                await self._store.start_due(_AT_ONCE, sorted_until=await self._sorted_until())
        except StoreUnavailable:
            return _LONGEST  # the worker says so
        return _LONGEST if due is None else min(_LONGEST, max(_SHORTEST, due))

    async def _sorted_until(self) -> int | None:
        """Return until when everything that this machine has received is in the store.

        A reply that came while no worker ran may be older than what it cancels is due.
        """
        if not isinstance(self._store, SqliteStore):
            return None
        now = self._store.now()
        try:
            oldest = (await waiting(self._store, at_most=1, thread=self._thread)).since
        except StoreUnavailable:  # the sorter says so
            return 0
        return now if oldest is None else oldest
