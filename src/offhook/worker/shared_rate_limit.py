"""Count the messages of one sender together with all workers that share a Redis."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from offhook.errors import SettingsError
from offhook.events import Incident, Observer, Topic
from offhook.ports import Admission
from offhook.settings import UNREADABLE_CACHE
from offhook.worker.rate_limit import LocalLimit, Windows

PATIENCE: Final = 0.1
"""Seconds for Redis to count a message; its handler waits for it."""

PAUSE: Final = 5.0
"""Seconds for which Redis is not asked after it has failed."""

CONNECTIONS: Final = 8
"""To Redis, for one worker; counting takes it a tenth of a millisecond."""

_FAILURES: Final = (RedisError, OSError, TimeoutError)


class SharedLimit:
    """Implements `ports.SenderLimit` for all workers that share a Redis.

    While Redis is unavailable, each worker counts for itself.

    Args:
        windows: what is counted.
        url: of Redis.
        observer: called when Redis becomes unavailable, and when it is available again.
        clock: monotonic, in seconds.

    Raises:
        SettingsError: the URL cannot be read.
    """

    def __init__(
        self,
        windows: Windows,
        url: str,
        observer: Observer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._windows = windows
        self._redis = _client(url)
        self._local = LocalLimit(windows)
        self._incident = Incident(observer, Topic.CACHE_UNAVAILABLE)
        self._clock = clock
        self._not_before = 0.0

    async def admit(self, account_sid: str, sender: str, received: float) -> Admission:
        """Count one message."""
        if self._clock() >= self._not_before:
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._admit(self._windows.key(account_sid, sender, received))
            except _FAILURES as error:
                self._not_before = self._clock() + PAUSE
                self._incident.begin(f"each worker counts senders alone: {type(error).__name__}")
        return await self._local.admit(account_sid, sender, received)

    async def close(self) -> None:
        """Close the connections."""
        with suppress(*_FAILURES):
            await self._redis.aclose(close_connection_pool=True)

    async def _admit(self, key: str) -> Admission:
        # In one transaction: a count without an expiry would stay for ever.
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, self._windows.kept)
            count, _ = await pipeline.execute()
        admission = self._windows.admission(int(count))
        if admission is not Admission.ADMITTED:
            # Not by the count alone: Redis may have counted a message whose answer was lost.
            first = await self._redis.set(f"{key}:exceeded", 1, nx=True, ex=self._windows.kept)
            admission = Admission.FIRST_EXCESS if first else Admission.EXCESS
        self._incident.end("Redis is available again: workers count senders together")
        return admission


def _client(url: str) -> Redis:
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=PATIENCE,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
    except (ValueError, TypeError, RedisError):
        raise SettingsError(UNREADABLE_CACHE) from None
    return Redis(connection_pool=pool)
