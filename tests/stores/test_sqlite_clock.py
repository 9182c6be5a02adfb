"""The time of a store in a file: it moves on evenly, and people see the clock as it is set now."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from offhook.core.lifecycle import Trigger
from offhook.stores.api import Filter, Retention, Settlement
from offhook.stores.sqlite import clock as clocks
from testing.stores import DONE, claim, claim_one, draft, inbound, opened

HOUR, DECADE = 3600, 10 * 365 * 86_400
STEPS = pytest.mark.parametrize("seconds", [-HOUR, DECADE], ids=["back", "ahead"])
A_WHILE = Retention(settled=60.0, dead=60.0, parked=60.0, keys=60.0)

Set = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Return what sets this process' wall clock so many seconds off."""
    now, now_ns, off = time.time, time.time_ns, [0.0]
    monkeypatch.setattr(time, "time", lambda: now() + off[0])
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(off[0] * 1e9))

    def set_clock(seconds: float) -> None:
        off[0] = seconds

    return set_clock


@STEPS
async def test_what_is_due_is_due_and_what_is_leased_is_leased(
    tmp_path: Path, set_clock: Set, seconds: int
) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        for lane in ("leased", "retried", "open"):
            await store.accept(inbound(f"SM{lane}", lane))
        leased, retried, _ = await claim(store, 3)
        await store.write(leased, [draft()])
        await store.settle(retried, Settlement(Trigger.RETRY, delay=60))
        await store.release("nobody")
        await store.accept(inbound("SMnew", "new"))
        set_clock(seconds)
        claimed = await store.claim(9, lease=30.0, owner="w2", alone=False)
        assert [one.sid for one in claimed.claims] == ["SMnew"]
        assert claimed.next_due == pytest.approx(30, abs=20)  # the leases
        assert claimed.step == pytest.approx(seconds, abs=60)
        assert (await store.claim(9, lease=30.0, owner="w2", alone=False)).step == 0
        assert await store.next_send_due() == 0
        assert len((await store.claim_sends(9, lease=30.0, owner="w2")).claims) == 1
        assert await store.renew([leased.token], lease=30.0) == frozenset()


async def test_ten_years_ahead_nothing_is_old(tmp_path: Path, set_clock: Set) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        await store.accept(inbound("SM1", "done"))
        await store.settle(await claim_one(store), DONE)
        await store.accept(inbound("SM2", "open", notice_after=60))
        set_clock(DECADE)
        assert await store.prune(A_WHILE, 100) == 0
        assert await store.overdue(9) == []
        counts = await store.counts()
        assert (counts.received, counts.settled) == (2, 1)
        assert counts.oldest == pytest.approx(0, abs=60)


@STEPS
async def test_people_see_the_clock_as_it_is_set_now(
    tmp_path: Path, set_clock: Set, seconds: int
) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        await store.accept(inbound("SM1"))
        set_clock(seconds)
        await store.accept(inbound("SM2"))
        for sid in ("SM1", "SM2"):
            (record,) = await store.find(Filter(sid=sid, since=time.time() - 60))
            assert record.received == pytest.approx(time.time(), abs=60)
        assert await store.find(Filter(until=time.time() - 60)) == []
        claimed = await claim_one(store)
        assert claimed.received == pytest.approx(time.time(), abs=60)
        await store.settle(claimed, Settlement(Trigger.RETRY, delay=60))
        history = await store.show(claimed.id)
        assert history is not None
        assert history.record.due == pytest.approx(time.time() + 60, abs=40)
        (attempt,) = history.attempts
        assert attempt.started == pytest.approx(time.time(), abs=60)
        assert attempt.ended == pytest.approx(time.time(), abs=60)


@STEPS
async def test_who_opens_the_store_later_goes_by_the_same_time(
    tmp_path: Path, set_clock: Set, seconds: int
) -> None:
    async with opened(tmp_path / "offhook.db") as store:
        await store.accept(inbound("SM1", "leased"))
        await claim_one(store)
        await store.accept(inbound("SM2", "open"))
        set_clock(seconds)
        async with opened(tmp_path / "offhook.db") as later:
            assert [one.sid for one in await claim(later)] == ["SM2"]


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
async def test_a_machine_that_starts_with_another_clock_takes_no_time_back(
    tmp_path: Path, set_clock: Set, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """What was due stays due. Ahead, the time that has gone by while it was off counts."""
    async with opened(tmp_path / "offhook.db") as store:
        await store.accept(inbound("SM2", "retried"))
        await store.settle(await claim_one(store), Settlement(Trigger.RETRY, delay=HOUR / 2))
        await store.accept(inbound("SM1", "open"))
    monkeypatch.setattr(clocks, "boot", lambda: "another")
    set_clock(seconds)
    async with opened(tmp_path / "offhook.db") as store:
        due = {"SM1"} if seconds < 0 else {"SM1", "SM2"}
        assert {one.sid for one in await claim(store)} == due
        (record,) = await store.find(Filter(sid="SM1"))
        assert record.received <= time.time()


def test_two_that_open_a_fresh_store_at_once_agree_on_its_time(tmp_path: Path) -> None:
    """The writers' lock is given up after 50 ms: both may be about to write the time down."""
    begun, held = Event(), 0.2

    def made() -> sqlite3.Connection:
        return sqlite3.connect(
            tmp_path / "offhook.db", isolation_level=None, check_same_thread=False
        )

    def ahead(connection: sqlite3.Connection) -> int:
        clock = clocks.StoreClock()
        clock.anchor(connection)
        return clock._distance

    def traced(statement: str) -> None:
        if statement.startswith("INSERT"):
            begun.set()
            time.sleep(held)  # the other one is quicker, if it may be

    with ThreadPoolExecutor(1) as thread, closing(made()) as first, closing(made()) as other:
        first.execute("CREATE TABLE sequences (name TEXT PRIMARY KEY, value)")
        first.execute("CREATE TABLE dedupe_keys (received INTEGER)")
        first.set_trace_callback(traced)
        one = thread.submit(ahead, first)
        assert begun.wait(60)
        assert ahead(other) == one.result()
        assert other.execute("SELECT count(*) FROM sequences").fetchone() == (1,)
