"""What is in the logs comes into the store once and in order, whatever dies in between."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from offhook.arrivals.file import logs_of, put_aside
from offhook.arrivals.log import ArrivalsLog
from offhook.arrivals.logged import LoggedStore
from offhook.arrivals.record import Arrival, unpack
from offhook.arrivals.waiting import counts
from offhook.core.deferred import Deferred
from offhook.core.forms import MAX_FIELDS
from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.core.requests import Request
from offhook.events import Event, Problem, Sorted
from offhook.stores.api import Filter, Overtaken
from offhook.stores.sqlite.store import SqliteStore
from offhook.worker.sorter import Sorter, catch_up
from testing.spools import eventually
from testing.stores import webhook


class Machine:
    """A directory with a store, its logs, and whoever fills and sorts them."""

    def __init__(self, path: Path) -> None:
        self.path = path / "offhook.db"
        self.problems: list[Problem] = []
        self.sorts: list[Sorted] = []

    def observe(self, event: Event) -> None:
        if isinstance(event, Sorted):
            self.sorts.append(event)
        else:
            assert isinstance(event, Problem)
            self.problems.append(event)

    @asynccontextmanager
    async def ingress(self) -> AsyncIterator[LoggedStore]:
        ingress = LoggedStore(SqliteStore(self.path), self.observe)
        await ingress.open()
        try:
            yield ingress
        finally:
            await ingress.close()

    @asynccontextmanager
    async def store(self) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(self.path)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def sorter(self) -> AsyncIterator[Sorter]:
        async with self.store() as store:
            sorter = Sorter(store, self.observe)
            running = asyncio.create_task(sorter.run())
            try:
                yield sorter
            finally:
                sorter.stop()
                await running

    async def sorted(self) -> None:
        """Sort what is there, as a command does."""
        async with self.store() as store:
            assert await catch_up(store, self.observe, patience=30)

    async def stored(self) -> Sequence[str]:
        """Return the SIDs in the store, in the order in which they were stored."""
        async with self.store() as store:
            return [record.sid for record in reversed(await store.find(Filter(limit=100_000)))]

    def set_aside(self) -> list[Webhook]:
        """Return what the logs keep for people to look into."""
        found = []
        for path in logs_of(self.path):
            with closing(sqlite3.connect(path)) as connection:
                rows = connection.execute("SELECT batch FROM unsorted").fetchall()
            found += [arrival.webhook for (batch,) in rows for arrival in unpack(batch)]
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_what_arrives_is_sorted_at_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.worker.sorter._POLL", 3600.0)  # the wake-up alone does it
    async with machine.ingress() as ingress, machine.sorter(), machine.store() as looking:
        found = looking.listen()
        for number in range(3):
            assert await ingress.accept(webhook(f"SM{number}"))
            await asyncio.wait_for(found.wait(), 60)
            found.clear()
        assert await machine.stored() == ["SM0", "SM1", "SM2"]


async def test_handlers_that_keep_all_threads_busy_hold_up_nothing(machine: Machine) -> None:
    release = threading.Event()
    async with machine.ingress() as ingress, machine.sorter():
        busy = [asyncio.create_task(asyncio.to_thread(release.wait)) for _ in range(100)]
        try:
            await ingress.accept(webhook("SM1"))
            await eventually(lambda: bool(machine.sorts))
        finally:
            release.set()
            await asyncio.gather(*busy)


async def test_a_repeat_is_stored_once(machine: Machine) -> None:
    async with machine.ingress() as one, machine.ingress() as other:
        for ingress in (one, other, one):
            await ingress.accept(webhook("SM1"))
    await machine.sorted()
    assert await machine.stored() == ["SM1"]
    assert [(sort.new, sort.repeated) for sort in machine.sorts] == [(1, 2)]


async def test_what_waits_is_sorted_when_a_worker_comes_in_the_order_of_receipt(
    machine: Machine,
) -> None:
    names = [f"SM{number:03}" for number in range(300)]
    chance = random.Random(7)
    async with machine.ingress() as one, machine.ingress() as other:
        for name in names:
            await chance.choice([one, other]).accept(webhook(name))
    async with machine.sorter():
        pass
    assert await machine.stored() == names


async def test_the_moment_of_receipt_is_kept_and_notices_count_from_it(machine: Machine) -> None:
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM1", notice_after=0.0005))
    await asyncio.sleep(0.3)
    await machine.sorted()
    async with machine.store() as store:
        (record,) = await store.find(Filter())
        assert [overdue.id for overdue in await store.overdue(10)] == [record.id]
        (claim,) = (await store.claim(1, lease=10, owner="w", alone=False)).claims
        assert claim.received == pytest.approx(record.received)


async def test_a_worker_sorts_beside_commands_and_they_without_it(machine: Machine) -> None:
    async with machine.ingress() as ingress, machine.store() as store:
        async with machine.sorter():
            await ingress.accept(webhook("SM1"))
            await machine.sorted()
            assert await _has(store, "SM1")
        assert len(machine.sorts) == 1
        await ingress.accept(webhook("SM2"))
        await machine.sorted()
        assert await _has(store, "SM2")


async def _has(store: SqliteStore, sid: str) -> bool:
    return bool(await store.find(Filter(sid=sid)))


async def test_what_was_sorted_is_trimmed(machine: Machine) -> None:
    async with machine.ingress() as ingress, machine.sorter():
        await ingress.accept(webhook("SM1"))
        log = machine.path.with_name("offhook.db-arrivals-1")

        def is_empty() -> bool:
            connection = sqlite3.connect(log)
            try:
                return bool(connection.execute("SELECT count(*) FROM arrivals").fetchone() == (0,))
            finally:
                connection.close()

        await eventually(is_empty)


async def test_a_store_that_is_locked_is_waited_for(machine: Machine) -> None:
    async with machine.ingress() as ingress, machine.sorter():
        intruder = sqlite3.connect(machine.path, isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        assert await ingress.accept(webhook("SM1")), "no lock of the store delays an answer"
        await eventually(lambda: bool(machine.problems))
        intruder.execute("ROLLBACK")
        intruder.close()
        await eventually(lambda: machine.problems[-1].resolved)
        assert await machine.stored() == ["SM1"]


async def test_one_that_is_stopped_holds_up_nothing(machine: Machine) -> None:
    names = [f"SM{number}" for number in range(6)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SORTER, machine.path, stdout=subprocess.PIPE
    )
    async with machine.ingress() as ingress, machine.store() as store:
        try:
            await ingress.accept(webhook(names[0]))
            assert process.stdout is not None
            for said in (b"sorting", b"Sorted"):  # so it is not in the middle of its transaction
                assert (await process.stdout.readline()).startswith(said)
            process.send_signal(signal.SIGSTOP)
            async with machine.sorter():
                for name in names[1:4]:
                    await ingress.accept(webhook(name))
                await eventually(lambda: _has(store, names[3]))
                process.send_signal(signal.SIGCONT)
                for name in names[4:]:
                    await ingress.accept(webhook(name))
                await eventually(lambda: _has(store, names[-1]))
        finally:
            process.kill()
            await process.wait()
    assert await machine.stored() == names
    assert all(sort.repeated == 0 for sort in machine.sorts), "what is stored is refused at once"


async def test_several_may_sort_at_once(machine: Machine) -> None:
    names = [f"SM{number:03}" for number in range(200)]
    async with machine.ingress() as one, machine.ingress() as other:
        for number, name in enumerate(names):
            await (one if number % 3 else other).accept(webhook(name))
    await asyncio.gather(*[machine.sorted() for _ in range(4)])
    assert await machine.stored() == names
    assert sum(sort.new for sort in machine.sorts) == len(names)
    assert sum(sort.repeated for sort in machine.sorts) == 0


class Counting(SqliteStore):
    """Counts what it refused because another process had sorted meanwhile."""

    overtaken = 0

    async def sort(
        self,
        arrived: Sequence[tuple[Inbound, int]],
        positions: Mapping[bytes, int],
        before: Mapping[bytes, int],
    ) -> Sequence[bool]:
        try:
            return await super().sort(arrived, positions, before)
        except Overtaken:
            self.overtaken += 1
            raise


async def test_a_long_backlog_is_not_read_by_all_at_once(machine: Machine) -> None:
    log = ArrivalsLog(machine.path, machine.observe, lambda: None)
    await log.open()
    await asyncio.gather(*[log.append(Arrival(webhook(f"SM{n}"), 1)) for n in range(10_000)])
    await log.close()
    other = Counting(machine.path)
    began = time.monotonic()
    async with machine.sorter():
        await other.open()
        sorter = Sorter(other, machine.observe)
        running = asyncio.create_task(sorter.run())
        await eventually(lambda: sum(sort.new for sort in machine.sorts) == 10_000)
        sorter.stop()
        await running
        await other.close()
    assert other.overtaken <= 2 + time.monotonic() - began, "once in each second at most"


REQUEST = Request(Kind.MESSAGE, "POST", "https://b", "/m", b"", None, "signed", b"a=b", 0.0)
UNREADABLE = [
    Webhook(Kind.MESSAGE, b"From=%2B15551230001&Body=names+no+message"),
    Webhook(Kind.STATUS, b"MessageSid=SM0&MessageStatus=names+no+account"),
    Webhook(Kind.MESSAGE, b"AccountSid=AC1&MessageSid=SM0&Body=%C3"),
    Webhook(Kind.MESSAGE, b"AccountSid=AC1&MessageSid=SM0&" + b"&" * MAX_FIELDS),
    Webhook(Kind.DEFERRED, b"AccountSid=AC1&MessageSid=SM0"),
    Webhook(Kind.DEFERRED, Deferred(REQUEST, "AC1").form.replace(b"base=", b"base=%")),
]


@pytest.mark.parametrize("unreadable", UNREADABLE)
async def test_what_can_not_be_read_is_set_aside_alone(
    machine: Machine, unreadable: Webhook
) -> None:
    async with machine.ingress() as ingress:
        for arriving in (webhook("SM1"), unreadable, webhook("SM2")):
            await ingress.accept(arriving)
    for _ in range(2):
        await machine.sorted()
        assert await machine.stored() == ["SM1", "SM2"]
    (problem,) = machine.problems
    assert problem.text.startswith("a webhook was set aside in ")
    assert machine.set_aside() == [unreadable]


async def test_what_a_store_refuses_is_set_aside_alone(machine: Machine) -> None:
    async with machine.store():
        with closing(sqlite3.connect(machine.path)) as other:
            other.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN new.sid = 'SM0' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
    async with machine.ingress() as ingress:
        await asyncio.gather(*[ingress.accept(webhook(f"SM{number}")) for number in (1, 2, 0, 3)])
    for _ in range(2):
        await machine.sorted()
        assert await machine.stored() == ["SM1", "SM2", "SM3"]
    (problem,) = machine.problems
    assert problem.text.startswith("'SM0' was set aside in ")
    assert machine.set_aside() == [webhook("SM0")]


INGRESS = """
import asyncio, sys
from pathlib import Path
from offhook.arrivals.logged import LoggedStore
from offhook.stores.sqlite.store import SqliteStore
from testing.stores import webhook

async def main():
    ingress = LoggedStore(SqliteStore(Path(sys.argv[1])), print)
    await ingress.open()
    for name in sys.argv[2:]:
        await ingress.accept(webhook(name))
    print("appended", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_repeats_of_a_killed_ingress_are_stored_once(machine: Machine) -> None:
    for names in (["SM1", "SM2", "SM1"], ["SM2", "SM3"]):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", INGRESS, machine.path, *names, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"appended\n"
        finally:
            process.kill()
            await process.wait()
        assert await machine.stored() == []
    await machine.sorted()
    assert await machine.stored() == ["SM1", "SM2", "SM3"]
    assert [(sort.new, sort.repeated) for sort in machine.sorts] == [(3, 2)]


async def test_what_waits_in_the_logs_counts(machine: Machine) -> None:
    async with machine.ingress() as ingress, machine.store() as store:
        for name in ("SM1", "SM2", "SM3"):
            await ingress.accept(webhook(name))
        await asyncio.sleep(0.3)
        assert [await ingress.backlog(most) for most in (2, 100)] == [2, 3]
        found = await counts(store)
        assert (found.messages[State.OPEN], (found.oldest or 0) >= 0.3) == (3, True)
        await machine.sorted()
        assert await ingress.backlog(100) == 3
        assert (await counts(store)).messages[State.OPEN] == 3


async def test_a_log_that_is_removed_is_sorted_though_nothing_more_arrives(
    machine: Machine,
) -> None:
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM1"))
        machine.path.with_name("offhook.db-arrivals-1").unlink()
        await eventually(lambda: bool(machine.problems))
        await machine.sorted()
        assert await machine.stored() == ["SM1"]


async def test_processes_that_name_the_store_by_different_links_find_the_same_logs(
    machine: Machine, tmp_path: Path
) -> None:
    async with machine.store():
        pass
    (tmp_path / "elsewhere").mkdir()
    link = Machine(tmp_path / "elsewhere")
    link.path.symlink_to(machine.path)
    async with link.ingress() as ingress:
        await ingress.accept(webhook("SM1"))
        await machine.sorted()
        assert await machine.stored() == ["SM1"]
        other = Machine(tmp_path / "elsewhere" / "other")
        other.path.parent.mkdir()
        async with other.store():
            pass
        link.path.unlink()
        await ingress.accept(webhook("SM2"))
        link.path.symlink_to(other.path)
        await ingress.accept(webhook("SM3"))

        async def are_there() -> bool:
            await link.sorted()
            return (await link.stored())[-2:] == ["SM2", "SM3"]

        await eventually(are_there)  # the ingress may have found the link gone, and then changed
        assert link.problems


async def test_a_worker_ends_although_much_is_left(machine: Machine) -> None:
    async with machine.ingress() as ingress:
        await asyncio.gather(*[ingress.accept(webhook(f"SM{number}")) for number in range(3000)])
    async with machine.store() as store:
        sorter = Sorter(store, machine.observe)
        sorter.stop(patience=0.0)
        await sorter.run()
    assert 0 < len(await machine.stored()) < 3000
    await machine.sorted()
    assert len(await machine.stored()) == 3000


async def test_a_log_from_a_backup_older_than_the_store_loses_nothing(machine: Machine) -> None:
    log = machine.path.with_name("offhook.db-arrivals-1")
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM0"))
    backup = log.read_bytes()
    async with machine.ingress() as ingress:
        for number in range(5):
            await ingress.accept(webhook(f"SM{number}"))
    await machine.sorted()
    log.write_bytes(backup)
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM5"))
    await machine.sorted()
    assert await machine.stored() == [f"SM{number}" for number in range(6)]


async def test_the_log_of_a_process_that_has_ended_is_trimmed_too(machine: Machine) -> None:
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM1", Body="secret words"))
    log = machine.path.with_name("offhook.db-arrivals-1")
    await machine.sorted()
    assert b"secret" not in log.read_bytes()


def damage(log: Path, text: bytes) -> None:
    """Overwrite the page that holds a text."""
    data = log.read_bytes()
    with log.open("r+b") as file:
        file.seek(data.index(text) // 4096 * 4096)
        file.write(b"\xff" * 200)


@pytest.mark.parametrize("name", ["SM000", "SM100", "SM199"])
@pytest.mark.parametrize("adopted", [True, False])
async def test_a_damaged_page_of_a_log_stops_nothing_else(
    machine: Machine, name: str, *, adopted: bool
) -> None:
    names = [f"SM{number:03}" for number in range(200)]
    log = machine.path.with_name("offhook.db-arrivals-1")
    async with machine.ingress() as ingress:
        for each in names:
            await ingress.accept(webhook(each))
    damage(log, name.encode())
    if adopted:
        async with machine.sorter(), machine.sorter(), machine.ingress() as ingress:
            await ingress.accept(webhook("SM200"))
            await eventually(lambda: sum(sort.new for sort in machine.sorts) > 160)
        names.append("SM200")
    await machine.sorted()
    await machine.sorted()
    stored = await machine.stored()
    missing = set(names) - set(stored)
    assert stored == [each for each in names if each not in missing]
    assert name in missing
    assert len(missing) < 40, "those of one page"
    assert any("unreadable" in problem.text for problem in machine.problems)
    assert len(list(put_aside(machine.path))) == 1


async def test_one_that_can_not_be_read_is_put_aside_when_its_process_has_ended(
    machine: Machine,
) -> None:
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM1"))
    log = machine.path.with_name("offhook.db-arrivals-2")
    log.write_bytes(b"no database at all " * 500)
    await machine.sorted()
    assert await machine.stored() == ["SM1"]
    assert not log.exists()
    assert len(list(log.parent.glob("*-arrivals-2-unreadable-*"))) == 1


async def test_one_of_a_newer_version_is_left_to_its_worker_and_ends_none(machine: Machine) -> None:
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM1"))
    log = machine.path.with_name("offhook.db-arrivals-1")
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA user_version = 99")
    newer = machine.path.with_name("offhook.db-arrivals-2")
    log.rename(newer)
    async with machine.ingress() as ingress:
        await ingress.accept(webhook("SM2"))
    await machine.sorted()
    async with machine.sorter():
        pass
    assert await machine.stored() == ["SM2"]
    assert newer.exists()
    assert any("newer offhook" in problem.text for problem in machine.problems)


SORTER = """
import asyncio, sys
from pathlib import Path
from offhook.stores.sqlite.store import SqliteStore
from offhook.worker.sorter import Sorter, catch_up

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    print("sorting", flush=True)
    await Sorter(store, lambda event: print(event, flush=True)).run()

asyncio.run(main())
"""


async def test_a_sorter_that_is_killed_at_any_moment_repeats_and_leaves_nothing(
    machine: Machine,
) -> None:
    chance = random.Random(11)
    names: list[str] = []
    async with machine.ingress() as one, machine.ingress() as other:

        async def write() -> None:
            while True:
                name = f"SM{len(names):05}"
                await chance.choice([one, other]).accept(webhook(name, f"lane{len(names) % 5}"))
                names.append(name)

        writing = asyncio.create_task(write())
        for _ in range(3):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", SORTER, machine.path, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            await process.stdout.readline()
            await asyncio.sleep(chance.uniform(0.0, 0.2))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
    await machine.sorted()
    stored = list(await machine.stored())
    assert stored[: len(names)] == names  # and perhaps one whose answer nobody has waited for
    assert len(stored) <= len(names) + 1
