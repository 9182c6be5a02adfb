"""Periodic work: slow notices, retention, and the store's own housekeeping."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from offhook.concurrency import wait_for_event
from offhook.core.lifecycle import State
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.settings import Settings
from offhook.stores.api import Overdue, Retention, Store
from offhook.stores.availability import StoreWatch
from offhook.worker.drafts import ReturnAddress, notice

_ROUND: Final = 0.5  # seconds between two rounds, and how late a slow notice may be
_ROUNDS_PER_TIDY: Final = 2  # `Store.tidy` is called every second

PRUNE_INTERVAL: Final = 600.0
"""Seconds between two prunings; the first is at the start."""

# A batch takes SQLite 1 to 3 ms with a million messages. A writer may delay others by 5 ms, and
# they write in the pause after it (docs/decisions/0007-what-is-kept-and-counted.md).
_BATCH: Final = 100
_PAUSE: Final = 0.02  # seconds

_NOTICES: Final = 10
"""Notices in one transaction, which takes SQLite half a millisecond.

One by one, each would wait for the lock and for the disk: many of them would be late, and would
delay other writers.
"""

_DAY: Final = 86_400.0
_WARNING: Final = 7 * _DAY  # before the first parked message is deleted


class Maintenance:
    """Writes slow notices, and deletes what is past its retention. Any number may run at once.

    Args:
        store: open, and of this event loop.
        settings: `slow_notice`, `sender`, `keep_bodies` and `*_retention` are used.
        observer: called when the store is unavailable, and before parked messages are deleted.
    """

    def __init__(self, store: Store, settings: Settings, observer: Observer) -> None:
        self._store = store
        self._settings = settings
        self._retention = Retention(
            settled=settings.retention * _DAY,
            dead=settings.dead_retention * _DAY,
            parked=settings.parked_retention * _DAY,
            states=settings.state_retention * _DAY,
            keys=settings.dedupe_retention * _DAY,
        )
        self._observer = observer
        self._watch = StoreWatch(observer, "slow notices and maintenance are suspended")
        self._stopped = asyncio.Event()
        self._next_pruning = self._next_warning = time.monotonic()
        # What has waited while no worker ran may be handled in the next moment.
        self._notices_from = time.monotonic() + settings.slow_notice_after

    def stop(self) -> None:
        """Let `run` return after the current round."""
        self._stopped.set()

    async def run(self) -> None:
        """Work until `stop` is called; wait for a store that is unavailable.

        Raises:
            ExceptionGroup: with `StoreBroken`: the store does not come back by itself.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._notify_and_tidy())
            group.create_task(self._reduce_and_prune())

    async def _notify_and_tidy(self) -> None:
        next_tidy = time.monotonic()
        while not self._stopped.is_set():
            now = time.monotonic()
            notifies = bool(self._settings.slow_notice) and now >= self._notices_from
            tidies = now >= next_tidy
            more = False
            try:
                if notifies:
                    more = await self._notify_overdue()
                if tidies:
                    next_tidy = time.monotonic() + _ROUNDS_PER_TIDY * _ROUND
                    await self._store.tidy()
            except StoreUnavailable as error:
                self._watch.away(error)
                self._watch.end_if_broken()
            else:
                if notifies or tidies:  # only a round with a call has found the store available
                    self._watch.back()
            await wait_for_event(self._stopped, _PAUSE if more else _ROUND)

    async def _reduce_and_prune(self) -> None:
        """Delete in small batches. The other loop reports a store that is unavailable."""
        while not self._stopped.is_set():
            cleaned = 0
            with suppress(StoreUnavailable):
                cleaned = await self._reduce() + await self._prune()
            await wait_for_event(self._stopped, _PAUSE if cleaned else _ROUND)

    async def _reduce(self) -> int:
        return 0 if self._settings.keep_bodies else await self._store.reduce(_BATCH)

    async def _prune(self) -> int:
        if time.monotonic() < self._next_pruning:
            return 0
        await self._warn()
        pruned = await self._store.prune(self._retention, _BATCH)
        if not pruned:
            self._next_pruning = time.monotonic() + PRUNE_INTERVAL
        return pruned

    async def _warn(self) -> None:
        """Report once a day the parked messages that will be deleted within a week."""
        if time.monotonic() < self._next_warning:
            return
        counts = await self._store.counts()
        self._next_warning = time.monotonic() + _DAY
        if counts.parked is not None and counts.parked >= self._retention.parked - _WARNING:
            text = (
                f"parked messages: {counts.messages[State.PARKED]}, the oldest for "
                f"{counts.parked / _DAY:.0f} days; each is deleted after "
                f"{self._settings.parked_retention:g} days (OFFHOOK_PARKED_RETENTION)"
            )
            self._observer(Problem(Topic.PARKED_EXPIRE, text))

    async def _notify_overdue(self) -> bool:
        """Write some of the due notices in one transaction; return whether there may be more."""
        overdue = await self._store.overdue(_NOTICES)
        await asyncio.gather(*map(self._notify, overdue))
        return len(overdue) == _NOTICES

    async def _notify(self, message: Overdue) -> None:
        address = ReturnAddress.of(message, self._settings)
        draft = notice("slow", self._settings.slow_notice, address)
        if draft is not None:
            await self._store.notify(message.id, draft)
