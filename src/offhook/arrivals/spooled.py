"""The way into a store of other machines: straight, or through the spool of this machine."""

import asyncio
import time
from typing import Final

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.forwarder import FEW, Forwarder
from offhook.arrivals.spool import Spool
from offhook.concurrency import wait_for_event
from offhook.core.inbound import Inbound, Webhook
from offhook.errors import StoreUnavailable
from offhook.events import Observer

_CALM: Final = 5.0  # seconds after a handover that did not come about


class SpooledStore:
    """Keeps `api.Entrance` before a store, and webhooks in a spool while it is unavailable.

    Order: as long as the spool holds anything, webhooks go there. So a webhook that comes after
    another one of its lane was acknowledged is stored after it, if one machine had them both.
    Across machines, those that were spooled may come late, and are marked.

    Args:
        breaker: the store; started and stopped here.
        spool: of this event loop; opened and closed here.
        observer: called when webhooks were forwarded, and when they can't be.
        patience: seconds that a webhook may wait for a spool that is about to be empty.
    """

    def __init__(
        self, breaker: Breaker, spool: Spool, observer: Observer, *, patience: float
    ) -> None:
        self._breaker = breaker
        self._spool = spool
        self._handover = _Handover(patience)
        self._forwarder = Forwarder(
            spool, breaker.forward, lambda: breaker.up, self._looked, observer
        )
        self._forwarding: asyncio.Task[None] | None = None

    async def open(self) -> None:
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

    async def close(self) -> None:
        """Forward what there is time for, and close both. May be called twice."""
        if self._forwarding is not None:
            self._forwarder.stop()
            await self._forwarding
            self._forwarding = None
        await self._breaker.stop()
        await self._spool.close()

    async def accept(self, webhook: Webhook) -> bool:
        """Store a webhook durably, in the store or in the spool. See `api.Intake.accept`.

        What goes into the spool is not read here: whether it is new is known when it is forwarded.

        Raises:
            StoreUnavailable: the spool can't take it either.
        """
        if self._breaker.up and (self._spool.is_empty() or await self._becomes_empty()):
            try:
                return await self._breaker.accept(Inbound.of(webhook))
            except StoreUnavailable:
                pass  # `breaker` has reported it
        return await self._spool.append(webhook)

    async def knows(self, webhook: Webhook) -> bool:
        """See `api.Entrance.knows`. What is yet to be forwarded is not known."""
        return await self._breaker.knows(Inbound.of(webhook))

    async def backlog(self, at_most: int) -> int:
        """See `api.Entrance.backlog`: what is in the store, and what waits in the spool."""
        stored = await self._breaker.backlog(at_most)
        if self._spool.is_empty():
            return stored
        return min(at_most, stored + await self._spool.look(at_most))

    async def check(self) -> None:
        """Write something, as for a webhook, to the store or else to the spool.

        Raises:
            StoreUnavailable: neither can be written.
        """
        try:
            await self._breaker.check()
        except StoreUnavailable:
            await self._spool.check()

    async def _becomes_empty(self) -> bool:
        await self._handover.wait()
        return self._breaker.up and self._spool.is_empty()

    def _looked(self, left: int) -> None:
        self._handover.update(wanted=self._breaker.up and 0 < left <= FEW)


class _Handover:
    """Has webhooks wait a moment, so that a spool that is almost empty becomes empty.

    While they come without a pause there is always one more, and they would go through the spool
    for ever. Each process has its own wait, and finds out by itself that the spool is almost empty.

    Args:
        patience: seconds that they wait at most. Then there is none for a while: another process
            goes on appending, or the store is slow.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._over = asyncio.Event()
        self._over.set()
        self._not_before = 0.0

    async def wait(self) -> None:
        """Wait until the spool is empty, if it is about to be."""
        if not (self._over.is_set() or await wait_for_event(self._over, self._patience)):
            self._not_before = time.monotonic() + _CALM
            self._over.set()

    def update(self, *, wanted: bool) -> None:
        """Begin to wait, or end it; called each time the spool was looked into."""
        if not wanted:
            self._over.set()
        elif time.monotonic() >= self._not_before:
            self._over.clear()
