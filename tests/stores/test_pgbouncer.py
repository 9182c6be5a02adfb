"""The store behind a transaction pooler: no statement may need the session of the one before."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from offhook.core.lifecycle import SendTrigger, State, Trigger
from offhook.stores import open_store
from offhook.stores.api import (
    Claim,
    Filter,
    Retention,
    SendOutcome,
    Settlement,
    Store,
)
from testing.postgres import PostgresServer
from testing.stores import DONE, claim, draft, inbound
from tests.stores.pgbouncer import SESSIONS, pgbouncer

_NUMBERS = count(1)
LANES, EACH = 12, 10


@pytest.fixture
def direct(server: PostgresServer) -> str:
    return server.create_database(f"pooled_{next(_NUMBERS)}")


@pytest.fixture
def pooled(direct: str) -> Iterator[str]:
    with pgbouncer(direct) as url:
        yield url


@asynccontextmanager
async def opened(url: str, direct: str = "") -> AsyncIterator[Store]:
    store = open_store(url, direct=direct)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(60):
        await event.wait()
    event.clear()


async def test_many_workers_settle_everything_once_and_in_order(
    server: PostgresServer, direct: str, pooled: str
) -> None:
    """Invariant: as without a pooler, though four processes share three sessions."""
    of_it = f"WHERE backend_type = 'client backend' AND datname = '{direct.rpartition('/')[2]}'"

    # The next of a lane can be claimed before its predecessor is told that it has settled.
    claimed: list[str] = []
    settled: list[str] = []

    async def end(store: Store, one: Claim) -> None:
        await store.write(one, [draft()])
        await store.settle(one, Settlement(Trigger.COMPLETE, drafts=(draft("return:0"),)))
        settled.append(one.sid)

    async def work(owner: str) -> None:
        async with opened(pooled) as mine:
            while len(settled) < LANES * EACH:
                claims = await claim(mine, 7, owner=owner)
                claimed.extend(one.sid for one in claims)
                await mine.renew([one.token for one in claims], lease=30.0)
                await asyncio.gather(*(end(mine, one) for one in claims))
                for send in (await mine.claim_sends(7, lease=30.0, owner=owner)).claims:
                    sent = SendOutcome(SendTrigger.ACCEPT, sid=f"SMout{send.id}")
                    await mine.settle_send(send, sent)

    async def feed(store: Store) -> None:
        for n in range(EACH):
            webhooks = (inbound(f"{lane}-{n}", f"{lane}") for lane in range(LANES))
            assert all(await asyncio.gather(*map(store.accept, webhooks)))

    async with asyncio.timeout(240), opened(pooled) as store:
        await asyncio.gather(feed(store), *(work(f"w{n}") for n in range(3)))
        shared = server.execute(f"SELECT count(*) FROM pg_stat_activity {of_it}")
        assert int(shared) == SESSIONS
        records = await store.find(Filter(limit=1000))
    assert [record.state for record in records] == [State.DONE] * LANES * EACH
    for lane in range(LANES):
        in_lane = [sid for sid in claimed if sid.startswith(f"{lane}-")]
        assert in_lane == [f"{lane}-{n}" for n in range(EACH)]


async def test_operators_transactions_are_whole(pooled: str) -> None:
    async with opened(pooled) as store:
        for n in range(6):
            await store.accept(inbound(f"SM{n}", f"{n}"))
        for one in await claim(store):
            await store.settle(one, DONE)
        records = await store.find(Filter())
        assert await store.replay(records[0].id)
        assert await store.drop(records[0].id)
        assert await store.reduce(2) == 2
        assert (await store.erase(records[1].sender, 10)).erased == 1
        assert await store.prune(Retention(-1.0, -1.0, 3600.0, 3600.0), 100) == 5
        await store.tidy()
        assert sum((await store.counts()).messages.values()) == 0


async def test_without_a_way_past_the_pooler_workers_look_again_and_again(pooled: str) -> None:
    async with opened(pooled) as store:
        event = store.listen()
        for _ in range(3):  # though nobody has stored anything
            await soon(event)


async def test_past_the_pooler_workers_are_told(pooled: str, direct: str) -> None:
    async with opened(pooled, direct) as store, opened(pooled, direct) as other:
        event = other.listen()
        await soon(event)  # it listens
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):  # no poll comes for a second
                await event.wait()
        await store.accept(inbound("SM1"))
        await soon(event)
