"""The way into a store that leads through a spool while the store is unavailable."""

import asyncio

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.forwarder import Forwarder
from offhook.core.inbound import Inbound
from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.stores.api import Append, Spool


class Spooling:
    """The store and the spool of one process, and what moves webhooks from one to the other.

    Order: as long as the spool holds a lane, the lane's webhooks go there. So a webhook that
    comes after another one of its lane was acknowledged is stored after it, if one machine had
    them both. Across machines, those that were spooled may come late, and are marked.

    Args:
        breaker: the store; started and stopped here.
        store: stores webhooks in it: `breaker.accept`, or what limits that.
        spool: of this event loop; opened and closed here.
        observer: called when webhooks were forwarded, and when they can't be.
    """

    def __init__(
        self, breaker: Breaker, store: Append[Inbound], spool: Spool, observer: Observer
    ) -> None:
        self._breaker = breaker
        self._store = store
        self._spool = spool
        self._forwarder = Forwarder(spool, breaker, observer)
        self._forwarding: asyncio.Task[None] | None = None

    async def append(self, inbound: Inbound) -> bool:
        """Store a webhook durably, in the store or in the spool. See `api.Append`.

        Raises:
            StoreUnavailable: the spool can't take it either.
            BacklogFull: the store is available, and too many wait in it.
        """
        if self._breaker.up and (self._spool.is_empty() or not await self._holds(inbound.lane)):
            try:
                return await self._store(inbound)
            except StoreUnavailable:
                pass  # `breaker` has reported it
        return await self._spool.append(inbound)

    async def start(self) -> None:
        """Open the spool and the store, and begin to forward. An unavailable store is no error.

        Raises:
            StoreUnavailable: the spool can't be used.
            SchemaTooNew: a newer offhook wrote the spool or the store.
        """
        await self._spool.open()
        try:
            await self._breaker.start()
        except BaseException:
            await self._spool.close()
            raise
        self._forwarding = asyncio.create_task(self._forwarder.run(), name="offhook forwarder")

    async def stop(self) -> None:
        """Forward what there is time for, and close both. May be called twice."""
        if self._forwarding is not None:
            self._forwarder.stop()
            await self._forwarding
            self._forwarding = None
        await self._breaker.stop()
        await self._spool.close()

    async def ready(self) -> bool:
        """Return True if a webhook could be stored, here or there.

        Raises:
            StoreUnavailable: it could not.
        """
        try:
            await self._breaker.check()
        except StoreUnavailable:
            await self._spool.check()
        return True

    async def _holds(self, lane: str) -> bool:
        try:
            return await self._spool.holds(lane)
        except StoreUnavailable:
            return False  # then the store takes it, perhaps out of order
