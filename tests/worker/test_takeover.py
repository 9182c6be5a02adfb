"""What a worker had claimed when it was killed is claimed again within a second, not a lease."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offhook.stores.api import Store
from offhook.worker.takeover import Takeover, folder_of
from testing.stores import claim, inbound, opened

LEASE = 3600.0

WORKER = f"""
import asyncio, sys
from pathlib import Path
from offhook.worker.takeover import Takeover
from testing.stores import claim, opened

async def main():
    database, owner = Path(sys.argv[1]), sys.argv[2]
    async with opened(database) as store:
        takeover = Takeover(store, database.with_name("workers"), owner)
        takeover.begin()
        claims = await claim(store, lease={LEASE}, owner=owner)
        print(len(claims), flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


class Machine:
    """A store, and workers that are processes."""

    def __init__(self, path: Path) -> None:
        self.database = path / "offhook.db"
        self.folder = path / "workers"

    @asynccontextmanager
    async def worker(self, owner: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a worker that has claimed all there is."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, self.database, owner, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            assert int(await process.stdout.readline()) > 0
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def takeover(self, store: Store, owner: str = "another") -> Takeover:
        return Takeover(store, self.folder, owner)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_what_a_killed_worker_had_is_claimed_again(machine: Machine) -> None:
    async with opened(machine.database) as store:
        for number in range(3):
            await store.accept(inbound(f"SM{number}", f"lane{number}"))
        async with machine.worker("killed") as process:
            process.kill()
            await process.wait()
        assert await machine.takeover(store).release_dead() == 3
        assert len(await claim(store)) == 3
    assert list(machine.folder.iterdir()) == []


@pytest.mark.parametrize("stopped", [False, True])
async def test_one_that_lives_keeps_what_it_has(machine: Machine, stopped: bool) -> None:
    async with opened(machine.database) as store:
        await store.accept(inbound("SM1"))
        async with machine.worker("alive") as process:
            if stopped:
                process.send_signal(signal.SIGSTOP)
            assert await machine.takeover(store).release_dead() == 0
            assert await claim(store) == ()
        assert await machine.takeover(store).release_dead() == 1


async def test_it_looks_at_once_and_every_second(machine: Machine) -> None:
    async with opened(machine.database) as store:
        await store.accept(inbound("SM1"))
        taking = machine.takeover(store)
        running = asyncio.create_task(taking.run())
        async with machine.worker("killed") as process:
            process.kill()
            await process.wait()
        async with asyncio.timeout(60):
            while not await claim(store):  # noqa: ASYNC110 - another task releases it
                await asyncio.sleep(0.05)
        taking.stop()
        await running


def test_processes_that_name_the_store_by_different_links_look_into_one_folder(
    machine: Machine, tmp_path: Path
) -> None:
    machine.database.touch()
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(machine.database)
    assert folder_of(link) == folder_of(machine.database) == tmp_path / "offhook.db-workers"


async def test_one_that_ends_leaves_nothing_behind(machine: Machine) -> None:
    async with opened(machine.database) as store:
        one, other = machine.takeover(store, "one"), machine.takeover(store, "other")
        one.begin()
        other.begin()
        assert len(list(machine.folder.iterdir())) == 2
        assert await one.release_dead() == await other.release_dead() == 0
        one.end()
        one.end()
        other.end()
        assert list(machine.folder.iterdir()) == []


async def test_a_file_that_is_being_made_is_left_alone(machine: Machine) -> None:
    machine.folder.mkdir()
    (machine.folder / "new").touch()
    async with opened(machine.database) as store:
        assert await machine.takeover(store).release_dead() == 0
    assert (machine.folder / "new").exists()


async def test_where_no_file_can_be_made_leases_run_out(machine: Machine) -> None:
    machine.folder.write_text("not a folder")
    async with opened(machine.database) as store:
        taking = machine.takeover(store)
        taking.begin()
        assert await taking.release_dead() == 0
        taking.end()
