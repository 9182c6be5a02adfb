"""Time for stores whose clock is the real one: everything they hold becomes older at once."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

MOMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "dedupe_keys": ("received",),
    "lanes": ("due", "until"),
    "messages": ("received", "due", "notice_due", "started", "settled"),
    "attempts": ("started", "ended"),
    "sends": ("created", "due", "settled", "look_due", "missing"),
    "send_requests": ("due",),
    "conversation_states": ("used",),
    "aliases": ("seen",),
}
"""The tables of both stores, and their columns that hold a moment."""

Execute = Callable[[str], Awaitable[object]]


class Clock:
    """A side entrance to a store's database.

    Args:
        execute: runs a statement there.
        schema: what stands before a table's name.
        earlier: SQL for a column less so many seconds.
        uncount: the statement after which nothing is counted.
    """

    def __init__(self, execute: Execute, *, schema: str, earlier: str, uncount: str) -> None:
        self._execute = execute
        self._schema = schema
        self._earlier = earlier
        self._uncount = uncount

    async def advance(self, seconds: int) -> None:
        """Let time pass."""
        for table, columns in MOMENTS.items():
            changes = (f"{one} = {self._earlier.format(one, seconds)}" for one in columns)
            await self._execute(f"UPDATE {self._schema}{table} SET {', '.join(changes)}")

    async def clear(self) -> None:
        """Leave an empty store."""
        for table in MOMENTS:
            await self._execute(f"DELETE FROM {self._schema}{table}")
        await self._execute(self._uncount)


@asynccontextmanager
async def clock_of(url: str) -> AsyncIterator[Clock]:
    """Open the side entrance of a store that exists."""
    if url.startswith("postgresql:"):
        server = await asyncpg.connect(url)
        try:
            yield Clock(
                server.execute,
                schema="offhook.",
                earlier="{} - interval '{} seconds'",
                uncount="DELETE FROM offhook.tallies",
            )
        finally:
            await server.close()
        return
    file = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)

    async def execute(statement: str) -> None:
        file.execute(statement)

    try:
        yield Clock(
            execute,
            schema="",
            earlier="{} - {} * 1000",
            uncount="UPDATE sequences SET value = 0 WHERE name LIKE 'rows of %'",
        )
    finally:
        file.close()
