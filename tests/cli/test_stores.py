"""Commands that look into a store which another process makes at the same moment."""

import asyncio
import sys
from pathlib import Path

from offhook.cli.stores import existing
from offhook.settings import Settings
from offhook.stores import store_of
from testing.commands import Home

# Opens the store as soon as its standard input ends, so that several do so at once.
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
sys.stdin.read()
asyncio.run(main())
"""


def settings(path: Path) -> Settings:
    return Settings.load(env_file=None, store=f"sqlite:///{path}/offhook.db")


async def test_a_command_waits_a_moment_for_a_store_that_another_makes(tmp_path: Path) -> None:
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
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", OPENER, cwd=tmp_path, env=home._environment({}),
            stdin=pipe, stdout=pipe, stderr=pipe,
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.readline()
        return process

    for _ in range(3):
        async with asyncio.timeout(60):
            processes = await asyncio.gather(*(opener() for _ in range(5)))
            said = await asyncio.gather(*(process.communicate(b"") for process in processes))
        result = [errors.decode() for _, errors in said]
        assert result == [""] * 5
        for file in tmp_path.glob("offhook.db*"):
            file.unlink()
