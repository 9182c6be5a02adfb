"""The soak judges what has been handled once all is, also what was never acknowledged."""

import asyncio
import sqlite3
from pathlib import Path

from benchmarks.soak import settle


async def test_a_soak_waits_for_what_was_stored_and_not_acknowledged(tmp_path: Path) -> None:
    database = tmp_path / "offhook.db"
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("CREATE TABLE messages (state TEXT)")
    connection.execute("INSERT INTO messages VALUES ('done'), ('done'), ('open')")

    settling = asyncio.create_task(settle(database, 2))
    await asyncio.sleep(0.05)
    assert not settling.done()
    connection.execute("UPDATE messages SET state = 'done'")
    async with asyncio.timeout(20):
        await settling
    connection.close()
