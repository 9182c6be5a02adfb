"""What has to be done from time to time: slow notices, and the store's own housekeeping."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from offhook.core.lifecycle import State
from offhook.drafts import ReturnAddress, notice
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.patience import StoreWatch, woken
from offhook.ports import Overdue, Retention, Store
from offhook.settings import Settings

_ROUND: Final = 0.5  # seconds; by as much a slow notice may be late
_ROUNDS_PER_TIDY: Final = 2  # `Store.tidy` is called every second

PRUNE_INTERVAL: Final = 600.0
"""Seconds between two prunings; the first comes at the start."""

# A batch takes SQLite 1 to 3 ms with a million messages, under the 5 that a writer may keep others
# waiting for, who get as many turns as they want in the pause behind it
# (docs/decisions/0007-what-is-kept-and-counted.md).
_CLEANED_AT_ONCE: Final = 100
_PAUSE: Final = 0.02  # seconds

_TOLD_AT_ONCE: Final = 10
"""Notices in one transaction; they take SQLite half a millisecond.

One by one, each would wait for its turn and for the disk: those of a mass would be late, and in the
way of webhooks.
"""

_DAY: Final = 86_400.0
_WARNING: Final = 7 * _DAY  # before the first parked message is deleted


class Upkeep:
    """Tells people that it takes longer, and keeps the store tidy. Any number may run at once.

    Args:
        store: open, and of this event loop.
        settings: `slow_notice`, `sender`, `keep_bodies` and what ends in `retention` are used.
        observer: is told when the store is away, and before parked messages are deleted.
    """

    def __init__(self, store: Store, settings: Settings, observer: Observer) -> None:
        self._store = store
        self._settings = settings
        self._retention = Retention(
            settled=settings.retention * _DAY,
            dead=settings.dead_retention * _DAY,
            parked=settings.parked_retention * _DAY,
            keys=settings.dedupe_retention * _DAY,
        )
        self._observer = observer
        self._watch = StoreWatch(observer, "slow notices and upkeep are suspended")
        self._stopped = asyncio.Event()
        self._next_pruning = self._next_warning = time.monotonic()

    def stop(self) -> None:
        """Let `run` return after the round it is in."""
        self._stopped.set()

    async def run(self) -> None:
        """Work until `stop` is called. A store that is away is waited for.

        Raises:
            ExceptionGroup: with `StoreBroken`: the store does not come back by itself.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve())
            group.create_task(self._clean())

    async def _serve(self) -> None:
        next_tidy = time.monotonic()
        while not self._stopped.is_set():
            tells, tidies = bool(self._settings.slow_notice), time.monotonic() >= next_tidy
            more = False
            try:
                if tells:
                    more = await self._tell_overdue()
                if tidies:
                    next_tidy = time.monotonic() + _ROUNDS_PER_TIDY * _ROUND
                    await self._store.tidy()
            except StoreUnavailable as error:
                self._watch.away(error)
                self._watch.end_if_broken()
            else:
                if tells or tidies:  # a round that asked nothing has not heard that it is back
                    self._watch.back()
            await woken(self._stopped, _PAUSE if more else _ROUND)

    async def _clean(self) -> None:
        """Clean in small batches. A store that is away is told of by the other loop."""
        while not self._stopped.is_set():
            cleaned = 0
            with suppress(StoreUnavailable):
                cleaned = await self._reduce() + await self._prune()
            await woken(self._stopped, _PAUSE if cleaned else _ROUND)

    async def _reduce(self) -> int:
        return 0 if self._settings.keep_bodies else await self._store.reduce(_CLEANED_AT_ONCE)

    async def _prune(self) -> int:
        if time.monotonic() < self._next_pruning:
            return 0
        await self._warn()
        pruned = await self._store.prune(self._retention, _CLEANED_AT_ONCE)
        if not pruned:
            self._next_pruning = time.monotonic() + PRUNE_INTERVAL
        return pruned

    async def _warn(self) -> None:
        """Warn once a day of parked messages that are deleted soon."""
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

    async def _tell_overdue(self) -> bool:
        """Write some of the notices that are due, all at once; return whether there may be more."""
        overdue = await self._store.overdue(_TOLD_AT_ONCE)
        await asyncio.gather(*map(self._tell, overdue))
        return len(overdue) == _TOLD_AT_ONCE

    async def _tell(self, message: Overdue) -> None:
        address = ReturnAddress.of(message, self._settings)
        draft = notice("slow", self._settings.slow_notice, address)
        if draft is not None:
            await self._store.notify(message.id, draft)
