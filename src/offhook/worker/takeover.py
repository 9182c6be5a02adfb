"""Release what dead workers had claimed, without waiting for their leases to end."""

import asyncio
from contextlib import suppress
from typing import Final

from offhook.concurrency import wait_for_event
from offhook.errors import StoreUnavailable
from offhook.stores.api import Presence

_EVERY: Final = 1.0  # seconds


class Takeover:
    """Looks for dead workers as long as this one works.

    Args:
        store: open; has the leases, and knows which workers live.
    """

    def __init__(self, store: Presence) -> None:
        self._store = store
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    async def run(self) -> None:
        """Release the leases of dead workers, at once and every second, until `stop` is called."""
        while not self._stopped.is_set():
            with suppress(StoreUnavailable):  # the worker says so; of missing rights, the doctor
                await self._store.release_dead()
            await wait_for_event(self._stopped, _EVERY)
