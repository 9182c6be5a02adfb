"""PostgreSQL: what one session decides holds although another changes the same in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from offhook.core.lifecycle import SendState, SendTrigger, Trigger
from offhook.stores.api import Retention, SendClaim, SendOutcome, Settlement, Store
from offhook.stores.postgres import aliases, ledger
from offhook.stores.postgres.values import lane_key
from offhook.stores.rows import Settled
from testing.stores import DONE, claim_one, draft, inbound, opened
from tests.conformance.test_aliases import N, U, wrote
from tests.conformance.test_fallbacks import CLOSED, text
from tests.conformance.test_fallbacks import REFUSED as OUTSIDE
from tests.conformance.test_ledger import claim_sends, running
from tests.conformance.test_send_requests import leave, request

REFUSED = SendOutcome(SendTrigger.REFUSE, error_code="21610", error="The person has opted out.")
LATER = SendOutcome(SendTrigger.POSTPONE, error="429", delay=600.0)
AT_ONCE = Retention(settled=0.0, dead=0.0, parked=0.0, keys=86_400.0)

# What pruning and reducing read is a view that lets them go on when the lock is free: they have
# taken their snapshot by then, and have locked no row.
GATE = 4711
GATED = f"""
CREATE FUNCTION offhook.gate() RETURNS boolean LANGUAGE plpgsql VOLATILE COST 1 AS $$
BEGIN
    IF current_query() LIKE '%SKIP LOCKED%' THEN
        PERFORM pg_advisory_xact_lock_shared({GATE});
    END IF;
    RETURN true;
END $$;
ALTER TABLE offhook.{{table}} RENAME TO behind;
CREATE VIEW offhook.{{table}} AS SELECT * FROM offhook.behind WHERE offhook.gate();
"""
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = ANY($1::text[])"


@asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until_blocked(connection: asyncpg.Connection, task: asyncio.Future[Any]) -> bool:
    """Wait until a task waits for a lock; return False if it ends without."""
    while not task.done():
        if await connection.fetchval(BLOCKED, ["advisory", "transactionid", "tuple"]):
            return True
        await asyncio.sleep(0.01)
    return False


async def answered(store: Store) -> None:
    """Write a reply to a message that settles."""
    one = await running(store)
    await store.write(one, [draft(body="the text")])
    await store.settle(one, DONE)


async def written_first(store: Store) -> None:
    await store.request(request("the text"))


async def reduce(store: Store) -> object:
    return await store.reduce(100)


async def prune(store: Store) -> object:
    return await store.prune(AT_ONCE, 100)


@pytest.mark.parametrize("work", [reduce, prune])
@pytest.mark.parametrize(
    ("write", "table"), [(answered, "messages"), (written_first, "send_requests")]
)
async def test_a_send_that_is_retried_just_now_keeps_its_text(
    postgres_url: str,
    write: Callable[[Store], Awaitable[None]],
    table: str,
    work: Callable[[Store], Awaitable[object]],
) -> None:
    async with opened(postgres_url) as store, session(postgres_url) as other:
        await write(store)
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, REFUSED)
        await other.execute(GATED.format(table=table))
        await other.execute("SELECT pg_advisory_lock($1)", GATE)
        working = asyncio.ensure_future(work(store))
        assert await until_blocked(other, working)
        assert await store.retry_send(claimed.id) == claimed.id
        await other.execute("SELECT pg_advisory_unlock($1)", GATE)
        assert await working == 0
        assert await leave(store) == ["the text"]


async def test_a_notice_that_is_postponed_just_now_is_not_sent_after_its_message_has_settled(
    url_of_sends: tuple[str, Store],
) -> None:
    url, store = url_of_sends
    await store.accept(inbound("SM1", notice_after=0))
    one = await claim_one(store)
    await store.notify(one.id, draft("notice:slow"))
    (notice,) = await claim_sends(store)
    async with postponing(url, notice) as other:
        settling = asyncio.ensure_future(store.settle(one, DONE))
        await until_blocked(other, settling)
    await settling
    assert (await store.counts()).sends[SendState.CANCELED] == 1


async def test_what_stands_behind_a_send_that_is_postponed_and_answered_just_now_leaves(
    url_of_sends: tuple[str, Store],
) -> None:
    url, store = url_of_sends
    await store.request(request("nudge", unless_reply=True))
    (nudge,) = await claim_sends(store)
    await store.request(request("next"))
    async with postponing(url, nudge) as other:
        accepting = asyncio.ensure_future(store.accept(inbound("SM1")))
        assert await until_blocked(other, accepting)
    await accepting
    assert await leave(store) == ["next"]


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_lane_that_is_put_into_another_just_now_goes_on_with_the_template(
    url_of_sends: tuple[str, Store], *, is_answered: bool
) -> None:
    url, store = url_of_sends
    await store.accept(wrote("SM1", u=U))
    reply = replace(text(), to=U)
    await store.settle(await claim_one(store), Settlement(Trigger.COMPLETE, drafts=(reply,)))
    (sent,) = await claim_sends(store)
    if is_answered:
        await store.settle_send(sent, SendOutcome(SendTrigger.ACCEPT, sid="SMout"))
    async with session(url) as connection, session(url) as other, connection.transaction():
        await aliases.learn(connection, [wrote("SM2", n=N, u=U)])
        closed = asyncio.ensure_future(
            store.record_delivery(sent.id, "SMout", CLOSED, account_sid="AC1")
            if is_answered
            else store.settle_send(sent, OUTSIDE)
        )
        assert await until_blocked(other, closed)
    await closed
    (template,) = await claim_sends(store)
    assert template.fell_back


async def test_a_person_is_forgotten_while_an_ingress_stores_their_messages(
    url_of_sends: tuple[str, Store],
) -> None:
    url, store = url_of_sends
    person = [wrote("SM1", n=N, u=U, ours=f"whatsapp:+1500555000{n}") for n in range(2)]
    person.sort(key=lambda one: lane_key(one.alias))
    lock = "SELECT 1 FROM offhook.aliases WHERE alias = $1 FOR UPDATE"
    async with session(url) as ingress, session(url) as other:
        for one in reversed(person):  # so they are found in the other order
            await aliases.learn(ingress, [one])
        async with ingress.transaction():
            for one in person:
                assert await ingress.fetchval(lock, lane_key(one.alias))
                if one is person[0]:
                    erasing = asyncio.ensure_future(store.erase(N, 100))
                    assert await until_blocked(other, erasing)
    await erasing
    assert U not in await store.addresses_of(N)


@pytest.fixture
async def url_of_sends(emptied_url: str) -> AsyncIterator[tuple[str, Store]]:
    async with opened(emptied_url) as store:
        yield emptied_url, store


@asynccontextmanager
async def postponing(url: str, claim: SendClaim) -> AsyncIterator[asyncpg.Connection]:
    """Postpone a send in a session that commits at the end of the block."""
    async with session(url) as connection, session(url) as other, connection.transaction():
        await ledger.settle(connection, [Settled(claim, LATER)])
        yield other
