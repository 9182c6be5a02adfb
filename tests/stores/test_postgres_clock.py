"""The time of a store in a database, whose server's clock is set.

It is set by the distance that the store keeps of it: to everybody who asks for the time, that is
the same. Once it is really set.
"""

import asyncio
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from offhook.core.lifecycle import Trigger
from offhook.stores.api import Claimed, Filter, Retention, Settlement, Store
from testing.postgres import PostgresServer, postgres
from testing.stepped.clock import FakedClock
from testing.stores import DONE, claim, claim_one, draft, inbound, opened

HOUR, DECADE = 3600, 10 * 365 * 86_400
STEPS = pytest.mark.parametrize("seconds", [-HOUR, DECADE], ids=["back", "ahead"])
A_WHILE = Retention(settled=60.0, dead=60.0, parked=60.0, keys=60.0)

Set = Callable[[float], Awaitable[object]]


@asynccontextmanager
async def shared(server: PostgresServer) -> AsyncIterator[tuple[Store, Store, Set]]:
    """Open the stores of two processes; yield what sets the server's clock as well."""
    url = server.create_database(f"clock_{secrets.token_hex(4)}")
    async with opened(url) as store, opened(url) as other:
        connection = await asyncpg.connect(url)

        async def set_clock(seconds: float) -> None:
            await connection.execute(
                "UPDATE offhook.clock SET distance = distance + make_interval(secs => $1)",
                seconds,
            )

        try:
            yield store, other, set_clock
        finally:
            await connection.close()


async def claim_set_right(store: Store, *sids: str) -> Claimed:
    """Claim for the first time since the clock was set; return what that says.

    The store's time goes on from what the last claim knew of it: a moment behind, by the time that
    its answer took. So what was stored just now may have to be claimed once more.
    """
    first = claimed = await store.claim(9, lease=30.0, owner="w2", alone=False)
    found = {one.sid for one in claimed.claims}
    while found < set(sids):
        assert claimed.next_due is not None
        assert claimed.next_due < 10
        await asyncio.sleep(claimed.next_due)
        claimed = await store.claim(9, lease=30.0, owner="w2", alone=False)
        found |= {one.sid for one in claimed.claims}
    assert found == set(sids)
    return replace(claimed, step=first.step)


@STEPS
async def test_what_is_due_is_due_and_what_is_leased_is_leased(
    server: PostgresServer, seconds: int
) -> None:
    """Also what is stored between the step and the claim that notices it.

    But for a retry that was settled by a clock set back: it comes at once.
    """

    async with shared(server) as (store, other, set_clock):
        for lane in ("leased", "retried", "settled"):
            await store.accept(inbound(f"SM{lane}", lane))
        leased, retried, settled = await claim(store, 3)
        await store.write(leased, [draft()])
        await store.settle(retried, Settlement(Trigger.RETRY, delay=60))
        await other.claim(1, lease=30.0, owner="w2", alone=False)
        await store.accept(inbound("SMbefore", "before"))
        await set_clock(seconds)
        await store.accept(inbound("SMafter", "after"))
        await store.settle(settled, Settlement(Trigger.RETRY, delay=60))
        assert await store.renew([leased.token], lease=30.0) == frozenset()
        early = {"SMsettled"} if seconds < 0 else set()
        claimed = await claim_set_right(other, "SMbefore", "SMafter", *early)
        assert claimed.next_due == pytest.approx(30, abs=20)  # the leases
        assert claimed.step == pytest.approx(seconds, abs=60)
        claimed = await store.claim(9, lease=30.0, owner="w1", alone=False)
        assert claimed.claims == ()
        assert claimed.step == pytest.approx(seconds, abs=60)  # each process tells of it
        assert (await store.claim(9, lease=30.0, owner="w1", alone=False)).step == 0
        assert await store.next_send_due() == 0
        assert len((await store.claim_sends(9, lease=30.0, owner="w2")).claims) == 1
        for sid in {"SMretried", "SMsettled"} - early:
            (record,) = await store.find(Filter(sid=sid))
            assert record.due == pytest.approx(time.time() + 60, abs=40)


async def test_ten_years_ahead_nothing_is_old(server: PostgresServer) -> None:
    async with shared(server) as (store, _, set_clock):
        await store.accept(inbound("SM1", "done"))
        await store.settle(await claim_one(store), DONE)
        await store.accept(inbound("SM2", "open", notice_after=60))
        await set_clock(DECADE)
        assert await store.prune(A_WHILE, 100) == 0
        assert await store.overdue(9) == []
        counts = await store.counts()
        assert (counts.received, counts.settled) == (2, 1)
        assert counts.oldest == pytest.approx(0, abs=60)


async def test_a_fresh_process_takes_no_time_back(server: PostgresServer) -> None:
    """A failover to a server whose clock is behind, while no worker was there."""

    async with shared(server) as (store, other, set_clock):
        await store.accept(inbound("SM1"))
        await set_clock(-HOUR)
        assert [one.sid for one in await claim(other)] == ["SM1"]


async def test_who_stood_still_sets_nobodys_clock(server: PostgresServer) -> None:
    """To one that was stopped, an hour has gone by since its last claim, as to the server."""

    async with shared(server) as (store, other, _set_clock):
        await store.claim(1, lease=30.0, owner="w1", alone=False)
        await other.claim(1, lease=30.0, owner="w2", alone=False)
        store._clock._at += HOUR  # type: ignore[attr-defined]  # its machine slept for that long
        assert (await store.claim(1, lease=30.0, owner="w1", alone=False)).step == 0
        assert (await other.claim(1, lease=30.0, owner="w2", alone=False)).step == 0


async def test_the_clock_of_a_real_server_is_set_while_it_runs() -> None:
    folder = Path(tempfile.mkdtemp())  # not pytest's: the server's user enters it
    folder.chmod(0o755)
    clock = FakedClock(folder / "clock")
    with postgres(**clock.environment) as server:
        for seconds in (-HOUR, DECADE):
            async with shared(server) as (store, other, _set_clock):
                await store.accept(inbound("SM1", "leased"))
                leased = await claim_one(store)
                await other.claim(1, lease=30.0, owner="w2", alone=False)
                await store.accept(inbound("SM2", "before"))
                clock.set(seconds)
                await store.accept(inbound("SM3", "after"))
                claimed = await claim_set_right(other, "SM2", "SM3")
                assert claimed.step == pytest.approx(seconds, abs=60)
                assert await store.renew([leased.token], lease=30.0) == frozenset()
                (record,) = await store.find(Filter(sid="SM1"))
                assert record.received == pytest.approx(time.time() + seconds, abs=60)
                clock.set(0)
    shutil.rmtree(folder)
