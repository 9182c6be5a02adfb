"""Discards that are carried out a moment later, so that they can be undone."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from offhook.core.lifecycle import LIVE, Trigger, sources
from offhook.errors import StoreError
from offhook.stores.api import Inbox

GRACE: Final = 6.0  # seconds

UNDOABLE: Final = sources(Trigger.DROP) - LIVE
"""States in which nothing happens to a message meanwhile; a live one is discarded at once."""


class Discards:
    """The discards of this process that can still be undone.

    Args:
        store: returns the store.
    """

    def __init__(self, store: Callable[[], Inbox]) -> None:
        self._store = store
        self._waiting: dict[int, asyncio.Task[None]] = {}

    def __contains__(self, message: int) -> bool:
        return message in self._waiting

    async def begin(self, message: int) -> bool:
        """Discard a message in a moment. Return False if its state allows no such delay."""
        history = await self._store().show(message)
        if history is None or history.record.state not in UNDOABLE:
            return False
        if message not in self._waiting:
            self._waiting[message] = asyncio.create_task(self._later(message))
        return True

    def undo(self, message: int) -> None:
        """Leave a message as it is, unless it has been discarded."""
        if (task := self._waiting.pop(message, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Carry out those that wait."""
        waiting, self._waiting = self._waiting, {}
        for message, task in waiting.items():
            task.cancel()
            await self._drop(message)

    async def _later(self, message: int) -> None:
        await asyncio.sleep(GRACE)
        await self._drop(message)
        self._waiting.pop(message, None)

    async def _drop(self, message: int) -> None:
        with suppress(StoreError):  # it stays, and can be discarded again
            await self._store().drop(message)
