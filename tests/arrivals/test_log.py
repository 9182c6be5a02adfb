"""What the arrivals log promises: durable before it is told, in order, once, and never lost."""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from offhook.arrivals.file import LogFile, Slot, logs_of, path_of
from offhook.arrivals.log import ArrivalsLog
from offhook.arrivals.record import Arrival, unpack
from offhook.core.inbound import Inbound
from offhook.errors import SchemaTooNew, StoreUnavailable
from offhook.events import Event, Problem
from testing.stores import webhook


class Machine:
    """A directory with the logs of a store."""

    def __init__(self, path: Path) -> None:
        self.store = path / "offhook.db"
        self.told: list[str] = []
        self.wakes = 0

    def observe(self, event: Event) -> None:
        assert isinstance(event, Problem)
        self.told.append(event.text)

    def wake(self) -> None:
        self.wakes += 1

    @asynccontextmanager
    async def log(self) -> AsyncIterator[ArrivalsLog]:
        log = ArrivalsLog(self.store, self.observe, self.wake)
        await log.open()
        try:
            yield log
        finally:
            await log.close()

    def held(self) -> list[str]:
        """Return the SIDs in all logs, log by log."""
        return [form for path in sorted(logs_of(self.store)) for form in sids(path)]


def sids(path: Path) -> list[str]:
    file = LogFile.open(path)
    try:
        rows = file.read(0, 1_000_000)
        return [Inbound.of(arrival.webhook).sid for row in rows for arrival in unpack(row.batch)]
    finally:
        file.close()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def arrival(sid: str) -> Arrival:
    return Arrival(webhook(sid), 1)


async def appended(log: ArrivalsLog, *names: str) -> list[bool | BaseException]:
    """Append at once; return what each was told."""
    futures = [log.append(arrival(name)) for name in names]
    return await asyncio.gather(*futures, return_exceptions=True)


NAMES = [f"N{number}" for number in range(1200)]


async def test_all_that_gather_are_few_commits_and_stay_in_order(machine: Machine) -> None:
    async with machine.log() as log:
        assert await appended(log, *NAMES) == [True] * len(NAMES)
        (path,) = logs_of(machine.store)
        assert sids(path) == NAMES
    assert machine.wakes == 5
    assert machine.told == []


async def test_the_first_does_not_wait_for_others(machine: Machine) -> None:
    async with machine.log() as log:
        for name in NAMES[:3]:
            assert await appended(log, name) == [True]
    assert machine.wakes == 3


async def test_each_process_has_a_log_of_its_own(machine: Machine) -> None:
    async with machine.log() as one, machine.log() as other:
        await appended(one, "one")
        await appended(other, "other")
        assert sorted(sids(path) for path in logs_of(machine.store)) == [["one"], ["other"]]


async def test_what_was_sorted_is_trimmed_and_its_places_are_not_given_again(
    machine: Machine,
) -> None:
    async with machine.log() as log:
        await appended(log, "secret words")
    (path,) = logs_of(machine.store)
    async with machine.log() as log:
        file = LogFile.open(path)
        (row,) = file.read(0, 10)
        assert not await log.trim({b"another log": row.id})
        assert sids(path) == ["secret words"]
        assert await log.trim({file.name: row.id})
        assert file.read(0, 10) == []
        file.close()
    async with machine.log() as log:
        await appended(log, "more")
        file = LogFile.open(path)
        assert [later.id for later in file.read(row.id, 10)] == [row.id + 1]
        file.close()
    assert b"secret words" not in path.read_bytes()


async def test_what_a_long_backlog_took_of_the_disk_is_given_back(machine: Machine) -> None:
    async with machine.log() as log:
        (path,) = logs_of(machine.store)
        reader = LogFile.open(path)
        big = webhook("big", Body="x" * 1_000_000)
        await asyncio.gather(*[log.append(Arrival(big, 1)) for _ in range(100)])
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        assert await appended(log, "one") == [True]
        assert path.stat().st_size > 90_000_000
        assert await log.trim({reader.name: reader.end()})
        assert path.stat().st_size < 1_000_000
        assert await appended(log, "two") == [True]
        await log.look()
        assert sids(path) == ["two"]
        reader.close()
    assert machine.told == []


async def test_closing_commits_what_was_appended(machine: Machine) -> None:
    async with machine.log() as log:
        future = log.append(arrival("last"))
    assert future.result()
    assert machine.held() == ["last"]
    with pytest.raises(StoreUnavailable, match="closed"):
        log.append(arrival("late"))
    await log.close()


async def test_what_nobody_waits_for_any_more_is_left_out(machine: Machine) -> None:
    async with machine.log() as log:
        futures = [log.append(arrival(name)) for name in ("one", "two", "three")]
        futures[1].cancel()
        await asyncio.gather(futures[0], futures[2])
    assert machine.held() == ["one", "three"]


async def test_a_check_writes_and_leaves_nothing(machine: Machine) -> None:
    async with machine.log() as log:
        await log.check()
        with no_room(64 * 1024), pytest.raises(StoreUnavailable, match="disk"):
            await log.check()
        await log.check()
        for _ in range(30):
            await log.check()
        (path,) = logs_of(machine.store)
        assert Path(f"{path}-wal").stat().st_size < 1_000_000, "it does not grow with each"
    assert machine.held() == []
    with pytest.raises(StoreUnavailable, match="closed"):
        await log.check()


VISIT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM arrivals").fetchone()
connection.close()
"""


async def test_whoever_else_opens_it_leaves_it_whole(machine: Machine) -> None:
    async with machine.log() as log:
        await appended(log, "one")
        (path,) = logs_of(machine.store)
        written = Path(f"{path}-wal").stat().st_ino
        LogFile.open(path).close()  # within the process, whose locks that must not drop
        visitor = await asyncio.create_subprocess_exec(sys.executable, "-c", VISIT, path)
        assert await visitor.wait() == 0
        assert Path(f"{path}-wal").stat().st_ino == written
        assert await appended(log, "two") == [True]
    assert machine.told == []
    assert machine.held() == ["one", "two"]


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_a_full_disk_is_told_and_got_over(machine: Machine) -> None:
    async with machine.log() as log:
        await appended(log, "before")
        with no_room(64 * 1024):
            (refusal,) = await appended(log, "x" * 100_000)
            assert "disk" in str(refusal)
        assert await appended(log, "after") == [True]
    assert machine.held() == ["before", "after"]


@pytest.mark.parametrize("what", ["removed", "replaced", "log removed"])
async def test_a_log_that_is_lost_while_it_is_in_use_is_copied(machine: Machine, what: str) -> None:
    async with machine.log() as log:
        await appended(log, "before")
        (path,) = logs_of(machine.store)
        match what:
            case "removed":
                path.unlink()
            case "replaced":
                path.rename(path.with_name("elsewhere"))
                sqlite3.connect(path).execute("CREATE TABLE strange (one)").connection.close()
            case _:
                Path(f"{path}-wal").unlink()
        assert await appended(log, "after") == [True]
        (text,) = machine.told
        assert "was copied to" in text
        assert sids(machine.store.with_name("offhook.db-arrivals-2")) == ["before", "after"]


async def test_a_log_that_is_lost_while_nothing_arrives_is_copied_before_its_process_ends(
    machine: Machine,
) -> None:
    async with machine.log() as log:
        await appended(log, "one")
        (path,) = logs_of(machine.store)
        path.unlink()
        await log.look()
        assert machine.held() == ["one"]
        for path in machine.store.parent.glob("offhook.db-arrivals-*"):
            path.unlink()
    assert machine.held() == ["one"]


@pytest.mark.parametrize("size", [0, 5000])
async def test_one_that_is_cut_in_use_is_put_aside_and_another_begun(
    machine: Machine, size: int
) -> None:
    async with machine.log() as log:
        await appended(log, *NAMES)
        (path,) = logs_of(machine.store)
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert await appended(log, "seen at this size") == [True]
        os.truncate(path, size)
        assert await appended(log, "after") == [True]
        assert await appended(log, "and on") == [True]
        (text,) = machine.told
        assert "was cut while it was in use" in text
        assert sids(machine.store.with_name("offhook.db-arrivals-2"))[-2:] == ["after", "and on"]


async def test_one_whose_lock_is_removed_has_no_second_writer(machine: Machine) -> None:
    async with machine.log() as log:
        await appended(log, "one")
        (path,) = logs_of(machine.store)
        Path(f"{path}-lock").unlink()
        assert await appended(log, "two") == [True]
        assert Slot.try_take(path, machine.store) is None
        Path(f"{path}-lock").unlink()
        async with machine.log() as quicker:  # it takes what is free, before the first looks
            assert await appended(quicker, "three") == [True]
            assert await appended(log, "four") == [True]
            assert await appended(quicker, "five") == [True]
    assert machine.held() == ["one", "two", "three", "five", "four"]


FORKING = """
import os, signal, sys
from pathlib import Path
from offhook.arrivals.file import Slot

slot = Slot.take(Path(sys.argv[1]))
if not os.fork():
    print("forked", flush=True)
signal.pause()
"""


def test_a_child_of_its_process_does_not_keep_it(machine: Machine) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, machine.store], stdout=subprocess.PIPE, process_group=0
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"forked\n"
        path = path_of(machine.store, 1)
        assert Slot.try_take(path, machine.store) is None
        try:
            process.kill()
            process.wait()
            assert Slot.try_take(path, machine.store) is not None
        finally:
            os.killpg(process.pid, signal.SIGKILL)


async def test_a_log_that_can_not_be_read_is_put_aside_and_told(machine: Machine) -> None:
    path = machine.store.with_name("offhook.db-arrivals-1")
    path.write_bytes(b"no database at all " * 500)
    async with machine.log() as log:
        assert await appended(log, "after") == [True]
    (text,) = machine.told
    (aside,) = machine.store.parent.glob("*unreadable*")
    assert aside.name in text
    assert aside.read_bytes().startswith(b"no database at all")
    assert machine.held() == ["after"]


async def test_one_that_becomes_unreadable_in_use_is_put_aside_too(machine: Machine) -> None:
    async with machine.log() as log:
        await appended(log, "before")
        (path,) = logs_of(machine.store)
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.write(b"nothing that SQLite knows" * 400)
        assert await appended(log, "after") == [True]
    (text,) = machine.told
    assert "unreadable" in text
    assert machine.held() == ["after"]


async def test_a_log_of_a_newer_offhook_is_left_alone(machine: Machine) -> None:
    async with machine.log():
        (path,) = logs_of(machine.store)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SchemaTooNew):
        async with machine.log():
            pass
    assert Slot.try_take(path, machine.store) is not None


async def test_only_its_owner_may_read_it(machine: Machine) -> None:
    async with machine.log() as log:
        await appended(log, "one")
        modes = {file.stat().st_mode & 0o777 for file in machine.store.parent.iterdir()}
    assert modes == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_makes_is_of_the_owner_of_the_store(machine: Machine) -> None:
    machine.store.touch()
    os.chown(machine.store, 65534, 65534)
    async with machine.log() as log:
        await appended(log, "one")
        owners = {file.name: file.stat().st_uid for file in machine.store.parent.iterdir()}
    assert set(owners.values()) == {65534}, owners
    assert len(owners) == 5


WRITER = """
import asyncio, sys
from pathlib import Path
from offhook.arrivals.log import ArrivalsLog
from offhook.arrivals.record import Arrival
from testing.stores import webhook

async def main():
    log = ArrivalsLog(Path(sys.argv[1]), print, lambda: None)
    await log.open()
    number = 0
    def told(name):
        return lambda future: None if future.exception() else print(name, flush=True)
    while True:
        for _ in range(7):
            number += 1
            name = f"{sys.argv[2]}-{number}"
            log.append(Arrival(webhook(name), number)).add_done_callback(told(name))
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


def test_what_was_told_survives_a_kill_at_any_moment_and_is_taken_over(machine: Machine) -> None:
    told: list[str] = []
    for round_ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, machine.store, f"R{round_}"],
            cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            told += [process.stdout.readline().strip() for _ in range(40 + 60 * round_)]
            process.send_signal(signal.SIGKILL)
            told += [line.strip() for line in process.stdout if line.endswith("\n")]
    held = machine.held()
    assert len(list(logs_of(machine.store))) == 1, "the log of the dead is gone on with"
    assert set(told) <= set(held)
    assert len(held) == len(set(held))
    for round_ in range(3):
        numbers = [int(name.split("-")[1]) for name in held if name.startswith(f"R{round_}-")]
        assert numbers == list(range(1, len(numbers) + 1))
