"""How many messages of one sender are handled in a time; the rest is set aside.

Counted by the library `limits`, in fixed windows of the time of receipt: what one person has sent
within a minute stays within that minute, however long it waited for a worker.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import RedisError

from offhook.clock import steady
from offhook.core.expiring import Expiring
from offhook.errors import SettingsError
from offhook.events import Observer, Problem, Topic
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

_PREFIX: Final = "offhook:senders"
_SALT: Final = b"offhook sender limit 1"
_FAILURES: Final = (RedisError, OSError, TimeoutError)


def open_sender_limit(settings: Settings, observer: Observer) -> SenderLimit | None:
    """Return what counts senders, as the settings ask for; None without a limit.

    Args:
        settings: `sender_limit`, `cache` and `auth_token` are read.
        observer: is told when Redis can't be asked, and when it can.

    Raises:
        SettingsError: the cache's URL cannot be read.
    """
    if settings.sender_limit is None:
        return None
    amount, seconds = settings.sender_limit
    limits = _Limits(amount, int(seconds), settings.auth_tokens)
    url = settings.cache.get_secret_value()
    if url == "memory://":
        return LocalLimit(limits)
    return SharedLimit(limits, _pool(url), observer)


class _Item(RateLimitItemPerSecond):
    """A number in a window, whose count outlives it: its key names the window."""

    def get_expiry(self) -> int:
        """Return for how many seconds a count is kept after its first message was handled."""
        return super().get_expiry() + LATE


class _Limits:
    """The two counts of a sender: of messages, and of the notices about their being too many."""

    def __init__(self, amount: int, seconds: int, tokens: Iterable[str]) -> None:
        self._seconds = seconds
        self._messages = _Item(amount, seconds, namespace="messages")
        self._notices = _Item(1, seconds, namespace="notices")
        # Redis is to hold no number of a person, nor what a table of all numbers leads back to one.
        self._secret = hmac.digest(_SALT, "\0".join(sorted(tokens)).encode(), "sha256")

    async def admit(
        self, limiter: FixedWindowRateLimiter, account_sid: str, sender: str, received: float
    ) -> Admission:
        """Count one message."""
        name = f"{account_sid}\0{sender}".encode("utf-8", "surrogatepass")
        who = blake2b(name, key=self._secret, digest_size=16).hexdigest()
        window = str(int(received // self._seconds))

        async def hit(item: RateLimitItem) -> bool:
            return await limiter.hit(item, who, window)

        if await hit(self._messages):
            return Admission.ADMITTED
        return Admission.FIRST_EXCESS if await hit(self._notices) else Admission.EXCESS


class LocalLimit:
    """Keeps `ports.SenderLimit` for this process: each worker counts what it runs itself."""

    def __init__(self, limits: _Limits, *, clock: Callable[[], float] = steady) -> None:
        self._limits = limits
        self._limiter = FixedWindowRateLimiter(BoundedStorage(clock=clock))

    async def admit(self, account_sid: str, sender: str, received: float) -> Admission:
        """Count one message."""
        return await self._limits.admit(self._limiter, account_sid, sender, received)

    async def close(self) -> None:
        """Nothing is to be let go."""


class SharedLimit:
    """Keeps `ports.SenderLimit` for all workers that share a Redis.

    While it can't be asked, each counts for itself: nobody waits for it, or is let in or kept out
    because of it, but for what the others have counted.
    """

    def __init__(
        self,
        limits: _Limits,
        pool: BlockingConnectionPool,
        observer: Observer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._pool = pool
        # The library reads URLs otherwise than redis-py does: it is given a pool in place of one.
        options: Any = {"implementation": "redispy", "connection_pool": pool}
        storage = RedisStorage("async+redis://", key_prefix=_PREFIX, **options)
        self._limiter = FixedWindowRateLimiter(storage)
        self._alone = LocalLimit(limits)
        self._observer = observer
        self._clock = clock
        self._not_before = 0.0
        self._away = False

    async def admit(self, account_sid: str, sender: str, received: float) -> Admission:
        """Count one message."""
        if self._clock() >= self._not_before:
            try:
                async with asyncio.timeout(PATIENCE):
                    found = await self._limits.admit(self._limiter, account_sid, sender, received)
            except _FAILURES as error:
                self._fail(error)
            else:
                self._succeed()
                return found
        return await self._alone.admit(account_sid, sender, received)

    async def close(self) -> None:
        """Let go of the connections."""
        with suppress(*_FAILURES):
            await self._pool.aclose()

    def _fail(self, error: BaseException) -> None:
        self._not_before = self._clock() + PAUSE
        if not self._away:
            self._away = True
            text = f"each worker counts senders for itself: {type(error).__name__}"
            self._observer(Problem(Topic.CACHE_UNAVAILABLE, text))

    def _succeed(self) -> None:
        if self._away:
            self._away = False
            text = "Redis is back: workers count senders together"
            self._observer(Problem(Topic.CACHE_UNAVAILABLE, text, resolved=True))


class BoundedStorage(Storage):
    """Counts in memory, of a bounded number of senders, each in constant time.

    The library's own memory looks through all counts at every hit, and has no bound.
    """

    STORAGE_SCHEME = None

    def __init__(self, *, clock: Callable[[], float] = steady) -> None:
        super().__init__()
        self._clock = clock
        self._counts: Expiring[str, tuple[int, float]] = Expiring(entries=SENDERS, size=SENDERS)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the storage raises: nothing."""
        return ValueError

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count; return the new count."""
        now = self._clock()
        count, expires = self._counts.get(key, now) or (0, now + expiry)
        self._counts.put(key, (count + amount, expires), expires=expires, now=now)
        return count + amount

    async def get(self, key: str) -> int:
        """Return the count."""
        found = self._counts.get(key, self._clock())
        return 0 if found is None else found[0]

    async def get_expiry(self, key: str) -> float:
        """Return when the count ends, in seconds since the epoch."""
        now = self._clock()
        found = self._counts.get(key, now)
        return now if found is None else found[1]

    async def check(self) -> bool:
        """Return whether it can count: always."""
        return True

    async def reset(self) -> int:
        """Forget everything; return how much."""
        held = len(self._counts)
        self._counts = Expiring(entries=SENDERS, size=SENDERS)
        return held

    async def clear(self, key: str) -> None:
        """Forget one count."""
        self._counts.drop(key)


def _pool(url: str) -> BlockingConnectionPool:
    try:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=PATIENCE,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
    except (ValueError, TypeError, RedisError):
        raise SettingsError(UNREADABLE_CACHE) from None
