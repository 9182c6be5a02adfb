"""Every webhook is accepted while the store is away, and is in the store once when it is back.

In a lane they are in the order in which they were acknowledged, if one machine had them.
"""

import asyncio
import resource
import sqlite3
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from offhook.arrivals import Spooling
from offhook.arrivals.spool import SqliteSpool, open_spool
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.errors import BacklogFull, SchemaTooNew, StoreUnavailable
from offhook.events import Topic
from offhook.ingress.admission import BacklogLimit
from testing.spools import Machine, Way, bytes_of, eventually, locked, sids
from testing.stores import inbound
from tests.conformance.clocks import clock_of

EVERYTHING = [inbound(f"SM{n:03}", f"lane{n % 7}") for n in range(100)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_while_the_store_is_there_nothing_goes_through_the_spool(machine: Machine) -> None:
    async with machine.frozen(), machine.ingress() as way:
        assert all(await way.accept(*EVERYTHING))
        assert await machine.waiting() == 0
    records = await machine.stored()
    assert sids(records) == sids_of(EVERYTHING)
    assert not any(record.spooled for record in records)
    assert machine.problems == []


async def test_what_came_during_an_outage_is_stored_once_in_order_and_marked(
    machine: Machine,
) -> None:
    async with machine.ingress() as way:
        assert await way.accept(*EVERYTHING[:30]) == [True] * 30
        with machine.locked():
            assert await way.accept(*EVERYTHING[30:60]) == [True] * 30
        assert await way.accept(*EVERYTHING[60:]) == [True] * 40
        records = await machine.until_stored(100)
    assert sorted(sids(records)) == sids_of(EVERYTHING), "once each"
    for lane in {record.lane for record in records}:
        assert sids(records, lane) == sorted(sids(records, lane))
    spooled = {record.sid for record in records if record.spooled}
    assert spooled >= set(sids_of(EVERYTHING[30:60]))
    assert not spooled & set(sids_of(EVERYTHING[:30]))


async def test_only_the_first_webhooks_wait_for_a_store_that_does_not_answer(
    machine: Machine,
) -> None:
    asked: list[Inbound] = []

    async with machine.ingress() as way:
        accept = way.store.accept

        async def noted(one: Inbound) -> bool:
            asked.append(one)
            return await accept(one)

        way.spooling._store = noted
        with machine.locked():
            await asyncio.gather(*(way.accept(one) for one in EVERYTHING[:50]))
            first = len(asked)
            await way.accept(*EVERYTHING[50:])
        assert 0 < first == len(asked), "the store is not asked any more"


async def test_an_outage_is_told_once_with_its_reason_and_so_is_its_end(machine: Machine) -> None:
    async with machine.ingress() as way:
        with machine.locked():
            await way.accept(*EVERYTHING)
        await eventually(lambda: len(machine.problems) == 3)
    away, *after = machine.problems
    assert (away.topic, away.resolved) == (Topic.STORE_UNAVAILABLE, False)
    assert "kept in the spool" in away.text
    assert "database is locked" in away.text
    assert {(one.topic, one.resolved) for one in after} == {
        (Topic.STORE_UNAVAILABLE, True),
        (Topic.SPOOL, True),
    }
    assert machine.told(Topic.SPOOL) == ["empty again: 100 webhooks were forwarded to the store"]


@pytest.mark.parametrize("step", ["oldest", "tidy"])
async def test_a_complaint_about_an_empty_spool_is_withdrawn(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    works, failures = getattr(SqliteSpool, step), [StoreUnavailable("the disk does not answer")]

    async def fails_once(*args: Any, **options: Any) -> object:
        if failures:
            raise failures.pop()
        return await works(*args, **options)

    monkeypatch.setattr(SqliteSpool, step, fails_once)
    async with machine.ingress():
        await eventually(lambda: "empty again" in machine.told(Topic.SPOOL))
    complaint = "the spool can't be emptied: the disk does not answer"
    assert machine.told(Topic.SPOOL) == [complaint, "empty again"]


async def test_while_the_spool_holds_a_lane_the_lane_goes_there_and_others_do_not(
    machine: Machine,
) -> None:
    async with machine.frozen(), machine.ingress() as way:
        async with way.cut_off():
            await way.accept(inbound("SM1", "held"))
        await way.until_back()
        await way.accept(inbound("SM2", "held"), inbound("SM3", "free"))
        assert sids(await machine.stored()) == ["SM3"]
        assert await machine.waiting() == 3


async def test_what_one_process_spooled_the_others_of_its_machine_do_not_overtake(
    machine: Machine,
) -> None:
    async with AsyncExitStack() as freezing:
        await freezing.enter_async_context(machine.frozen())
        async with machine.ingress() as one, machine.ingress() as other:
            await one.accept(inbound("SM0"))
            await other.accept(inbound("SM1"))  # both know by now that the spool is empty
            async with one.cut_off():
                await one.accept(inbound("SM2"))
            await other.accept(inbound("SM3"))  # it has not noticed that there was an outage
            await one.until_back()
            await one.accept(inbound("SM4"))
            assert sids(await machine.stored()) == ["SM0", "SM1"]
            await freezing.aclose()
            stored = await machine.until_stored(6)
        assert sids(stored) == ["SM0", "SM1", "SM2", "SM3", "SM4"]


async def test_a_lane_goes_straight_to_the_store_again_when_the_spool_is_empty(
    machine: Machine,
) -> None:
    async with machine.ingress() as way:
        async with way.cut_off():
            await way.accept(inbound("SM1"))
        await eventually(lambda: len(machine.told(Topic.SPOOL)) == 1)
        await way.until_back()
        await way.accept(inbound("SM2"))
    stored = {record.sid: record.spooled for record in await machine.stored()}
    assert (stored["SM1"], stored["SM2"]) == (True, False)


async def test_a_repeat_is_a_repeat_before_during_and_after_the_outage(machine: Machine) -> None:
    before, during = inbound("SM1"), inbound("SM2")
    async with machine.ingress() as way:
        assert await way.accept(before, before) == [True, False]
        async with way.cut_off():
            # The spool can't know what the store knows; the store will.
            assert await way.accept(before, during, during) == [True, True, False]
        await eventually(lambda: len(machine.told(Topic.SPOOL)) == 1)
        await way.until_back()
        assert await way.accept(before, during) == [False, False]
    assert sids(await machine.stored()) == ["SM1", "SM2"]
    (told,) = machine.told(Topic.SPOOL)
    assert "3 webhooks were forwarded" in told
    assert "of which it had" in told


async def test_a_webhook_keeps_all_it_came_with_and_its_age(machine: Machine) -> None:
    async with machine.frozen(), machine.ingress() as way:
        with machine.locked():
            await way.accept(inbound("SM1", notice_after=0.001))
            await way.accept(inbound("SM2", "status", kind=Kind.STATUS))
        accepted = time.time()
    async with clock_of(machine.spool_url) as clock:
        await clock.advance(3600)
    async with machine.ingress():
        await machine.until_stored(2)
    first, second = await machine.stored()
    assert (first.kind, second.kind) == (Kind.MESSAGE, Kind.STATUS)
    expected = inbound("SM1")
    assert (first.account_sid, first.lane, first.sender, first.recipient, first.form) == (
        expected.account_sid,
        expected.lane,
        expected.sender,
        expected.recipient,
        expected.form,
    )
    assert abs(first.received - (accepted - 3600)) < 60, "the time it waited in the spool counts"
    store = machine.open_store()
    await store.open()
    assert [one.id for one in await store.overdue(10)] == [first.id]
    await store.close()


async def test_it_starts_while_the_store_is_away_and_is_ready(machine: Machine) -> None:
    with machine.away():
        way = machine.ingress()
        async with way as entered:
            assert await entered.spooling.ready()
            await entered.accept(*EVERYTHING)
            with pytest.raises(StoreUnavailable):
                await entered.store.backlog(1)
    assert "cannot open" in machine.told(Topic.STORE_UNAVAILABLE)[0]
    assert machine.told(Topic.SPOOL) == [
        "100 webhooks are left in it; the next ingress on this disk forwards them"
    ]
    async with machine.ingress():
        assert sorted(sids(await machine.until_stored(100))) == sids_of(EVERYTHING)


async def test_a_store_that_was_away_at_the_start_is_found_later(machine: Machine) -> None:
    with machine.away():
        entered = machine.ingress()
        way = await entered.__aenter__()
        await way.accept(inbound("SM1"))
    await way.until_back()
    await way.accept(inbound("SM2"))
    assert sids(await machine.until_stored(2)) == ["SM1", "SM2"]
    await entered.__aexit__(None, None, None)


def test_a_store_with_a_schema_it_does_not_know_is_said_at_the_start(machine: Machine) -> None:
    async def start() -> None:
        async with machine.ingress():
            pass

    asyncio.run(start())
    connection = sqlite3.connect(machine.database, isolation_level=None)
    connection.execute("PRAGMA user_version = 4711")
    connection.close()
    with pytest.raises(SchemaTooNew):
        asyncio.run(start())


async def test_neither_store_nor_spool_means_it_is_not_accepted(machine: Machine) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async with machine.frozen(), machine.ingress() as way, way.cut_off():
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))  # a full disk
        try:
            accepted = await until_refused(way)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await way.accept(inbound("SM2"))
    async with machine.ingress():
        records = await machine.until_stored(len(accepted) + 2)
    assert sids(records) == [*accepted, "SM2"]


async def test_it_is_ready_if_either_of_both_can_be_written(machine: Machine) -> None:
    async with machine.ingress() as way:
        assert await way.spooling.ready()
        with locked(machine.path / "spool.db"):
            assert await way.spooling.ready()
        async with way.cut_off():
            assert await way.spooling.ready()
            with locked(machine.path / "spool.db"), pytest.raises(StoreUnavailable):
                await way.spooling.ready()


async def test_a_full_backlog_is_no_reason_to_spool_but_an_outage_of_a_full_store_is(
    machine: Machine,
) -> None:
    async with machine.ingress() as way:
        await way.accept(inbound("SM1"))
        limit = BacklogLimit(way.store, 1, machine.observe)
        await limit.start()
        limited = Spooling(way.store, limit.admit, way.spool, machine.observe)
        with pytest.raises(BacklogFull):
            await limited.append(inbound("SM2"))
        async with way.cut_off():
            # Nobody knows any more how many wait there: better too many than none.
            assert await limited.append(inbound("SM3"))
        await limit.stop()
        # What is acknowledged gets in, however many wait.
        assert sids(await machine.until_stored(3)) == ["SM1", "SM3"]


async def test_what_was_forwarded_leaves_nothing_behind_in_the_spool(machine: Machine) -> None:
    secret = "a-word-that-nobody-else-writes"

    async with machine.ingress() as way:
        with machine.locked():
            await way.accept(*(written(f"SM{n}", secret) for n in range(200)))
        await eventually(lambda: len(machine.told(Topic.SPOOL)) == 1)
    assert len(await machine.stored()) == 200
    files = [file for file in machine.path.glob("spool.db*") if file.is_file()]
    left = [file.name for file in files if secret.encode() in bytes_of(file)]
    assert left == []


async def test_of_many_processes_one_forwards_and_another_takes_over(machine: Machine) -> None:
    spools = [open_spool(machine.spool_url) for _ in range(3)]
    for spool in spools:
        await spool.open()
    assert [spool.lead() for spool in spools] == [True, False, False]
    assert [spool.lead() for spool in spools] == [True, False, False]
    await spools[0].close()
    assert [spool.lead() for spool in spools[1:]] == [True, False]
    for spool in spools[1:]:
        await spool.close()


async def until_refused(way: Way) -> list[str]:
    accepted: list[str] = []
    for n in range(10_000):
        try:
            await way.accept(inbound(f"SM1{n}"))
        except StoreUnavailable:
            return accepted
        accepted.append(f"SM1{n}")
    pytest.fail("the disk did not get full")


def written(sid: str, text: str) -> Inbound:
    one = inbound(sid)
    return Inbound(
        one.kind, one.key, one.lane, one.account_sid, sid, one.sender, one.recipient,
        f"MessageSid={sid}&Body={text}".encode(),
    )  # fmt: skip


def sids_of(inbounds: list[Inbound]) -> list[str]:
    return [one.sid for one in inbounds]
