"""Invariant: what is acknowledged is found by the store's name, whatever becomes of its files."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from offhook.errors import StoreBroken
from offhook.stores.api import Filter
from offhook.stores.sqlite import SqliteStore
from offhook.stores.sqlite.files import Files
from testing.stores import inbound, opened

Damage = Callable[[Path], object]


def remove(database: Path) -> None:
    for file in database.parent.glob("offhook.db*"):
        if file.is_file():
            file.unlink()


def replace(database: Path) -> None:
    """Put a backup in its place, as an operator would."""
    backup = database.with_name("backup.db")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    backup.replace(database)


def overwrite(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            pass  # the store is at it itself
    with database.open("r+b") as file:
        file.seek(8192)
        file.write(b"junk" * ((database.stat().st_size - 8192) // 4))


def gone(*suffixes: str) -> Damage:
    def unlink(database: Path) -> None:
        for suffix in suffixes:
            database.with_name(database.name + suffix).unlink()

    return unlink


DAMAGES = [
    pytest.param(remove, id="all files removed"),
    pytest.param(gone(""), id="the database removed"),
    pytest.param(lambda database: database.rename(database.with_name("old")), id="renamed"),
    pytest.param(replace, id="replaced by a backup"),
    pytest.param(gone("-wal"), id="the log removed"),
    pytest.param(gone("-shm"), id="the index removed"),
    pytest.param(gone("-wal", "-shm"), id="log and index removed"),
    pytest.param(overwrite, id="overwritten"),
]


@asynccontextmanager
async def store_at(path: Path, **how: bool) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, **how)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def accepted(store: SqliteStore, sid: str) -> bool:
    try:
        return await store.accept(inbound(sid))
    except StoreBroken:  # the other connection of the store is about to let go
        return False


def sids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        return {sid for (sid,) in connection.execute("SELECT sid FROM messages")}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_would_not_be_found_is_not_acknowledged(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "offhook.db"

    async with store_at(path) as store:
        await store.accept(inbound("SM1"))
        damage(path)
        with pytest.raises(StoreBroken):
            await store.accept(inbound("SM2"))


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_would_not_be_found_is_not_read(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "offhook.db"

    async with store_at(path) as store:
        await store.accept(inbound("SM1"))
        assert len(await store.find(Filter())) == 1
        damage(path)
        with pytest.raises(StoreBroken):
            await store.find(Filter())


@pytest.mark.parametrize("follow", [False, True])
async def test_a_store_that_is_gone_is_not_made_anew_and_is_used_again_when_it_is_back(
    tmp_path: Path, follow: bool
) -> None:
    path, aside = tmp_path / "offhook.db", tmp_path / "aside.db"

    async with store_at(path, follow=follow) as store:
        await store.accept(inbound("SM1"))
        path.rename(aside)
        for _ in range(3):
            with pytest.raises(StoreBroken, match="is gone"):
                await store.accept(inbound("SM2"))
            with pytest.raises(StoreBroken, match="is gone"):
                await store.find(Filter())
        assert not path.exists()
        aside.rename(path)
        async with asyncio.timeout(60):
            while not await accepted(store, "SM3"):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
    assert {"SM1", "SM3"} <= sids(path)


async def test_a_replacement_is_gone_on_with_only_by_those_who_hold_nothing_of_the_former(
    tmp_path: Path,
) -> None:
    path = tmp_path / "offhook.db"
    async with store_at(path, follow=True) as store:
        await store.accept(inbound("SM1"))
        replace(path)
        with pytest.raises(StoreBroken, match="was replaced"):
            await store.accept(inbound("SM2"))
        assert await store.accept(inbound("SM3"))
    assert sids(path) == {"SM1", "SM3"}
    async with store_at(path, follow=False) as store:
        replace(path)
        for _ in range(3):
            with pytest.raises(StoreBroken, match="was replaced"):
                await store.claim(1, lease=30.0, owner="w", alone=False)


async def test_a_replacement_with_another_schema_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "offhook.db"

    async with store_at(path) as store:
        await store.accept(inbound("SM1"))
        with closing(sqlite3.connect(tmp_path / "other.db")) as other:
            other.execute("PRAGMA user_version = 1")
        (tmp_path / "other.db").replace(path)
        for _ in range(3):
            with pytest.raises(StoreBroken, match="replaced"):
                await store.accept(inbound("SM2"))


async def test_a_file_that_is_replaced_while_it_is_opened_is_not_given_the_former_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "offhook.db"
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("PRAGMA user_version = 1")

    async with store_at(path) as store:
        refuse_half = Files._refuse_half

        def replaced(files: Files, *, timeout: float) -> None:
            refuse_half(files, timeout=timeout)
            if (tmp_path / "other.db").exists():
                (tmp_path / "other.db").replace(path)

        # The second connection is opened by the checkpoint that follows a commit, or by a reader,
        # whichever is first; so what is committed is in the log alone.
        monkeypatch.setattr(Files, "_refuse_half", replaced)
        await store.accept(inbound("SM1"))
        with pytest.raises(StoreBroken, match="replaced"):
            await store.find(Filter())
        for _ in range(3):
            with pytest.raises(StoreBroken, match="replaced"):
                await store.accept(inbound("SM2"))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (1,)
        assert other.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


@pytest.mark.parametrize(
    "displace", [replace, gone(""), lambda path: path.rename(path.parent / "x")]
)
async def test_a_former_file_leaves_no_log_behind_that_another_would_take_for_its_own(
    tmp_path: Path, displace: Damage
) -> None:
    path = tmp_path / "offhook.db"

    async with opened(path) as former, opened(path) as idle:
        await former.accept(inbound("SM1"))
        await idle.accept(inbound("SM2"))
        with (
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(tmp_path / "restored.db")) as backup,
        ):
            source.backup(backup)
        await former.accept(inbound("SM3"))
        displace(path)
        with pytest.raises(StoreBroken):
            await former.accept(inbound("SM4"))
        assert not path.with_name("offhook.db-wal").exists()
        (tmp_path / "restored.db").replace(path)
        async with opened(path) as present:
            await present.accept(inbound("SM5"))
            for store in (former, idle):
                await asyncio.sleep(0)
                with suppress(StoreBroken):
                    await store.accept(inbound("SM6"))
            assert path.with_name("offhook.db-wal").stat().st_size
            assert await present.accept(inbound("SM7"))
    assert {"SM1", "SM2", "SM5", "SM7"} <= sids(path) <= {"SM1", "SM2", "SM5", "SM6", "SM7"}


async def test_a_replacement_is_not_opened_with_the_log_of_a_damaged_file(tmp_path: Path) -> None:
    path, log = tmp_path / "offhook.db", tmp_path / "offhook.db-wal"

    async with store_at(path) as store:
        await store.accept(inbound("SM1"))
        with closing(sqlite3.connect(path)) as source:
            with closing(sqlite3.connect(tmp_path / "restored.db")) as backup:
                source.backup(backup)
            source.execute("SELECT count(*) FROM messages").fetchall()  # keeps the log in place
            overwrite(path)
            with pytest.raises(StoreBroken, match="malformed"):
                await store.accept(inbound("SM2"))
            with pytest.raises(StoreBroken, match="malformed"):
                await store.find(Filter())
            former = log.stat().st_ino
            (tmp_path / "restored.db").replace(path)
            assert await store.accept(inbound("SM3"))
            assert log.stat().st_ino != former
    assert sids(path) == {"SM1", "SM3"}


async def test_an_idle_process_lets_go_of_a_file_that_is_not_the_store_any_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "offhook.db"

    def held() -> bool:
        files = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        return any(str(tmp_path) in file and "(deleted)" in file for file in files)

    async with opened(path) as idle:
        await idle.accept(inbound("SM1"))
        await idle.find(Filter())
        gone("-wal", "-shm")(path)
        async with asyncio.timeout(60):
            while held():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        async with opened(path) as other:
            assert [record.sid for record in await other.find(Filter())] == ["SM1"]
    assert sids(path) == {"SM1"}


async def test_a_second_log_is_not_begun_while_the_first_is_in_use_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    path = tmp_path / "offhook.db"

    with closing(sqlite3.connect(path)) as foreign:  # does not look whether its files are there
        async with opened(path) as first:
            for n in range(10):
                await first.accept(inbound(f"SM{n}"))
            foreign.execute("SELECT count(*) FROM messages").fetchall()
            gone("-wal", "-shm")(path)
            with pytest.raises(StoreBroken, match="was removed"):
                await SqliteStore(path).open()
            for _ in range(3):
                with pytest.raises(StoreBroken):
                    await first.accept(inbound("SMlost"))
            assert not path.with_name("offhook.db-wal").exists()
            foreign.close()
            assert await first.accept(inbound("SMafter"))
    assert {*(f"SM{n}" for n in range(10)), "SMafter"} <= sids(path)


async def test_several_that_let_go_of_a_removed_log_at_once_save_what_it_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "offhook.db"

    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(path)) for _ in range(4)]
        for n in range(40):
            await stores[n % 4].accept(inbound(f"SM{n}"))
        gone("-wal", "-shm")(path)
    assert sids(path) == {f"SM{n}" for n in range(40)}


def test_a_store_is_made_only_where_that_is_asked_for_and_nothing_beside_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "offhook.db", create=False)
    with pytest.raises(StoreBroken, match="there is no"):
        asyncio.run(store.open())
    assert list(tmp_path.iterdir()) == []


async def test_no_store_is_made_beside_a_log_that_holds_messages(tmp_path: Path) -> None:
    path = tmp_path / "offhook.db"

    async with store_at(path) as store:
        await store.accept(inbound("SM1"))
        path.rename(tmp_path / "aside.db")
        log = path.with_name("offhook.db-wal").read_bytes()
        with pytest.raises(StoreBroken, match="its log"):
            await SqliteStore(path).open()
        assert path.with_name("offhook.db-wal").read_bytes() == log
        (tmp_path / "aside.db").rename(path)
    assert sids(path) == {"SM1"}
