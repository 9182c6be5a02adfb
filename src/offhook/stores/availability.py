"""Wait for a store that is unavailable, and report it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from offhook.concurrency import cancel_and_wait, done_before
from offhook.errors import StoreBroken, StoreUnavailable
from offhook.events import Incident, Observer, Topic
from offhook.stores.api import Store

T = TypeVar("T")

POLL: Final = 1.0
"""Seconds between two tries to open a store that is unavailable."""

MOMENT: Final = 3.0
"""Seconds that opening a store may take before the reason is reported."""

_FIRST_REPEAT: Final = 0.1  # seconds; a locked database is free again within that
_LAST_REPEAT: Final = 5.0  # seconds; a store that is back must not be left idle for long


async def open_reporting(store: Store, report: Callable[[str], None]) -> None:
    """Open a store, however long it takes: a migration that is cancelled would begin anew.

    A store that can't be opened is closed.

    Args:
        store: not open yet.
        report: called with `Store.migrating`, after a moment and whenever that changes.

    Raises:
        StoreError: as `Store.open`.
    """
    opening = asyncio.create_task(store.open(), name="opening of the store")
    reported = ""
    try:
        while not (await asyncio.wait({opening}, timeout=MOMENT))[0]:
            if store.migrating not in {"", reported}:
                reported = store.migrating
                report(reported)
        await opening
    except BaseException:
        await cancel_and_wait(opening)
        await store.close()
        raise


async def wait_until_available(
    make: Callable[[], Store], stop: asyncio.Event, observer: Observer, doing: str
) -> Store | None:
    """Open the store, retrying until it is available. Return None if `stop` is set first.

    Args:
        make: returns a store that is not open yet.
        stop: ends the waiting.
        observer: called when the store is unavailable, and when it is available again.
        doing: as of `StoreWatch`.

    Raises:
        StoreError: the store can't be used for a reason that does not pass.
    """
    watch = StoreWatch(observer, doing)
    opening = asyncio.create_task(_first_opened(make, watch), name="waiting for the store")
    try:
        return opening.result() if await done_before(stop, opening) else None
    finally:
        await cancel_and_wait(opening)


async def _first_opened(make: Callable[[], Store], watch: "StoreWatch") -> Store:
    while True:
        store = make()
        try:
            await open_reporting(store, watch.waits)
        except StoreUnavailable as error:
            watch.away(error)
            await asyncio.sleep(POLL)
        else:
            watch.back()
            return store


class StoreWatch:
    """Reports once that the store is unavailable, or broken, and once that it is available again.

    Args:
        observer: called with the reports.
        doing: what cannot be done meanwhile, as in "messages are not claimed".
    """

    def __init__(self, observer: Observer, doing: str) -> None:
        self._doing = doing
        self._breakage = Incident(observer, Topic.STORE_BROKEN)
        self._outage = Incident(observer, Topic.STORE_UNAVAILABLE)
        self._broken: StoreBroken | None = None

    def away(self, error: StoreUnavailable) -> None:
        """Note that a call failed."""
        if isinstance(error, StoreBroken):
            self._broken = self._broken or error
            self._breakage.begin(f"{self._doing}: {error}")
        elif not self._breakage.lasts:
            self._outage.begin(f"{self._doing}: {error}")

    def waits(self, reason: str) -> None:
        """Report why nothing can be done, whatever was reported before."""
        self._outage.report(f"{self._doing}: {reason}")

    def back(self) -> None:
        """Note that a call succeeded."""
        if self._breakage.lasts or self._outage.lasts:  # or both, if an outage came first
            self._broken = None
            self._breakage.end("the store is back")
            self._outage.end("the store is back")

    def end_if_broken(self) -> None:
        """Raise the error that was noted last, if the store does not recover by itself.

        Raises:
            StoreBroken: leases, and all that is under way, belong to a store that is gone.
        """
        if self._broken is not None:
            raise self._broken

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Retry a write while the store is unavailable. Every other error passes."""
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
