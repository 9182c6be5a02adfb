"""Listening to a real PostgreSQL: no session is left behind, however listening ends.

Sessions are few (100 by default, for all machines): one that nobody listens on is lost to others.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from offhook.stores.postgres import wakeup
from offhook.stores.postgres.wakeup import Wake
from testing.postgres import PostgresServer

_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'offhook'"


class Sessions:
    """Whose sessions of ours the server has."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def pids(self) -> set[int]:
        return {row["pid"] for row in await self._connection.fetch(_SESSIONS)}

    async def until_without(self, pid: int) -> None:
        while pid in await self.pids():  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)


@asynccontextmanager
async def listening(
    server: PostgresServer, *, patience: float = 60.0
) -> AsyncIterator[tuple[Sessions, Wake, asyncio.Event]]:
    async def nobody(_statement: str, _channel: str, _name: str) -> None:
        return

    async with asyncio.timeout(60):
        connection = await asyncpg.connect(server.url)
        told = Wake(server.url, nobody, timeout=patience)
        try:
            event = told.listen()
            await event.wait()  # it listens
            yield Sessions(connection), told, event
        finally:
            await told.close()
            connection.terminate()


async def test_who_listens_no_more_has_no_session(server: PostgresServer) -> None:
    async with listening(server) as (sessions, told, _):
        (pid,) = await sessions.pids()
        await told.close()
        await sessions.until_without(pid)


async def test_a_session_that_stopped_answering_is_given_up_for_another(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "_ALIVE", 0.02)

    async with listening(server, patience=2.0) as (sessions, _, event):
        (pid,) = await sessions.pids()
        event.clear()
        os.kill(pid, signal.SIGSTOP)
        try:
            await event.wait()  # it listens again
        finally:
            os.kill(pid, signal.SIGCONT)
        await sessions.until_without(pid)
        assert len(await sessions.pids()) == 1
