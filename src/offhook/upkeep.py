"""What has to be done from time to time: slow notices, and the store's own housekeeping."""

import asyncio
import time
from contextlib import suppress
from typing import Final

from offhook.drafts import ReturnAddress, notice
from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.patience import StoreWatch, woken
from offhook.ports import Overdue, Retention, Store
from offhook.settings import Settings

_ROUND: Final = 0.5  # seconds; by as much a slow notice may be late
_ROUNDS_PER_TIDY: Final = 2  # `Store.tidy` is called every second
_BATCH: Final = 100  # notices a round, so that a mass of them does not hold up the store

PRUNE_INTERVAL: Final = 600.0
"""Seconds between two prunings; the first comes at the start."""

# A batch takes SQLite 1 to 3 ms with a million messages, under the 5 that a writer may keep others
# waiting for, who get as many turns as they want in the pause behind it
# (docs/decisions/0007-what-is-kept-and-counted.md).
_CLEANED_AT_ONCE: Final = 100
_PAUSE: Final = 0.02  # seconds

_DAY: Final = 86_400.0


class Upkeep:
    """Tells people that it takes longer, and keeps the store tidy. Any number may run at once.

    Args:
        store: open, and of this event loop.
        settings: `slow_notice`, `sender`, `keep_bodies` and what ends in `retention` are used.
        observer: is told when the store is away.
    """

    def __init__(self, store: Store, settings: Settings, observer: Observer) -> None:
        self._store = store
        self._settings = settings
        self._retention = Retention(
            settled=settings.retention * _DAY,
            dead=settings.dead_retention * _DAY,
            keys=settings.dedupe_retention * _DAY,
        )
        self._watch = StoreWatch(observer, "slow notices and upkeep are suspended")
        self._stopped = asyncio.Event()
        self._next_pruning = time.monotonic()

    def stop(self) -> None:
        """Let `run` return after the round it is in."""
        self._stopped.set()

    async def run(self) -> None:
        """Work until `stop` is called. A store that is away is waited for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve())
            group.create_task(self._clean())

    async def _serve(self) -> None:
        rounds = 0
        while not self._stopped.is_set():
            tells, tidies = bool(self._settings.slow_notice), rounds % _ROUNDS_PER_TIDY == 0
            try:
                if tells:
                    await self._tell_overdue()
                if tidies:
                    await self._store.tidy()
            except StoreUnavailable as error:
                self._watch.away(error)
            else:
                if tells or tidies:  # a round that asked nothing has not heard that it is back
                    self._watch.back()
            rounds += 1
            await woken(self._stopped, _ROUND)

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
        pruned = await self._store.prune(self._retention, _CLEANED_AT_ONCE)
        if not pruned:
            self._next_pruning = time.monotonic() + PRUNE_INTERVAL
        return pruned

    async def _tell_overdue(self) -> None:
        for message in await self._store.overdue(_BATCH):
            await self._tell(message)

    async def _tell(self, message: Overdue) -> None:
        address = ReturnAddress.of(message, self._settings)
        draft = notice("slow", self._settings.slow_notice, address)
        if draft is not None:
            await self._store.notify(message.id, draft)
