"""Commands that look into a store which another process makes at the same moment."""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from offhook.cli.stores import existing
from offhook.settings import Settings
from offhook.stores import store_of
from testing.commands import Home

# Opens the store at each line of its standard input, so that several do so at once.
OPENER = """
import asyncio, sys
from offhook.settings import Settings
from offhook.stores import store_of

async def main():
    store = store_of(Settings.load())
    try:
        await store.open()
        await store.counts()
    finally:
        await store.close()

print(flush=True)
for line in sys.stdin:
    asyncio.run(main())
    print("opened", flush=True)
"""


def settings(path: Path) -> Settings:
    return Settings.load(env_file=None, store=f"sqlite:///{path}/offhook.db")


async def test_a_command_waits_a_moment_for_a_store_that_another_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a machine that is busy needs to make it.
    monkeypatch.setattr("offhook.cli.stores._CREATION_TIMEOUT", 60.0)

    async def look() -> int:
        async with existing(settings(tmp_path)) as store:
            return sum((await store.counts()).messages.values())

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)  # it has looked once now, and found nothing
    assert not (tmp_path / "offhook.db").exists()
    store = store_of(settings(tmp_path))
    await store.open()
    assert await looking == 0
    await store.close()


async def test_several_processes_open_a_fresh_store_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path)

    async def opener() -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", OPENER, cwd=tmp_path, env=home._environment({}),
            stdin=pipe, stdout=pipe, stderr=pipe,
        )  # fmt: skip

    processes = [await opener() for _ in range(5)]
    try:
        async with asyncio.timeout(60):
            assert await all_printed(processes) == [b"\n"] * 5
            for _ in range(3):
                for process in processes:
                    assert process.stdin is not None
                    process.stdin.write(b"open\n")
                assert await all_printed(processes) == [b"opened\n"] * 5
                for file in tmp_path.glob("offhook.db*"):
                    file.unlink()
            said = await asyncio.gather(*(process.communicate(b"") for process in processes))
        assert [errors.decode() for _, errors in said] == [""] * 5
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def all_printed(processes: Iterable[asyncio.subprocess.Process]) -> list[bytes]:
    return await asyncio.gather(*map(printed, processes))


async def printed(process: asyncio.subprocess.Process) -> bytes:
    """Return the next line that a process prints, or what it failed with."""
    assert process.stdout is not None
    assert process.stderr is not None
    return await process.stdout.readline() or await process.stderr.read()
