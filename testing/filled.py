"""Stores in which as much waits as wanted, filled by bulk SQL."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import asyncpg

from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.stores import open_store
from offhook.stores.postgres.values import lane_key
from testing.postgres import Databases

FORM: Final = b"MessageSid=SM0&From=%2B15551230001&To=%2B15005550006&Body=hello&NumMedia=0"


class Place(Protocol):
    """Where stores of a kind are made."""

    def new(self) -> str:
        """Return the URL of a store that is not there yet."""
        ...

    def fill(self, url: str, rows: Sequence[str]) -> None:
        """Let a message wait in each of the lanes named; one of a lane stands behind another."""
        ...


@dataclass
class Files:
    """SQLite."""

    folder: Path
    count: int = 0

    def new(self) -> str:
        self.count += 1
        return f"sqlite:///{self.folder}/{self.count}.db"

    def fill(self, url: str, rows: Sequence[str]) -> None:
        now = time.time_ns() // 1_000_000
        file = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        file.execute("PRAGMA synchronous = OFF")
        file.execute("BEGIN IMMEDIATE")
        file.executemany(
            f"INSERT INTO messages (id, place, kind, state, lane, account_sid, sid, sender, "
            f"recipient, form, received, due) VALUES (?1, ?1, '{Kind.MESSAGE}', '{State.OPEN}', "
            f"?2, 'AC1', 'SM' || ?1, '+1', '+2', ?3, ?4, ?4)",
            ((n, lane, FORM, now) for n, lane in enumerate(rows, 1)),
        )
        file.execute("INSERT INTO dedupe_keys SELECT randomblob(16), id, received FROM messages")
        file.execute(
            "INSERT INTO lanes (queue, lane, due) SELECT 0, lane, min(due) FROM messages GROUP BY 2"
        )
        file.execute(
            "UPDATE sequences SET value = ? WHERE name IN ('message', 'rows of messages')",
            (len(rows),),
        )
        file.execute("COMMIT")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.close()


_FILL: Final = (
    """INSERT INTO offhook.dedupe_keys
       SELECT lane, sha256(id::text::bytea), received FROM offhook.messages""",
    """INSERT INTO offhook.lanes (queue, lane, due)
       SELECT 0, lane, min(due) FROM offhook.messages GROUP BY lane""",
)


@dataclass
class Server:
    """PostgreSQL."""

    databases: Databases
    count: int = 0

    def new(self) -> str:
        self.count += 1
        return self.databases.create(f"offhook_benchmark_{time.time_ns()}_{self.count}")

    def fill(self, url: str, rows: Sequence[str]) -> None:
        asyncio.run(self._fill(url, rows))

    async def _fill(self, url: str, rows: Sequence[str]) -> None:
        columns = ("id", "place", "kind", "state", "lane", "lane_name", "account_sid", "sid",
                   "sender", "recipient", "form", "received", "due")  # fmt: skip
        connection = await asyncpg.connect(url)
        try:
            now = await connection.fetchval("SELECT clock_timestamp()")
            await connection.copy_records_to_table(
                "messages", schema_name="offhook", columns=columns,
                records=(
                    (n, n, str(Kind.MESSAGE), str(State.OPEN), lane_key(lane), lane, "AC1",
                     f"SM{n}", "+1", "+2", FORM, now, now)
                    for n, lane in enumerate(rows, 1)
                ),
                timeout=None,
            )  # fmt: skip
            for statement in (
                *_FILL,
                f"INSERT INTO offhook.tallies VALUES ('messages', {len(rows)})",
                f"SELECT setval('offhook.message_ids', {len(rows)})",
                "VACUUM ANALYZE",
                "CHECKPOINT",
            ):
                await connection.execute(statement, timeout=None)
        finally:
            await connection.close()


def make(place: Place, rows: Sequence[str] = ()) -> str:
    """Make a store, with what waits in it; return its URL."""

    async def migrate() -> None:
        store = open_store(url)
        await store.open()
        await store.close()

    url = place.new()
    asyncio.run(migrate())
    if rows:
        place.fill(url, rows)
    return url
