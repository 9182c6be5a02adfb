"""A circuit breaker before the store of an ingress that has a spool."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from offhook.concurrency import Deadline, cancel_and_wait
from offhook.core.backoff import delay as backoff
from offhook.core.inbound import Inbound
from offhook.errors import OffhookError, StoreUnavailable
from offhook.events import Incident, Observer, Topic
from offhook.stores.api import Store
from offhook.stores.availability import MOMENT, open_reporting

T = TypeVar("T")

# Seconds. No webhook is answered before the start is over; a longer opening goes on after it.
_STARTING: Final = MOMENT
# Seconds. Forwarded webhooks have been acknowledged, so no client waits: a store too slow for the
# hot path is still good enough for them.
_FORWARDING: Final = 10.0

_FIRST_DELAY: Final = 0.25
_LAST_DELAY: Final = 2.0
# Seconds. A store that fails again sooner had not recovered: the next attempt waits longer.
_STEADY_AFTER: Final = 10.0

_SILENT: Final = "it does not answer in time"


class Breaker:
    """Keeps `api.Entrance` before a store, and fails at once while the store is unavailable.

    A call that fails, or that takes longer than `patience`, opens the circuit: from then on every
    call fails at once, until an attempt in the background has succeeded. A call that was given up
    may have stored its webhook all the same; the unique key makes the next one a repeat.

    Opening the store is not given up, however long a migration takes: it would begin anew.

    Args:
        open_store: makes a store that is not open yet.
        observer: called once when the store is unavailable, and once when it is available again.
        patience: seconds that a webhook may wait for the store.
    """

    def __init__(
        self, open_store: Callable[[], Store], observer: Observer, *, patience: float
    ) -> None:
        self._open_store = open_store
        self._patience = patience
        self._deadline = Deadline(patience)
        self._store: Store | None = None
        self._up = False
        self._failures = 0
        self._up_since = 0.0
        self._opening: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        self._incident = Incident(observer, Topic.STORE_UNAVAILABLE)

    @property
    def up(self) -> bool:
        """Whether the store is worth asking."""
        return self._up

    async def start(self) -> None:
        """Open the store; report one that is unavailable, and open it in the background.

        Raises:
            SchemaTooNew: this offhook could never forward anything to it.
        """
        store = self._open_store()
        self._opening = asyncio.create_task(self._open(store), name="offhook store's opening")
        try:
            done, _ = await asyncio.wait({self._opening}, timeout=_STARTING)
            if done:
                await self._opening
                self._come_back()
            else:
                self._incident.update(_kept(store.migrating or _SILENT))
                self._returning = asyncio.create_task(self._return(self._opening))
        except StoreUnavailable as error:
            self._fail(error)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let go of the store. May be called twice."""
        self._up = False
        await cancel_and_wait(self._returning, self._opening)
        self._returning = None
        if self._store is not None:
            await self._store.close()
            self._store = None

    async def accept(self, inbound: Inbound) -> bool:
        """See `api.Intake.accept`."""
        store = self._reach()
        try:  # as in `_bounded`, without the cost of one more coroutine for each webhook
            with self._deadline:
                return await store.accept(inbound)
        except (StoreUnavailable, TimeoutError) as error:
            raise self._fail(error) from error

    async def knows(self, inbound: Inbound) -> bool:
        """See `api.Entrance.knows`."""
        return await self._bounded(self._reach().knows(inbound))

    async def backlog(self, at_most: int) -> int:
        """See `api.Entrance.backlog`."""
        return await self._bounded(self._reach().backlog(at_most))

    async def check(self) -> None:
        """Write something, as `api.Store.check`."""
        await self._bounded(self._reach().check())

    async def forward(self, inbounds: Sequence[Inbound]) -> Sequence[bool]:
        """Store webhooks from the spool, whether the circuit is open or not.

        See `api.Queue.accept_all`.
        """
        if self._store is None:
            raise StoreUnavailable("the store has not been reached yet")
        try:
            async with asyncio.timeout(_FORWARDING):
                return await self._store.accept_all(inbounds)
        except (StoreUnavailable, TimeoutError) as error:
            raise self._fail(error) from error

    def _reach(self) -> Store:
        if self._store is None or not self._up:
            raise StoreUnavailable("the store is unavailable")
        return self._store

    async def _bounded(self, call: Awaitable[T]) -> T:
        try:
            with self._deadline:
                return await call
        except (StoreUnavailable, TimeoutError) as error:
            raise self._fail(error) from error

    def _fail(self, error: StoreUnavailable | TimeoutError) -> StoreUnavailable:
        """Open the circuit, and return the error for the caller."""
        text = str(error) or _SILENT
        if self._returning is None:
            if self._up and time.monotonic() - self._up_since > _STEADY_AFTER:
                self._failures = 0
            self._up = False
            self._incident.update(_kept(text))
            self._returning = asyncio.create_task(self._return())
        return StoreUnavailable(text)

    async def _return(self, begun: asyncio.Task[None] | None = None) -> None:
        """Try until the store answers in time; first wait for an attempt that has begun."""
        is_back = begun is not None and await self._is_back(begun)
        while not is_back:
            self._failures += 1
            jitter = random.random()  # noqa: S311 - not a secret
            await asyncio.sleep(backoff(self._failures, jitter, base=_FIRST_DELAY, cap=_LAST_DELAY))
            is_back = await self._is_back(self._attempt())
        self._returning = None
        self._come_back()

    def _come_back(self) -> None:
        self._up, self._up_since = True, time.monotonic()
        self._incident.end("the store is back")

    async def _is_back(self, attempt: Awaitable[None]) -> bool:
        try:
            await attempt
        except (StoreUnavailable, TimeoutError) as error:
            if self._store is None:  # the failure of a migration was not reported yet
                self._incident.update(_kept(str(error)))
            return False
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed; giving up is final
            self._incident.update(f"webhooks stay in the spool: {describe(error)}")
            return False
        return True

    async def _attempt(self) -> None:
        if self._store is not None:
            async with asyncio.timeout(self._patience):
                await self._store.check()
            return
        await self._open(self._open_store())

    async def _open(self, store: Store) -> None:
        await open_reporting(store, lambda reason: self._incident.update(_kept(reason)))
        self._store = store


def _kept(reason: str) -> str:
    return f"webhooks are kept in the spool: {reason}"


def describe(error: Exception) -> str:
    """Return an error of ours in full; of others the type, for their text may quote people."""
    return str(error) if isinstance(error, OffhookError) else type(error).__name__
