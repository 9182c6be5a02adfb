"""Refuse new messages above `OFFHOOK_MAX_BACKLOG`."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.errors import BacklogFull, StoreUnavailable
from offhook.events import Incident, Observer, Topic
from offhook.stores.api import Entrance

W = TypeVar("W", bound=Webhook | Inbound)

_INTERVAL: Final = 1.0  # seconds between two counts; what comes in between may exceed the limit
# Of the limit: messages are admitted again once the backlog has shrunk to this part of it, so that
# a backlog at the limit does not have them refused and admitted in turns.
_RELIEF: Final = 0.9


class BacklogLimit(Generic[W]):
    """Admits webhooks to a store while its backlog is below a limit.

    Above it, only new messages are refused. A repeat of a stored one is answered as usual, since it
    adds nothing. A status is admitted: it is little work, its lane is its own, and a reply whose
    fate is unknown would stay so without it, since Twilio does not repeat it. While the store is
    unavailable, nobody knows how many wait: what keeps webhooks meanwhile takes them.

    Args:
        store: where webhooks go, open from `start` to `stop`.
        limit: live messages; None for no limit, and then nothing is counted.
        observer: called when messages begin to be refused, and when they are admitted again.
    """

    def __init__(self, store: Entrance[W], limit: int | None, observer: Observer) -> None:
        self._store = store
        self._limit = limit
        self._full = Incident(observer, Topic.BACKLOG_FULL)
        self._watching: asyncio.Task[None] | None = None

    def admit(self, webhook: W) -> Awaitable[bool]:
        """Store a webhook, unless it is new and too many wait. See `api.Append`."""
        if self._full.lasts and webhook.kind is not Kind.STATUS:
            return self._admit_known(webhook)
        return self._store.accept(webhook)

    async def _admit_known(self, webhook: W) -> bool:
        with suppress(StoreUnavailable):
            if not await self._store.knows(webhook):
                raise BacklogFull(f"OFFHOOK_MAX_BACKLOG is {self._limit}")
        return await self._store.accept(webhook)

    async def start(self) -> None:
        """Count, then go on counting in the background."""
        if self._limit is None:
            return
        await self._look(self._limit)
        self._watching = asyncio.create_task(self._watch(self._limit))

    async def stop(self) -> None:
        """End the counting. May be called without `start`."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            self._watching = None

    async def _watch(self, limit: int) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            await self._look(limit)

    async def _look(self, limit: int) -> None:
        # An unavailable store is reported by what writes to it; the limit stays as it was.
        with suppress(StoreUnavailable):
            self._decide(await self._store.backlog(limit), limit)

    def _decide(self, backlog: int, limit: int) -> None:
        if backlog >= limit:
            self._full.begin(f"{limit} messages wait (OFFHOOK_MAX_BACKLOG): new ones are refused")
        elif backlog <= limit * _RELIEF:
            self._full.end(f"{backlog} messages wait: new ones are accepted again")
