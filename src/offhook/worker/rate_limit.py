"""Limit the messages of one sender that are handled; the worker parks what exceeds the limit.

Counted in fixed windows of the time of receipt: what one person has sent within a minute belongs to
that minute, however long it waited for a worker.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from offhook.clock import steady
from offhook.core.ttl_dict import TtlDict
from offhook.errors import SettingsError
from offhook.events import Incident, Observer, Topic
from offhook.ports import Admission, SenderLimit
from offhook.settings import UNREADABLE_CACHE, Settings

PATIENCE: Final = 0.1
"""Seconds for Redis to count a message; its handler waits for it."""

PAUSE: Final = 5.0
"""Seconds for which Redis is not asked after it has failed."""

SENDERS: Final = 100_000
"""Counts that a process keeps; the sender who has been silent for longest is forgotten first."""

LATE: Final = 3600
"""Seconds that a count is kept for beyond its window: messages may be handled long after it."""

CONNECTIONS: Final = 8
"""To Redis, for one worker; counting takes it a tenth of a millisecond."""

_SALT: Final = b"offhook sender limit 1"
_FAILURES: Final = (RedisError, OSError, TimeoutError)


def open_sender_limit(settings: Settings, observer: Observer) -> SenderLimit | None:
    """Return the sender limit of the settings; None without one.

    Args:
        settings: `sender_limit`, `cache` and `auth_token` are read.
        observer: called when Redis becomes unavailable, and when it is available again.

    Raises:
        SettingsError: the cache's URL cannot be read.
    """
    if settings.sender_limit is None:
        return None
    amount, seconds = settings.sender_limit
    windows = Windows(amount, int(seconds), settings.auth_tokens)
    url = settings.cache.get_secret_value()
    return LocalLimit(windows) if url == "memory://" else SharedLimit(windows, url, observer)


class Windows:
    """Names the counts, and says what a count means.

    Args:
        amount: messages of a sender that are admitted in each window.
        seconds: of a window.
        tokens: make the secret in the names.

    Attributes:
        kept: seconds for which a count is kept after its last message.
    """

    def __init__(self, amount: int, seconds: int, tokens: Iterable[str]) -> None:
        self._amount = amount
        self._seconds = seconds
        self.kept = seconds + LATE
        # A keyed hash: an unkeyed one of a phone number can be reversed by enumeration.
        self._secret = hmac.digest(_SALT, "\0".join(sorted(tokens)).encode(), "sha256")

    def key(self, account_sid: str, sender: str, received: float) -> str:
        """Return the name of the count that a message belongs to."""
        name = f"{account_sid}\0{sender}".encode("utf-8", "surrogatepass")
        digest = blake2b(name, key=self._secret, digest_size=16).hexdigest()
        return f"offhook:senders:{self._seconds}:{received // self._seconds:.0f}:{digest}"

    def admission(self, count: int) -> Admission:
        """Return whether the last of `count` messages is within the limit."""
        if count <= self._amount:
            return Admission.ADMITTED
        return Admission.FIRST_EXCESS if count == self._amount + 1 else Admission.EXCESS


class LocalLimit:
    """Implements `ports.SenderLimit` for this process: each worker counts what it runs itself."""

    def __init__(self, windows: Windows, *, clock: Callable[[], float] = steady) -> None:
        self._windows = windows
        self._clock = clock
        self._counts: TtlDict[str, int] = TtlDict(entries=SENDERS, size=SENDERS)

    async def admit(self, account_sid: str, sender: str, received: float) -> Admission:
        """Count one message."""
        key, now = self._windows.key(account_sid, sender, received), self._clock()
        count = (self._counts.get(key, now) or 0) + 1
        self._counts.put(key, count, expires=now + self._windows.kept, now=now)
        return self._windows.admission(count)

    async def close(self) -> None:
        """Do nothing."""


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
