"""Invariant: what `accept` returned from is on disk; what it refused is not half there."""

import asyncio
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from offhook.errors import SchemaTooNew, StoreUnavailable
from offhook.stores.api import Filter
from testing.stores import inbound, opened

_ACCEPT_FOR_EVER = """
import asyncio, sys
from testing.stores import inbound, opened
from pathlib import Path

async def main():
    async with opened(Path(sys.argv[1])) as store:
        n = 0
        while True:
            await asyncio.gather(*(store.accept(inbound(f"SM{n + k}", f"{k}")) for k in range(8)))
            n += 8
            print(n, flush=True)

asyncio.run(main())
"""


def accept_until_killed(path: Path) -> int:
    """Return how many a process had accepted, by its own account, when it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", _ACCEPT_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        accepted = 0
        try:
            while accepted < 400:
                accepted = int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)
        for line in process.stdout:  # what it told before it died
            if line.endswith("\n"):
                accepted = int(line)
    return accepted


async def test_what_was_accepted_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "offhook.db"
    accepted = accept_until_killed(path)
    async with opened(path) as store:
        stored = {record.sid for record in await store.find(Filter(limit=100_000))}
        assert {f"SM{n}" for n in range(accepted)} <= stored
        assert await store.accept(inbound("SMnew"))


async def test_a_full_disk_refuses_and_recovers_by_itself(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async with opened(f"sqlite:///{tmp_path}/offhook.db") as store:
        await store.accept(inbound("SM0"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
        accepted = ["SM0"]
        try:
            for n in range(1, 400):
                try:
                    await store.accept(inbound(f"SM{n}"))
                except StoreUnavailable:
                    break
                accepted.append(f"SM{n}")
            else:
                pytest.fail("the disk did not get full")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await store.accept(inbound("SMafter"))
        stored = {record.sid for record in await store.find(Filter(limit=1000))}
        assert stored == {*accepted, "SMafter"}
    with sqlite3.connect(tmp_path / "offhook.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_where_nothing_can_be_written_a_check_says_so(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async with opened(f"sqlite:///{tmp_path}/offhook.db") as store:
        await store.accept(inbound("SM0"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        try:
            with pytest.raises(StoreUnavailable):
                await store.check()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await store.check()


async def test_a_file_locked_by_another_program_refuses_and_recovers(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/offhook.db") as store:
        intruder = sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.accept(inbound("SM1"))
        intruder.execute("ROLLBACK")
        intruder.close()
        assert await store.accept(inbound("SM1"))


async def test_what_nobody_waits_for_any_more_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.stores.sqlite.writer.BUSY_TIMEOUT", 60.0)

    async with opened(f"sqlite:///{tmp_path}/offhook.db") as store:
        intruder = sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        held_up = asyncio.ensure_future(store.accept(inbound("SM1")))
        await asyncio.sleep(0.1)  # the writer has it, and waits for the intruder
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await store.accept(inbound("SM2"))
        intruder.execute("ROLLBACK")
        intruder.close()
        assert await held_up
        assert await store.accept(inbound("SM3"))
        assert {record.sid for record in await store.find(Filter())} == {"SM1", "SM3"}
        assert {record.sid for record in await store.find(Filter())} == {"SM1", "SM3"}


async def test_the_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/offhook.db") as store:
        await store.accept(inbound("SM1"))
        names = [p for p in tmp_path.iterdir() if p.is_file()]
        assert len(names) >= 3
        for name in names:
            assert stat.S_IMODE(name.stat().st_mode) == 0o600, name


async def test_a_store_of_a_newer_offhook_is_not_touched(tmp_path: Path) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        await store.tidy()
    connection = sqlite3.connect(tmp_path / "offhook.db", isolation_level=None)
    connection.execute("PRAGMA user_version = 4711")
    connection.close()
    with pytest.raises(SchemaTooNew):
        async with opened(tmp_path / "offhook.db"):
            pass


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot open"):
        async with opened(f"sqlite:///{tmp_path}/missing/offhook.db") as store:
            await store.tidy()


async def test_closing_finishes_what_was_begun(tmp_path: Path) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        pending = [asyncio.ensure_future(store.accept(inbound(f"SM{n}"))) for n in range(50)]
        await asyncio.sleep(0)
    assert all(await asyncio.gather(*pending))
