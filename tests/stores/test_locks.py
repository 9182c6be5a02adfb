"""Several connections of one process to one file: its locks stay, whichever of them come and go.

POSIX locks are a process' own, and closing any descriptor of a file drops all that it has on it
(https://www.sqlite.org/howtocorrupt.html, section 2.2). Another process that opens and closes the
file then takes itself for the last, and deletes the log in which the acknowledged messages are.
"""

import asyncio
import os
import stat
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from offhook.stores.api import Filter
from testing.spools import locked
from testing.stores import inbound, opened

# SHARED_FIRST of SQLite's os.h: where a connection in WAL mode has a read lock for as long as it is
# open.
SHARED = 0x40000000 + 2

VISIT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM messages").fetchone()
connection.close()
"""


def holds_the_lock(database: Path) -> bool:
    """Return whether this process has its lock on a database, as the kernel says."""
    inode = str(database.stat().st_ino)
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(
        (kind, int(pid), place.split(":")[2], int(start)) == ("READ", os.getpid(), inode, SHARED)
        for _, _, _, kind, pid, place, start, _ in (line for line in held if "->" not in line)
    )


def visit(database: Path) -> None:
    """Have another process look into a database, and close it, as any command does."""
    subprocess.run([sys.executable, "-c", VISIT, database], check=True, timeout=60)


async def test_a_second_opening_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    database = tmp_path / "offhook.db"

    async with opened(database) as first:
        assert holds_the_lock(database)
        async with opened(database):
            assert holds_the_lock(database)
        assert holds_the_lock(database), "closing the second has dropped the first one's"
        await first.accept(inbound("SM1"))


async def test_another_process_that_comes_and_goes_leaves_the_log(tmp_path: Path) -> None:
    database = tmp_path / "offhook.db"
    log = database.with_name("offhook.db-wal")

    async with opened(database) as one, opened(database):
        await one.accept(inbound("SM1"))
        written = log.stat().st_ino
        await asyncio.to_thread(visit, database)
        assert log.exists(), "deleted under the running process"
        assert log.stat().st_ino == written, "replaced under the running process"
        await one.accept(inbound("SM2"))
    async with opened(database) as store:
        assert {record.sid for record in await store.find(Filter())} == {"SM1", "SM2"}


async def test_two_that_open_a_fresh_file_at_once_keep_their_locks(tmp_path: Path) -> None:
    async def enter(stack: AsyncExitStack, database: Path, after: float) -> None:
        await asyncio.sleep(after)
        await stack.enter_async_context(opened(database))

    for n in range(20):
        database = tmp_path / f"{n}.db"
        async with AsyncExitStack() as stack:
            await asyncio.gather(*(enter(stack, database, n * k / 5000) for k in range(3)))
            assert holds_the_lock(database), f"round {n}"


async def test_a_fresh_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    database = tmp_path / "what a name?%41#.db"

    before = os.umask(0)
    try:
        async with opened(database):
            assert stat.S_IMODE(database.stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_file_is_opened_while_another_process_is_stopped_within_a_transaction(
    tmp_path: Path,
) -> None:
    """Commands look into the store of a bot that stands still, and a bot starts beside it."""
    database = tmp_path / "offhook.db"

    async with opened(database) as first:
        await first.accept(inbound("SM1"))
    with locked(database):
        async with opened(database):
            pass
