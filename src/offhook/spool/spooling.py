"""An ingress' way to the store that leads through a spool while the store is away."""

import asyncio
from collections.abc import Callable

from offhook.errors import StoreUnavailable
from offhook.events import Observer
from offhook.ports import Entrance, Intake, Spool, Store
from offhook.spool.forwarder import Forwarder
from offhook.spool.intake import SpoolingIntake
from offhook.spool.primary import Primary


class Spooling:
    """The store and the spool of one process, and what moves webhooks from one to the other.

    Args:
        open_store: makes a store that is not open yet.
        spool: of this event loop; opened and closed here.
        observer: is told when the store is away, when it is back, and what was forwarded.
        patience: seconds that a webhook may wait for the store.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        spool: Spool,
        observer: Observer,
        *,
        patience: float,
    ) -> None:
        self._primary = Primary(open_store, observer, patience=patience)
        self._spool = spool
        self._forwarder = Forwarder(spool, self._primary, observer)
        self._forwarding: asyncio.Task[None] | None = None

    @property
    def store(self) -> Entrance:
        """The store. It fails at once while it is away."""
        return self._primary

    def through(self, way: Intake) -> Intake:
        """Return what stores webhooks in the store by way of `way`, or else in the spool."""
        return SpoolingIntake(self._primary, way, self._spool)

    async def start(self) -> None:
        """Open the spool and the store, and begin to forward. A store that is away is no error.

        Raises:
            StoreUnavailable: the spool can't be used.
            SchemaTooNew: a newer offhook wrote the spool or the store.
        """
        await self._spool.open()
        try:
            await self._primary.start()
        except BaseException:
            await self._spool.close()
            raise
        self._forwarding = asyncio.create_task(self._forwarder.run(), name="offhook forwarder")

    async def stop(self) -> None:
        """Forward what there is time for, and let go. May be called twice."""
        if self._forwarding is not None:
            self._forwarder.stop()
            await self._forwarding
            self._forwarding = None
        await self._primary.stop()
        await self._spool.close()

    async def ready(self) -> bool:
        """Return True if a webhook could be stored, here or there.

        Raises:
            StoreUnavailable: it could not.
        """
        try:
            await self._primary.check()
        except StoreUnavailable:
            await self._spool.check()
        return True
