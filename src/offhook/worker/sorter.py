"""Sort what the arrivals logs of a machine hold into its store."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Final

from offhook.arrivals.logged import arrivals_wake
from offhook.arrivals.logs import Logs, Readable
from offhook.arrivals.reader import Round
from offhook.arrivals.record import NS_OF_S
from offhook.concurrency import wait_for_event
from offhook.errors import StoreBroken, StoreError, StoreUnavailable
from offhook.events import Observer, Sorted
from offhook.stores.api import Overtaken, Store
from offhook.stores.availability import StoreWatch
from offhook.stores.sqlite.store import SqliteStore

_AT_ONCE: Final = 256  # arrivals of each log: some milliseconds of a transaction
_REST: Final = 2.0  # times as long as it took to sort a part of a backlog
_POLL: Final = 1.0  # seconds after which to look although no wake-up came: they may be lost
_OVERDUE: Final = 1.0  # seconds after which arrivals are sorted whoever leads
_STANDING_IN: Final = 10.0  # seconds for which that goes on
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
        self._logs = Logs(store.path, store.now, observer, role="sorter")
        self._stands_in_until = 0.0
        self._positions: dict[bytes, int] | None = None  # as the store has them, if it is known

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
                    sorts = self._logs.leading or time.monotonic() < self._stands_in_until
                    await wait_for_event(self._work if sorts else self._stopped, _POLL)
        finally:
            self._wake.close()
            await self._logs.close()

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
                ends = await self._logs.ends()
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
            await self._logs.close()

    async def _sort_if_due(self) -> bool:
        """Sort a round, if that is for this process to do; return whether there is more."""
        try:
            if not (self._logs.lead() or await self._stands_in()):
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
        found = await self._logs.waiting(await self._store.positions(), at_most=1)
        if found.since is None or self._store.now() - found.since < _OVERDUE * NS_OF_S:
            return False
        self._stands_in_until = time.monotonic() + _STANDING_IN
        self._positions = None
        return True

    async def _round(self) -> bool:
        """Sort a round; return whether there is more."""
        before, self._positions = self._positions, None  # until it is known again
        if before is None:
            before = dict(await self._store.positions())
        found = await self._logs.read(before, _AT_ONCE)
        if found.positions:
            try:
                await self._sort(found, before)
            except Overtaken:
                self._stands_in_until = 0.0  # another process gets to it after all
                return self._logs.leading
        self._positions = before | found.positions
        return found.more

    async def _sort(self, found: Round, before: Mapping[bytes, int]) -> None:
        webhooks = await self._logs.readable(found.arrivals)
        try:
            new = await self._store_all(webhooks, found.positions, before)
        except (StoreUnavailable, Overtaken):
            raise
        except StoreError:
            new = await self._logs.store_each(webhooks, lambda some: self._store_all(some, {}, {}))
            await self._store.sort((), found.positions, before)
        if webhooks:
            waited = (self._store.now() - webhooks[0][0].received) / NS_OF_S
            self._observer(Sorted(sum(new), len(new) - sum(new), waited))

    async def _store_all(
        self,
        webhooks: Sequence[Readable],
        positions: Mapping[bytes, int],
        before: Mapping[bytes, int],
    ) -> Sequence[bool]:
        arrived = [(inbound, arrival.received) for arrival, inbound in webhooks]
        return await self._store.sort(arrived, positions, before)

    async def _tend(self) -> None:
        if self._positions is not None:
            await self._logs.tend(self._positions)


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
