"""Wake idle workers on all machines."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from offhook.concurrency import wait_for_event
from offhook.errors import StoreError
from offhook.stores.postgres.errors import ERRORS
from offhook.stores.postgres.pool import Connection, connect, is_pooled

_CHANNEL: Final = "offhook"

# A NOTIFY takes a lock that all of them share until its commit; within the transactions of accept
# it cut 23,000 commits a second to 6,300 (DESIGN, section 6). So it follows them, and seldom.
_PAUSE: Final = 0.01  # seconds
# It needs no disk: a worker that misses it looks within a second all the same.
_NOTIFY: Final = (
    "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1::text, $2::text)"
)

_POLL: Final = 0.05  # seconds, behind a pooler, where LISTEN does not work
_ALIVE: Final = 15.0  # seconds between questions whether the other end is still there
_FIRST_REPEAT: Final = 0.1  # seconds
_LAST_REPEAT: Final = 0.5  # seconds; others take a worker for dead that is not back in 1.5


async def _ask(session: Connection) -> None:
    """Find out whether a session lives."""
    await session.fetchval("SELECT 1")


class Wake:
    """Notifies listeners in this process at once, and all others by way of the database.

    Args:
        url: of a database server; a pooler that hands on sessions by the transaction can't be
            listened to, and is polled.
        notify: runs a statement on some connection.
        timeout: seconds for a statement.
        attend: called with a session that listens, when it is new, every 15 s, when it is lost, and
            after `attend`; it raises one of `ERRORS` if the session has ended.
    """

    def __init__(
        self,
        url: str,
        notify: Callable[[str, str, str], Awaitable[Any]],
        *,
        timeout: float,
        attend: Callable[[Connection], Awaitable[None]] = _ask,
    ) -> None:
        self._url = url
        self._send = notify
        self._timeout = timeout
        self._name = secrets.token_hex(4)  # so that we do not wake ourselves a second time
        self._events: list[asyncio.Event] = []
        self._listener: asyncio.Task[None] | None = None
        self._notifier: asyncio.Task[None] | None = None
        self._again = False
        self._attend = attend
        self._due = asyncio.Event()
        self._attended = asyncio.Event()

    def listen(self) -> asyncio.Event:
        """Return an event that is set when any process has stored something."""
        self.attend()
        event = asyncio.Event()
        self._events.append(event)
        return event

    def attend(self) -> None:
        """Have the session that listens attended to now; it is opened if need be."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen_for_ever())
        self._attended.clear()
        self._due.set()

    async def attended(self) -> None:
        """Wait until the session has been attended to since, or can't be had at present."""
        await wait_for_event(self._attended, self._timeout)

    def wake(self) -> None:
        """Wake all listeners; those elsewhere within 10 ms."""
        self._wake_here()
        if self._notifier is None:
            self._notifier = asyncio.create_task(self._notify())
        else:
            self._again = True

    async def close(self) -> None:
        """Send the last notification, and stop listening."""
        if self._notifier is not None:
            await asyncio.wait((self._notifier,), timeout=1.0)
        for task in (self._notifier, self._listener):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        self._notifier = self._listener = None

    def _wake_here(self) -> None:
        for event in self._events:
            event.set()

    async def _notify(self) -> None:
        try:
            while True:
                self._again = False
                with contextlib.suppress(StoreError):
                    await self._send(_NOTIFY, _CHANNEL, self._name)
                if not self._again:
                    return
                await asyncio.sleep(_PAUSE)
        finally:
            self._notifier = None

    async def _listen_for_ever(self) -> None:
        delay = _FIRST_REPEAT
        while True:
            try:
                connection = await connect(self._url, timeout=self._timeout)
            except StoreError:
                self._attended.set()
                await asyncio.sleep(delay)
                delay = min(_LAST_REPEAT, 2 * delay)
                continue
            delay = _FIRST_REPEAT
            try:
                await self._listen_to(connection)
            except ERRORS:
                await asyncio.sleep(delay)
            finally:
                connection.terminate()

    async def _listen_to(self, connection: Connection) -> None:
        """Wake listeners until the connection is lost."""
        if await is_pooled(connection):
            connection.terminate()
            while True:
                self._attended.set()
                self._wake_here()
                await asyncio.sleep(_POLL)
        await connection.add_listener(_CHANNEL, self._heard)
        connection.add_termination_listener(lambda _: self._due.set())
        self._wake_here()  # for notifications before LISTEN
        while True:
            self._due.clear()
            await self._attend(connection)
            if not self._due.is_set():
                self._attended.set()
            await wait_for_event(self._due, _ALIVE)

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload != self._name:
            self._wake_here()
