"""Every webhook is accepted while the store is away, and is in the store once when it is back.

In a lane they are in the order in which they were acknowledged, if one machine had them.
"""

import asyncio
import resource
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from offhook.arrivals.file import LogFile, Slot, logs_of, path_of
from offhook.arrivals.logs import Logs
from offhook.arrivals.record import Arrival, pack, unpack
from offhook.arrivals.spool import Spool
from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.errors import BacklogFull, SchemaTooNew, StoreUnavailable
from offhook.events import Topic
from offhook.ingress.admission import BacklogLimit
from testing.spools import Machine, Way, bytes_of, eventually, locked, sids
from testing.stores import webhook

LANES = [f"lane{n}" for n in range(7)]
EVERYTHING = [webhook(f"SM{n:03}", LANES[n % 7]) for n in range(100)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_while_the_store_is_there_nothing_goes_through_the_spool(machine: Machine) -> None:
    with machine.frozen():
        async with machine.ingress() as way:
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
    for lane in LANES:
        assert sids(records, lane) == sorted(sids(records, lane)) != []
    spooled = {record.sid for record in records if record.spooled}
    assert spooled >= set(sids_of(EVERYTHING[30:60]))
    assert not spooled & set(sids_of(EVERYTHING[:30]))


async def test_only_the_first_webhooks_wait_for_a_store_that_does_not_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Inbound] = []

    async with machine.ingress() as way:
        accept = way.store.accept

        async def noted(one: Inbound) -> bool:
            asked.append(one)
            return await accept(one)

        monkeypatch.setattr(way.store, "accept", noted)
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


@pytest.mark.parametrize("step", ["read", "trim"])
async def test_a_complaint_about_an_empty_spool_is_withdrawn(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    works: Callable[..., object] = getattr(Logs, step)
    failures = [StoreUnavailable("the disk does not answer")]

    def fails_once(*args: object) -> object:
        if failures:
            raise failures.pop()
        return works(*args)

    async with machine.ingress() as way:
        with machine.frozen():
            async with way.cut_off():
                pass
            await way.until_back()
            monkeypatch.setattr(Logs, step, fails_once)
        await eventually(lambda: bool(machine.told(Topic.SPOOL)[1:]))
    complaint, end = machine.told(Topic.SPOOL)
    assert complaint.endswith(": the disk does not answer")
    assert "empty again: 1 webhooks were forwarded" in end, "once"


async def test_while_the_spool_holds_anything_all_goes_there(machine: Machine) -> None:
    with machine.frozen():
        async with machine.ingress() as way:
            async with way.cut_off():
                await way.accept(webhook("SM1", "held"))
            await way.until_back()
            await way.accept(webhook("SM2", "held"), webhook("SM3", "free"))
            assert sids(await machine.stored()) == []
            assert await machine.waiting() == 4


async def test_what_one_process_spooled_the_others_of_its_machine_do_not_overtake(
    machine: Machine,
) -> None:
    async with machine.ingress() as one, machine.ingress() as other:
        with machine.frozen():
            await one.accept(webhook("SM0"))
            await other.accept(webhook("SM1"))  # both know by now that the spool is empty
            async with one.cut_off():
                await one.accept(webhook("SM2"))
            await other.accept(webhook("SM3"))  # it has not noticed that there was an outage
            await one.until_back()
            await one.accept(webhook("SM4"))
            assert sids(await machine.stored()) == ["SM0", "SM1"]
        stored = await machine.until_stored(6)
    assert sids(stored) == ["SM0", "SM1", "SM2", "SM3", "SM4"]


async def test_webhooks_go_straight_to_the_store_again_when_the_spool_is_empty(
    machine: Machine,
) -> None:
    async with machine.ingress() as way:
        async with way.cut_off():
            await way.accept(webhook("SM1"))
        await eventually(lambda: len(machine.told(Topic.SPOOL)) == 1)
        await way.until_back()
        await way.accept(webhook("SM2"))
    stored = {record.sid: record.spooled for record in await machine.stored()}
    assert (stored["SM1"], stored["SM2"]) == (True, False)


async def test_under_a_load_without_pauses_the_spool_becomes_empty_all_the_same(
    machine: Machine,
) -> None:
    """Whenever it is looked into, another webhook has just come."""
    stop = asyncio.Event()

    async def keep_coming(way: Way, lane: str) -> int:
        number = 0
        while not stop.is_set():
            await way.accept(webhook(f"SM{number:06}", lane, kind=Kind.STATUS, MessageStatus=lane))
            number += 1
        return number

    async with machine.ingress() as one, machine.ingress() as other:
        async with one.cut_off():
            await one.accept(*EVERYTHING)
        coming = asyncio.gather(*(keep_coming(one, "a"), keep_coming(one, "b"),
                                  keep_coming(other, "c")))  # fmt: skip
        await eventually(lambda: any("empty again" in text for text in machine.told(Topic.SPOOL)))
        await eventually(lambda: one.spool.is_empty() and other.spool.is_empty())
        stop.set()
        counts = await coming
    records = await machine.stored()
    for lane, count in zip("abc", counts, strict=True):
        assert sids(records, lane) == [f"SM{number:06}" for number in range(count)]


async def test_a_repeat_is_stored_once_before_during_and_after_the_outage(
    machine: Machine,
) -> None:
    before, during = webhook("SM1"), webhook("SM2")
    async with machine.ingress() as way:
        assert await way.accept(before, before) == [True, False]
        async with way.cut_off():
            # It is appended as it came; the store will know.
            assert await way.accept(before, during, during) == [True, True, True]
        await eventually(lambda: len(machine.told(Topic.SPOOL)) == 1)
        await way.until_back()
        assert await way.accept(before, during) == [False, False]
    assert sids(await machine.stored()) == ["SM1", "SM2"]
    (told,) = machine.told(Topic.SPOOL)
    assert "4 webhooks were forwarded" in told
    assert "of which it had" in told


async def test_a_webhook_keeps_all_it_came_with_and_its_age(machine: Machine) -> None:
    status = webhook("SM2", kind=Kind.STATUS, MessageStatus="sent")
    with machine.frozen():
        async with machine.ingress() as way:
            with machine.locked():
                await way.accept(webhook("SM1", notice_after=0.001), status)
            accepted = time.time()
    clock = machine.path / "spool.db-clock"
    boot, distance = clock.read_text().split()
    clock.write_text(f"{boot} {int(distance) + 3600 * 10**9}")
    async with machine.ingress():
        await machine.until_stored(2)
    first, second = await machine.stored()
    assert (first.kind, second.kind) == (Kind.MESSAGE, Kind.STATUS)
    expected = Inbound.of(webhook("SM1"))
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
            await entered.entrance.check()
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
        await way.accept(webhook("SM1"))
    await way.until_back()
    await way.accept(webhook("SM2"))
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

    with machine.frozen():
        async with machine.ingress() as way, way.cut_off():
            resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))  # a full disk
            try:
                accepted = await until_refused(way)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            await way.accept(webhook("SM2"))
    async with machine.ingress():
        records = await machine.until_stored(len(accepted) + 2)
    assert sids(records) == [*accepted, "SM2"]


async def test_it_is_ready_if_either_of_both_can_be_written(machine: Machine) -> None:
    log = path_of(machine.spool, 1)
    async with machine.ingress() as way:
        await way.entrance.check()
        with locked(log):
            await way.entrance.check()
        async with way.cut_off():
            await way.entrance.check()
            with locked(log), pytest.raises(StoreUnavailable):
                await way.entrance.check()


async def test_a_full_backlog_is_no_reason_to_spool_but_an_outage_of_a_full_store_is(
    machine: Machine,
) -> None:
    async with machine.ingress() as way:
        await way.accept(webhook("SM1"))
        limit = BacklogLimit(way.entrance, 1, machine.observe)
        await limit.start()
        with pytest.raises(BacklogFull):
            await limit.admit(webhook("SM2"))
        async with way.cut_off():
            # Nobody knows any more how many wait there: better too many than none.
            assert await limit.admit(webhook("SM3"))
        await limit.stop()
        # What is acknowledged gets in, however many wait.
        assert sids(await machine.until_stored(3)) == ["SM1", "SM3"]


async def test_what_waits_in_the_spool_counts_for_the_backlog(machine: Machine) -> None:
    with machine.frozen():
        async with machine.ingress() as way:
            async with way.cut_off():
                await way.accept(webhook("SM1"))
            await way.until_back()
            stored = len(await machine.stored())
            assert [await way.entrance.backlog(most) for most in (1, 100)] == [1, stored + 2]


async def test_what_was_forwarded_leaves_nothing_behind_in_the_spool(machine: Machine) -> None:
    secret = "a-word-that-nobody-else-writes"

    async with machine.ingress() as way:
        with machine.locked():
            await way.accept(*(webhook(f"SM{n}", Body=secret) for n in range(200)))
        await eventually(lambda: len(machine.told(Topic.SPOOL)) == 1)
    assert len(await machine.stored()) == 200
    files = [file for file in machine.path.glob("spool.db*") if file.is_file()]
    left = [file.name for file in files if secret.encode() in bytes_of(file)]
    assert left == []


async def test_of_many_processes_one_forwards_and_another_takes_over(machine: Machine) -> None:
    spools = [Spool(machine.spool, machine.observe) for _ in range(3)]
    for spool in spools:
        await spool.open()
    assert [spool.logs.lead() for spool in spools] == [True, False, False]
    assert [spool.logs.lead() for spool in spools] == [True, False, False]
    await spools[0].close()
    assert [spool.logs.lead() for spool in spools[1:]] == [True, False]
    for spool in spools[1:]:
        await spool.close()


async def test_what_was_kept_without_changing_the_mark_is_found_at_the_next_start(
    machine: Machine,
) -> None:
    """Its process died between the two."""
    async with machine.ingress() as leader:
        await leader.accept(webhook("SM1"))
        dead = Slot.try_take(path_of(machine.spool, 2), machine.spool)
        assert dead is not None
        append(dead.open(), webhook("SM2"), 1)
        dead.release()
        assert leader.spool.is_empty(), "as far as it can know"
        async with machine.ingress():
            assert sids(await machine.until_stored(2)) == ["SM1", "SM2"]


async def test_what_was_cancelled_while_it_was_committed_is_forwarded_too(
    machine: Machine,
) -> None:
    """It was answered 503, and is in the log all the same."""
    async with machine.ingress() as way:
        appending = asyncio.create_task(way.spool.append(webhook("SM1")))
        for _ in range(3):  # the log begins to commit in a later turn of the loop
            await asyncio.sleep(0)
        with closing(LogFile.open(path_of(machine.spool, 1))) as log:
            while not log.waiting(0).number:
                pass  # no other turn comes meanwhile, in which it would be answered
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert sids(await machine.until_stored(1)) == ["SM1"]


async def test_what_the_store_refuses_is_set_aside_and_stops_nothing(machine: Machine) -> None:
    store = machine.open_store()
    await store.open()
    await store.close()
    with sqlite3.connect(machine.database) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN new.sid = 'SM040' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    other.close()
    unreadable = Webhook(Kind.MESSAGE, b"From=%2B15551230001&Body=names+no+message")
    async with machine.ingress() as way:
        with machine.locked():
            await way.accept(*EVERYTHING[:50], unreadable, *EVERYTHING[50:])
        await eventually(lambda: bool(machine.told(Topic.SPOOL)))
    kept = sids_of(EVERYTHING)
    kept.remove("SM040")
    assert sids(await machine.stored()) == kept
    assert sorted(set_aside(machine.spool)) == sorted([unreadable, EVERYTHING[40]])
    told = {text.partition(" was set aside in ")[0] for text in machine.told(Topic.ARRIVALS)}
    assert told == {"a webhook", "'SM040'"}


def append(file: LogFile, one: Webhook, received: int) -> None:
    file.append(pack([Arrival(one, received)]), received, 1)
    file.close()


def set_aside(home: Path) -> list[Webhook]:
    found = []
    for path in logs_of(home):
        file = LogFile.open(path)
        found += [one.webhook for _, batch in file.all_set_aside() for one in unpack(batch)]
        file.close()
    return found


async def until_refused(way: Way) -> list[str]:
    accepted: list[str] = []
    for n in range(10_000):
        try:
            await way.accept(webhook(f"SM1{n}"))
        except StoreUnavailable:
            return accepted
        accepted.append(f"SM1{n}")
    pytest.fail("the disk did not get full")


def sids_of(webhooks: Sequence[Webhook]) -> list[str]:
    return [Inbound.of(one).sid for one in webhooks]
