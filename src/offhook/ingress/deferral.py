"""Limit how many requests are deferred: stored as they came, for a worker to verify."""

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from offhook.core.inbound import Webhook
from offhook.errors import BacklogFull, StoreUnavailable
from offhook.stores.api import Append

DEFERRED_LIMIT: Final = 10_000
"""Live messages in the store beyond which nothing is deferred: forgeries could fill it."""

DEFERRED_RATE: Final = 10.0
"""Requests a second that a process defers in the long run, after the first 10,000.

A discarded request leaves a row and a key behind, so a worker that keeps up is no limit by itself.
"""

_COUNT_EVERY: Final = 1.0  # seconds


class DeferralLimit:
    """Admits requests that can't be verified yet to a store, as long as there is room.

    10,000 of them at first and 10 a second in the long run, and none while the store has 10,000
    live messages.

    Args:
        append: stores them.
        backlog: counts the live messages where they go. See `api.Entrance.backlog`.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        append: Append[Webhook],
        backlog: Callable[[int], Awaitable[int]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._append = append
        self._backlog = backlog
        self._clock = clock
        self._room = DEFERRED_LIMIT
        self._next_count = -math.inf
        self._allowance = float(DEFERRED_LIMIT)
        self._earned_at = clock()

    async def admit(self, webhook: Webhook) -> bool:
        """Store a request, if there is room. See `api.Append`."""
        now = self._clock()
        if now >= self._next_count:
            self._next_count = now + _COUNT_EVERY
            # While the store is unavailable the room stays as it was.
            with suppress(StoreUnavailable):
                self._room = DEFERRED_LIMIT - await self._backlog(DEFERRED_LIMIT)
        self._earn(now)
        if self._room <= 0:
            raise BacklogFull(f"{DEFERRED_LIMIT} messages wait: no more can be deferred")
        if self._allowance < 1.0:
            raise BacklogFull("too many requests have been deferred of late")
        self._room -= 1
        self._allowance -= 1.0
        return await self._append(webhook)

    def _earn(self, now: float) -> None:
        earned = max(0.0, now - self._earned_at) * DEFERRED_RATE
        self._allowance = min(float(DEFERRED_LIMIT), self._allowance + earned)
        self._earned_at = max(now, self._earned_at)
