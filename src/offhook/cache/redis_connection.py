"""The connection to Redis: closed as soon as it is slow, and reopened in the background."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from offhook.core.backoff import delay as backoff
from offhook.errors import SettingsError
from offhook.events import Incident, Observer, Topic
from offhook.settings import UNREADABLE_CACHE

EXCHANGE_TIMEOUT: Final = 0.02
"""Seconds for an answer. A request waits for it, and the store answers within milliseconds."""

CONNECT_TIMEOUT: Final = 1.0
"""Seconds for connecting, with TLS and authentication. Only the start waits for it."""

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 10.0

# One failure alone is not reported: it may come from this very process being slow.
_REPORTED_AFTER: Final = 2

_FAILURES: Final = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError)


class RedisConnection:
    """One connection with a circuit breaker.

    An exchange that fails or takes longer than 20 ms closes the connection: later answers could
    not be matched with their commands. Until it is open again every exchange fails at once.
    Reconnecting goes on in the background, immediately after a first failure, then after delays
    that grow to 10 s until an exchange succeeds. (A connection and a PING prove nothing: a Redis
    that is too slow answers those as well.)

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        observer: called once when Redis becomes unavailable, and once when it is available again.

    Raises:
        SettingsError: the URL cannot be read.
    """

    def __init__(self, url: str, observer: Observer) -> None:
        try:
            # The pool is only asked to read the URL: one connection is all we want.
            pool = ConnectionPool.from_url(
                url,
                protocol=2,
                socket_timeout=None,
                socket_connect_timeout=CONNECT_TIMEOUT,
                driver_info=None,
            )
            self._connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, RedisError):
            raise SettingsError(UNREADABLE_CACHE) from None
        self._incident = Incident(observer, Topic.CACHE_UNAVAILABLE)
        self._up = False
        self._failures = 0
        self._closed = False
        self._connecting: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether the connection is open."""
        return self._up

    async def start(self) -> None:
        """Connect; after a second without success, return and go on in the background."""
        try:
            await self._connect()
        except _FAILURES as error:
            self._failures = _REPORTED_AFTER - 1
            self._break(error)

    async def close(self) -> None:
        """Disconnect for good."""
        self._up, self._closed = False, True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        with suppress(*_FAILURES):
            await self._connection.disconnect(nowait=True)

    async def exchange(self, commands: Sequence[bytes], replies: int) -> list[Any] | None:
        """Send packed commands and return their answers; None on failure."""
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT):
                answers = await self._exchange(commands, replies)
        except _FAILURES as error:
            self._break(error)
            return None
        self._failures = 0
        self._incident.end("Redis is available again")
        return answers

    async def _exchange(self, commands: Sequence[bytes], replies: int) -> list[Any]:
        await self._connection.send_packed_command(commands, check_health=False)
        return [await self._connection.read_response() for _ in range(replies)]

    def _break(self, error: BaseException) -> None:
        if self._closed:
            return
        self._up = False
        self._fail(error)
        self._connecting = asyncio.create_task(self._reconnect(), name="offhook cache")

    def _fail(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures >= _REPORTED_AFTER:
            self._incident.begin(
                f"Redis is unavailable, so only this process' memory is used: {_words(error)}"
            )

    async def _reconnect(self) -> None:
        while True:
            # This also discards answers that were not read.
            with suppress(*_FAILURES):
                await self._connection.disconnect(nowait=True)
            await asyncio.sleep(self._delay())
            try:
                await self._connect()
            except _FAILURES as error:
                self._fail(error)
            else:
                return

    def _delay(self) -> float:
        if self._failures <= 1:
            return 0.0
        jitter = random.random()  # noqa: S311 - not a secret
        return backoff(self._failures - 1, jitter, base=_FIRST_DELAY, cap=_LONGEST_DELAY)

    async def _connect(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await self._connection.connect()  # type: ignore[no-untyped-call]
            await self._exchange(self._connection.pack_command("PING"), 1)
        self._up = True


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"
