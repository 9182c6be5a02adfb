"""What an earlier version left in its spool, which was a store's file, is stored once and in order.

Of that version, only what it wrote to the disk is here: its processes kept webhooks in that file as
a store does, and changed the mark.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from offhook.arrivals.logged import LoggedStore
from offhook.arrivals.mark import Mark
from offhook.core.deferred import Deferred
from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.events import Event, Problem, Topic
from offhook.ingress.role import Ingress
from offhook.stores.sqlite.store import SqliteStore
from testing.spools import Machine, bytes_of, eventually, sids
from testing.stores import opened_sorted, webhook
from testing.webhooks import settings
from tests.conformance.clocks import clock_of

OLD = [webhook(f"SM{n:03}", f"lane{n % 3}") for n in range(600)]
NEW = [webhook(f"SM{n:03}", f"lane{n % 3}") for n in range(600, 700)]
REQUEST = Request(
    Kind.MESSAGE, "POST", "https://b", "/m", b"", "application/x-www-form-urlencoded", "signed",
    b"AccountSid=AC1&MessageSid=SM9&From=%2B15551230009&To=%2B15005550006", 0.0,
)  # fmt: skip
DEFERRED = Webhook(Kind.DEFERRED, Deferred(REQUEST, "AC1").form)


class OldProcess:
    """A process of the earlier version, as far as it writes to the spool."""

    def __init__(self, spool: Path) -> None:
        self._store = SqliteStore(spool)
        self._mark = Mark(spool.with_name(f"{spool.name}-mark"))

    async def open(self) -> None:
        await self._store.open()
        self._mark.open()

    async def close(self) -> None:
        await self._store.close()
        self._mark.close()

    async def keep(self, *webhooks: Webhook) -> None:
        for one in webhooks:
            await self._store.accept(Inbound.of(one))
            self._mark.change()


@asynccontextmanager
async def old_process(spool: Path) -> AsyncIterator[OldProcess]:
    process = OldProcess(spool)
    await process.open()
    try:
        yield process
    finally:
        await process.close()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_it_is_emptied_in_order_before_what_is_newer(machine: Machine) -> None:
    async with old_process(machine.spool) as old:
        await old.keep(DEFERRED, webhook("SMnotice", "other", notice_after=60), *OLD)
    async with clock_of(f"sqlite:///{machine.spool}") as clock:
        await clock.advance(3600)
    with machine.frozen():
        async with machine.ingress() as way:
            assert not way.spool.is_empty()
            await way.accept(*NEW)
            assert sids(await machine.stored()) == []
    async with machine.ingress():
        records = await machine.until_stored(702)
    assert {one.sid: one.kind for one in records[:2]} == {
        "SM9": Kind.DEFERRED,
        "SMnotice": "message",
    }
    assert sids(records[2:]) == [Inbound.of(one).sid for one in (*OLD, *NEW)]
    ages = [round((records[-1].received - one.received) / 3600) for one in records]
    assert ages == [1] * 602 + [0] * 100
    store = machine.open_store()
    await store.open()
    assert [one.id for one in await store.overdue(9)] == [records[1].id]
    await store.close()
    assert not machine.spool.exists()
    emptied = machine.spool.with_name("spool.db-emptied")
    assert b"SM000" not in bytes_of(emptied)
    told = "empty again: 702 webhooks were forwarded to the store"
    assert [one.text for one in machine.problems] == [told]


async def test_what_an_old_process_writes_beside_a_new_one_is_stored_too(machine: Machine) -> None:
    async with old_process(machine.spool) as old:
        await old.keep(webhook("SM1"))
        async with machine.ingress() as way:
            await machine.until_stored(1)
            await eventually(way.spool.is_empty)
            await old.keep(webhook("SM2"))
            assert not way.spool.is_empty(), "else what comes next would overtake it"
            await way.accept(webhook("SM3"))
            await eventually(way.spool.is_empty)
            await way.accept(webhook("SM4"))
        assert machine.spool.exists(), "it is in use"
        await old.keep(webhook("SM5"))
    async with machine.ingress():
        await machine.until_stored(5)
    assert sids(await machine.stored()) == ["SM1", "SM2", "SM3", "SM4", "SM5"]
    assert not machine.spool.exists()


async def test_it_is_emptied_into_a_store_that_needs_no_spool(machine: Machine) -> None:
    async with old_process(machine.spool) as old:
        await old.keep(*OLD)
    store = SqliteStore(machine.database)
    ingress = LoggedStore(store, machine.observe, old_spool=machine.spool)
    await ingress.open()
    await ingress.accept(NEW[0])
    assert not machine.spool.exists()
    async with old_process(machine.spool) as old:  # of a rolling upgrade
        await old.keep(NEW[1])
        assert machine.spool.exists()
    await eventually(lambda: not machine.spool.exists())
    await ingress.close()
    async with opened_sorted(machine.database):
        pass
    assert sids(await machine.stored()) == [Inbound.of(one).sid for one in (*OLD, *NEW[:2])]


async def test_a_store_that_needs_no_spool_has_none_and_that_is_told(tmp_path: Path) -> None:
    told: list[Event] = []
    chosen = settings(
        store=f"sqlite:///{tmp_path}/offhook.db", spool=f"sqlite:///{tmp_path}/spool.db"
    )
    ingress = Ingress(chosen, told.append)
    await ingress.start()
    await ingress.stop()
    assert any("OFFHOOK_SPOOL" in one.text for one in told if isinstance(one, Problem))
    assert not list(tmp_path.glob("spool.db*"))


async def test_one_that_is_damaged_is_told_and_holds_nothing_up(machine: Machine) -> None:
    async with old_process(machine.spool) as old:
        await old.keep(*OLD)
    with closing(sqlite3.connect(machine.spool)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'messages'"
        (page,) = connection.execute(query).fetchone()
    with machine.spool.open("r+b") as damaged:
        damaged.seek((page - 1) * 4096)
        damaged.write(b"junk" * 1024)
    async with machine.ingress() as way:
        async with way.cut_off():
            await way.accept(webhook("SM1"))
        await eventually(way.spool.is_empty)
    assert sids(await machine.stored()) == ["SM1"]
    assert machine.spool.exists()
    (told,) = machine.told(Topic.ARRIVALS)
    assert "may hold acknowledged webhooks" in told
