"""Commands while messages were acknowledged that are not in the store yet."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from offhook.arrivals.logged import LoggedStore
from offhook.stores.sqlite.store import SqliteStore
from testing.commands import Call
from testing.stores import inbound, webhook


def acknowledge(directory: Path, number: int) -> str:
    """Put messages into an arrivals log; return their sender."""

    async def main() -> None:
        ingress = LoggedStore(SqliteStore(directory / "offhook.db"), lambda _: None)
        await ingress.open()
        await asyncio.gather(*[ingress.accept(webhook(f"SM{n}")) for n in range(number)])
        await ingress.close()

    asyncio.run(main())
    return inbound("SM0").sender


def test_a_store_that_can_not_be_written_can_still_be_read(call: Call, tmp_path: Path) -> None:
    acknowledge(tmp_path, 3)
    with closing(sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shown = call("stats", "--json")
        assert shown.status == 0
        assert '"open": 3' in shown.stdout
        assert "not in the store yet" in shown.stderr
        assert call("messages", "list").stdout == "no messages\n"
    assert call("messages", "list", "--json").stdout.count("SM") == 3


def test_a_person_is_not_called_erased_whose_messages_are_yet_to_come(
    call: Call, tmp_path: Path
) -> None:
    sender = acknowledge(tmp_path, 600)
    shown = call("messages", "erase", "--sender", sender, "--yes", "--wait", "0")
    assert shown.status == 1
    assert "not in the store yet" in shown.stderr
    shown = call("messages", "erase", "--sender", sender, "--yes")
    assert shown.status == 0
    assert call("messages", "list").stdout == "no messages\n"
