"""The connection to Redis: kept up in the background, given up at once when it is slow."""

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
"""Seconds for an answer. A request waits for it, and the store answers within a few."""

CONNECT_TIMEOUT: Final = 1.0
"""Seconds for connecting, with TLS and authentication. Nobody waits for that but the start."""

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 10.0

# The first failure may be a hiccup, even one of this process; it is not worth an operator's time.
_TOLD_AFTER: Final = 2

_FAILURES: Final = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError)


class Link:
    """One connection, and the circuit breaker before it.

    Whatever fails or takes longer than 20 ms breaks the connection, for its answers are no longer
    to be told apart. While it is broken nobody is served, and nobody waits: connecting goes on in
    the background, at once after a first failure, then after delays that grow to 10 s for as long
    as no exchange succeeds. (A connection and a PING are no proof: a Redis that is too slow
    answers those as well.)

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        observer: is told when Redis is away, and when it is back; once each.

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
        """Whether an exchange may be tried."""
        return self._up

    async def start(self) -> None:
        """Connect, or fail to within a second and go on trying in the background."""
        try:
            await self._connect()
        except _FAILURES as error:
            self._failures = _TOLD_AFTER - 1
            self._break(error)

    async def close(self) -> None:
        """Disconnect, and try no more."""
        self._up, self._closed = False, True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        with suppress(*_FAILURES):
            await self._connection.disconnect(nowait=True)

    async def exchange(self, commands: Sequence[bytes], replies: int) -> list[Any] | None:
        """Send packed commands and return what they are answered; None when that fails."""
        try:
            async with asyncio.timeout(EXCHANGE_TIMEOUT):
                answers = await self._exchange(commands, replies)
        except _FAILURES as error:
            self._break(error)
            return None
        self._failures = 0
        self._incident.end("Redis is back")
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
        if self._failures >= _TOLD_AFTER:
            self._incident.begin(
                f"repeats are answered by this process' memory and the store: {_words(error)}"
            )

    async def _reconnect(self) -> None:
        while True:
            # Also what was sent and not read goes with the connection.
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
