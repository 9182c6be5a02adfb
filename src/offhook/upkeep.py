"""What has to be done from time to time: slow notices, and the store's own housekeeping."""

import asyncio
from typing import Final

from offhook.drafts import ReturnAddress, notice
from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.patience import StoreWatch, woken
from offhook.ports import Overdue, Store
from offhook.settings import Settings

_ROUND: Final = 0.5  # seconds; by as much a slow notice may be late
_ROUNDS_PER_TIDY: Final = 2  # `Store.tidy` is called every second
_BATCH: Final = 100  # notices a round, so that a mass of them does not hold up the store


class Upkeep:
    """Tells people that it takes longer, and keeps the store tidy. Any number may run at once.

    Args:
        store: open, and of this event loop.
        settings: `slow_notice` and `sender` are used.
        observer: is told when the store is away.
    """

    def __init__(self, store: Store, settings: Settings, observer: Observer) -> None:
        self._store = store
        self._settings = settings
        self._watch = StoreWatch(observer, "slow notices and upkeep are suspended")
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return after the round it is in."""
        self._stopped.set()

    async def run(self) -> None:
        """Work until `stop` is called. A store that is away is waited for."""
        rounds = 0
        while not self._stopped.is_set():
            try:
                await self._tell_overdue()
                if rounds % _ROUNDS_PER_TIDY == 0:
                    await self._store.tidy()
            except StoreUnavailable as error:
                self._watch.away(error)
            else:
                self._watch.back()
            rounds += 1
            await woken(self._stopped, _ROUND)

    async def _tell_overdue(self) -> None:
        if not self._settings.slow_notice:
            return
        for message in await self._store.overdue(_BATCH):
            await self._tell(message)

    async def _tell(self, message: Overdue) -> None:
        address = ReturnAddress.of(message, self._settings)
        draft = notice("slow", self._settings.slow_notice, address)
        if draft is not None:
            await self._store.notify(message.id, draft)
