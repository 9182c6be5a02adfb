"""Release what dead workers had claimed, without waiting for their leases to end."""

import asyncio
from typing import Final

from offhook.concurrency import wait_for_event
from offhook.errors import StoreDenied, StoreUnavailable
from offhook.events import Incident, Observer, Topic
from offhook.stores.api import Presence

_EVERY: Final = 0.5  # seconds


class Takeover:
    """Looks for dead workers as long as this one works.

    Args:
        store: open; has the leases, and knows which workers live.
        observer: called when the store does not let it look, and when it does again.
    """

    def __init__(self, store: Presence, observer: Observer) -> None:
        self._store = store
        self._denial = Incident(observer, Topic.STORE_DENIED)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    async def run(self) -> None:
        """Release the leases of dead workers, now and twice a second, until `stop` is called."""
        while not self._stopped.is_set():
            await self._look()
            await wait_for_event(self._stopped, _EVERY)

    async def _look(self) -> None:
        try:
            await self._store.release_dead()
        except StoreDenied as error:
            self._denial.begin(f"messages of dead workers wait for their leases: {error}")
        except StoreUnavailable:
            pass  # the worker says so
        else:
            self._denial.end("messages of dead workers are released again")
