"""Waiting: for something to do, and for a store that is away."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from offhook.errors import StoreUnavailable
from offhook.events import Observer, Trouble
from offhook.ports import Store

T = TypeVar("T")

POLL: Final = 1.0
"""Seconds after which to look for work though nothing was heard: wake-ups may be lost."""

_BREATH: Final = 0.01  # seconds; keeps a due time that is in the past from making a busy loop
_FIRST_REPEAT: Final = 0.1  # seconds; a locked database is free again within that
_LAST_REPEAT: Final = 5.0  # seconds; a store that is back must not be left idle for long


async def woken(event: asyncio.Event, due: float | None = None) -> None:
    """Wait until the event is set, something falls due, or it is time to look anyway.

    Args:
        event: not cleared here.
        due: seconds until something falls due; None for nothing.
    """
    patience = POLL if due is None else max(_BREATH, min(POLL, due))
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await event.wait()


async def arrived(
    make: Callable[[], Store], stop: asyncio.Event, observer: Observer, doing: str
) -> Store | None:
    """Return a store when it is there, open; None when `stop` came first.

    Args:
        make: returns a store that is yet to be opened.
        stop: ends the waiting.
        observer: is told that the store is away.
        doing: as of `StoreWatch`.

    Raises:
        StoreError: the store can't be used, for another reason than that it is away.
    """
    watch = StoreWatch(observer, doing)
    while not stop.is_set():
        store = make()
        try:
            await store.open()
        except StoreUnavailable as error:
            watch.away(error)
            await store.close()
            await woken(stop)
        else:
            watch.back()
            return store
    return None


class StoreWatch:
    """Tells once that the store is away, and once that it is back.

    Args:
        observer: is told.
        doing: what cannot be done meanwhile, as in "messages are not claimed".
    """

    def __init__(self, observer: Observer, doing: str) -> None:
        self._observer = observer
        self._doing = doing
        self._away = False

    def away(self, error: StoreUnavailable) -> None:
        """Note that a call failed."""
        if not self._away:
            self._away = True
            self._observer(Trouble("store-unavailable", f"{self._doing}: {error}"))

    def back(self) -> None:
        """Note that a call succeeded."""
        if self._away:
            self._away = False
            self._observer(Trouble("store-unavailable", "the store is back", ok=True))

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Repeat a write until the store takes it. Every error but `StoreUnavailable` passes."""
        delay = _FIRST_REPEAT
        while True:
            try:
                result = await write()
            except StoreUnavailable as error:
                self.away(error)
            else:
                self.back()
                return result
            await asyncio.sleep(delay)
            delay = min(_LAST_REPEAT, 2 * delay)
