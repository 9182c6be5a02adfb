"""What becomes of a write that nobody has thought of: others go on, and who asked is told."""

import asyncio
import resource
import sqlite3
from pathlib import Path

import pytest

from offhook.core.lifecycle import Trigger
from offhook.errors import LeaseLost, StoreError, StoreUnavailable
from offhook.stores.api import Settlement
from offhook.stores.sqlite.engine import Engine
from offhook.stores.sqlite.files import Files
from offhook.stores.sqlite.schema import migrate
from offhook.stores.sqlite.wakeup import Wake
from offhook.stores.sqlite.writer import BatchInProgressError, Writer
from testing.spools import bytes_of, locked
from testing.stores import DONE, claim, claim_one, draft, inbound, opened


def broken(_connection: sqlite3.Connection, _now: int) -> None:
    raise NameError("what somebody wrote")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["on the loop", "on the thread"])
async def test_a_mistake_in_a_write_is_told_at_once_and_the_next_one_is_committed(
    tmp_path: Path, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.stores.sqlite.writer.BUSY_TIMEOUT", 60.0)
    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)
    try:
        if elsewhere:  # another process writes: the thread waits for its turn
            with locked(engine.path):
                writing = asyncio.create_task(engine.write(broken))
                await asyncio.sleep(0.1)
        else:
            writing = asyncio.create_task(engine.write(broken))
        with pytest.raises(StoreError, match="NameError") as refused:
            await writing
        assert "somebody" not in str(refused.value)
        assert isinstance(refused.value.__cause__, NameError)
        assert await engine.accept(inbound("SM1"))
    finally:
        await engine.close()


async def test_of_runs_that_end_together_each_is_settled_by_itself(tmp_path: Path) -> None:
    """One that has lost its lease is refused, and neither it nor a repeat disturbs the others."""
    async with opened(tmp_path / "offhook.db") as store:
        for number in range(3):
            await store.accept(inbound(f"SM{number}", f"lane{number}"))
        late = await claim_one(store, owner="late")
        await store.release("late")
        first, *others = await claim(store)
        runs = [
            (first, Settlement(Trigger.COMPLETE, drafts=(draft(),))),
            (late, DONE),
            (first, Settlement(Trigger.COMPLETE, drafts=(draft(),))),
            *((one, Settlement(Trigger.RETRY, error="once more")) for one in others),
        ]
        ended = await asyncio.gather(*(store.settle(*run) for run in runs), return_exceptions=True)
        written, lost, repeated, *retried = ended
        assert isinstance(written, tuple)
        assert [send.identity for send in written] == ["reply:0"]
        assert isinstance(lost, LeaseLost)
        assert (repeated, retried) == ((), [(), ()])
        assert await store.backlog(10) == 2
        assert {one.attempt for one in await claim(store)} == {2}


async def test_an_opening_that_is_cancelled_does_not_wait_for_the_migration(tmp_path: Path) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def migrate_for_ever(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE half_done (n)")
        loop.call_soon_threadsafe(begun.set)
        connection.execute(
            "INSERT INTO half_done "
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT 1 FROM n "
            "WHERE i = 2"
        )

    engine = Engine(tmp_path / "offhook.db")
    opening = asyncio.create_task(engine.open(migrate_for_ever))
    await begun.wait()
    opening.cancel()
    await asyncio.wait({opening})
    assert opening.cancelled()
    await engine.close()
    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)
    tables = await engine.read(
        lambda connection: connection.execute("SELECT name FROM sqlite_schema").fetchall()
    )
    assert ("messages",) in tables
    assert ("half_done",) not in tables
    await engine.close()


async def test_the_log_is_moved_into_the_database_while_webhooks_go_on_coming(
    tmp_path: Path,
) -> None:
    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)
    try:
        async with asyncio.timeout(60):
            n = 0
            # Far fewer than a commit by itself would move the log for.
            while b"SMmoved0" not in await asyncio.to_thread(bytes_of, engine.path):
                await engine.accept(inbound(f"SMmoved{n}"))
                n += 1
                await asyncio.sleep(0.01)
    finally:
        await engine.close()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["on the loop", "on the thread"])
async def test_of_a_batch_only_the_write_that_fails_is_refused(
    tmp_path: Path, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.stores.sqlite.writer.BUSY_TIMEOUT", 60.0)

    def half_done(connection: sqlite3.Connection, _now: int) -> None:
        connection.execute("UPDATE sequences SET value = 4711 WHERE name = 'token'")
        connection.execute("INSERT INTO dedupe_keys (key, message, received) VALUES ('k', 1, NULL)")

    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)

    def begin() -> list[asyncio.Future[object]]:
        unstorable = inbound("SM2")._replace(sender="\ud83d")
        return [
            asyncio.ensure_future(engine.accept(inbound("SM1"))),
            asyncio.ensure_future(engine.accept(unstorable)),
            asyncio.ensure_future(engine.write(half_done)),
            asyncio.ensure_future(engine.accept(inbound("SM3"))),
        ]

    try:
        if elsewhere:
            with locked(engine.path):
                pending = begin()
                await asyncio.sleep(0.1)
        else:
            pending = begin()
        first, unstorable, failing, last = await asyncio.gather(*pending, return_exceptions=True)
        assert (first, last) == (True, True)
        # Not `StoreUnavailable`: whoever repeats those until they succeed would never end.
        assert type(unstorable) is StoreError
        assert type(failing) is StoreError
        assert "IntegrityError" in str(failing)
        (token,), stored = await engine.read(
            lambda connection: (
                connection.execute("SELECT value FROM sequences WHERE name = 'token'").fetchone(),
                connection.execute("SELECT sid FROM messages ORDER BY id").fetchall(),
            )
        )
        assert token != 4711
        assert stored == [("SM1",), ("SM3",)]
    finally:
        await engine.close()


async def test_a_write_that_fails_wakes_nobody(tmp_path: Path) -> None:
    def full(_connection: sqlite3.Connection, _now: int) -> None:
        raise OSError("the disk is full")

    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)
    try:
        work = engine.wake.listen()
        with pytest.raises(StoreUnavailable, match="full"):
            await engine.write(full, wakes=True)
        assert not work.is_set()
        await engine.write(lambda _connection, _now: None, wakes=True)
        assert work.is_set()
    finally:
        await engine.close()


async def test_commits_go_on_without_a_free_descriptor(tmp_path: Path) -> None:
    """To look for whom to wake needs some; nobody is woken then, and workers look by themselves."""

    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)
    listener = Wake(engine.path)
    try:
        assert await engine.accept(inbound("SM1"))
        listener.listen()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            async with asyncio.timeout(60):
                assert await engine.accept(inbound("SM2"))
                assert await engine.accept(inbound("SM3"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with asyncio.timeout(60):
            assert await engine.accept(inbound("SM4"))
    finally:
        listener.close()
        await engine.close()


async def test_a_listener_without_a_directory_says_that_the_store_is_away() -> None:
    with pytest.raises(StoreUnavailable, match="cannot listen"):
        Wake(Path("/gone/offhook.db")).listen()


def test_a_second_batch_is_refused_while_the_first_is_written(tmp_path: Path) -> None:
    path = tmp_path / "offhook.db"
    writer = Writer(path, Files(path, create=True, follow=True, adopt=lambda _: None))
    writer.prepare(migrate)
    try:
        writer.begin()
        with pytest.raises(BatchInProgressError) as second:
            writer.begin()
        writer.fail(second.value)
        writer.commit()  # the first is not undone by the failure of the second
        writer.begin()
        writer.fail(OSError("the disk is full"))
        writer.begin()
        writer.commit()
    finally:
        writer.close()
