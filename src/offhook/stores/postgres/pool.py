"""A pool of a few connections, opened on demand and replaced after errors."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

from offhook.errors import StoreError, StoreUnavailable
from offhook.stores.postgres.errors import ERRORS, described, is_harmless, translated

Row: TypeAlias = asyncpg.Record
if TYPE_CHECKING:  # generic for type checkers alone
    Connection: TypeAlias = asyncpg.Connection[Row]
else:
    Connection = asyncpg.Connection

_FIRST_PAUSE: Final = 0.05  # seconds; a server that restarts is back within a second
_LAST_PAUSE: Final = 2.0  # seconds; what waits for the store is not to wait much longer than it
# Balancers and firewalls drop an idle connection, some after 4 minutes, without closing it: the
# next webhook would be answered 503.
# https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-idle-timeout (4 min)
MAX_IDLE: Final = 120.0  # seconds
# A name that leads to another server after a failover, or a balancer with a new one behind it, is
# found; a session's memory on the server is given back.
MAX_AGE: Final = 1800.0  # seconds, less up to a quarter: not all at once

_CONNECT: Final = 5.0  # seconds; TCP repeats a lost first packet after 1 and 3 s (RFC 6298)

_STATEMENTS: Final = 100  # more than there are in this package

# For a transaction of several round trips whose machine dies in the middle: the server ends it,
# and with it its locks. Local to the transaction, as a transaction pooler demands.
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '10s'"
)


class Pool:
    """A pool of connections. An error becomes a `StoreError`, and its connection is replaced.

    So is one that has been idle for `MAX_IDLE`, or is older than `MAX_AGE`.

    After a failure to connect, further callers are refused at once, for 0.05 s at first and 2 s at
    last: a server that is down must not be stormed, and an early error is better than a wait.

    Args:
        url: as asyncpg takes it.
        size: how many there are at most.
        timeout: seconds until a free one, or a statement's answer, is no longer waited for.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._free = asyncio.Semaphore(size)
        self._clock = clock
        self._idle: list[tuple[Connection, float]] = []  # since when
        self._until: dict[Connection, float] = {}
        self._in_use: set[Connection] = set()
        self._connecting = asyncio.Lock()
        self._pause = 0.0
        self._not_before = 0.0
        self._last_error = ""
        self._closed = False
        self._pooled: bool | None = None

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Acquire a connection within the context, outside of any transaction.

        Raises:
            StoreUnavailable: there is none, or it broke. What was under way may have happened.
            StoreError: the server refuses the values.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"{described(self._url)}: all connections are busy") from None
        try:
            connection = self._take() or await self._connect()
            self._in_use.add(connection)
            try:
                yield connection
            except ERRORS as error:
                self._broken(connection, error)
                raise translated(error, self._url) from error
            except asyncio.CancelledError:
                connection.terminate()  # its answer is still under way
                raise
            finally:
                self._in_use.discard(connection)
                self._keep(connection)
        finally:
            self._free.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Acquire a connection within a transaction, which an exception rolls back."""
        async with self.acquire() as connection:
            await connection.execute(_BEGIN)
            try:
                yield connection
            except ERRORS:
                connection.terminate()
                raise
            except Exception:
                await connection.execute("ROLLBACK")
                raise
            await connection.execute("COMMIT")

    async def close(self) -> None:
        """Close all connections; those in use are terminated."""
        self._closed = True
        for connection in self._in_use:
            connection.terminate()
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            try:
                await connection.close(timeout=1.0)
            except ERRORS:
                connection.terminate()

    def _take(self) -> Connection | None:
        now = self._clock()
        while self._idle:
            connection, since = self._idle.pop()
            if not connection.is_closed():
                if now - since < MAX_IDLE and now < self._until[connection]:
                    return connection
                connection.terminate()
            del self._until[connection]
        return None

    def _keep(self, connection: Connection) -> None:
        if not connection.is_closed():
            if not (self._closed or connection.is_in_transaction()):
                self._idle.append((connection, self._clock()))
                return
            connection.terminate()
        self._until.pop(connection, None)

    def _broken(self, connection: Connection, error: BaseException) -> None:
        if is_harmless(error):
            return
        connection.terminate()
        for other, _ in self._idle:  # opened to the same server, and no better
            other.terminate()
            del self._until[other]
        self._idle.clear()

    async def _connect(self) -> Connection:
        async with self._connecting:
            if self._closed:
                raise StoreUnavailable("the store is closed")
            if (found := self._take()) is not None:
                return found
            if self._clock() < self._not_before:
                raise StoreUnavailable(self._last_error)
            try:
                connection = await self._open()
            except StoreUnavailable as error:
                self._pause = min(_LAST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
                # Not all machines at the same moment.
                self._not_before = self._clock() + self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                self._last_error = str(error)
                raise
            self._pause = 0.0
            self._until[connection] = self._clock() + MAX_AGE * random.uniform(0.75, 1.0)  # noqa: S311 - no secret
            return connection

    async def _open(self) -> Connection:
        """Open a connection; the first one finds out whether it leads to a pooler.

        Behind a transaction pooler, successive statements meet different sessions, and a statement
        prepared in one is unknown in the next: none is kept there.
        """
        if self._pooled is None:
            connection = await connect(self._url, timeout=self._timeout, statements=0)
            try:
                self._pooled = await is_pooled(connection)
            except ERRORS as error:
                connection.terminate()
                raise translated(error, self._url) from error
            if self._pooled:
                return connection
            connection.terminate()
        kept = 0 if self._pooled else _STATEMENTS
        return await connect(self._url, timeout=self._timeout, statements=kept)


async def connect(url: str, *, timeout: float, statements: int = 0) -> Connection:  # noqa: ASYNC109 - of each statement, not of this call
    """Open a connection.

    Args:
        url: as asyncpg takes it.
        timeout: seconds for a statement.
        statements: how many to keep prepared.

    Raises:
        StoreUnavailable: it can't be opened.
        StoreError: the driver makes no sense of the URL, or of its own environment variables.
    """
    try:
        return await asyncpg.connect(
            url,
            timeout=_CONNECT,
            command_timeout=timeout,
            statement_cache_size=statements,
            server_settings={"application_name": "offhook"},
        )
    except ERRORS as error:
        raise translated(error, url) from error
    except ValueError:
        # Without its words and its traceback, which may quote a part of the password.
        raise StoreError(
            f"{described(url)}: its parameters, or the variables PG*, can't be read"
        ) from None


async def is_pooled(connection: Connection) -> bool:
    """Return whether the connection leads to a pooler.

    The server tells a new session the number of the process that serves it
    (https://www.postgresql.org/docs/current/protocol-flow.html, BackendKeyData). A pooler
    tells its clients another, for no process is theirs.
    """
    serving = await connection.fetchval("SELECT pg_backend_pid()")
    return bool(serving != connection.get_server_pid())
