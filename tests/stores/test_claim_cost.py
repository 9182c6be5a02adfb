"""A claim costs no more in a store where a thousand times as much waits, nor does ending leases.

Nor do counting and pruning, where a thousand times as much is done.

Counted, not timed: pages that PostgreSQL touches, instructions that SQLite's machine carries out.
"""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import asyncpg
import pytest

from offhook.core.loop_detection import LoopRule
from offhook.stores.api import Retention
from offhook.stores.postgres import claiming, counts, pruning
from offhook.stores.postgres.schema import FUNCTIONS
from offhook.stores.sqlite import lanes, ledger, queue
from testing.filled import Files, Server, make
from testing.postgres import Databases, postgres
from testing.stores import inbound, opened

FEW, MANY = 20, 20_000
SHAPES = ("a lane each", "one lane")
# A tree of a thousand times as many leaves has a level or two more, and ten messages are spread
# over more pages. What reads all there is costs a hundred times as much and more.
SOMEWHAT_MORE = 2.0

Work = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[object]]
READ = """
SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class
 WHERE relnamespace = 'offhook'::regnamespace
"""

Step = Callable[[sqlite3.Connection], object]
NOW = 2**50  # milliseconds: everything is due

# What is counted is the last of each, once what stands before it has been done.
CLAIM, CLAIM_SENDS = (
    "claim(10, 30.0, 'w', false, 60.0, 1.0, NULL, NULL)",
    "claim_sends(10, 30.0, 'w', NULL, NULL)",
)
HAND_BACK, HAND_BACK_SENDS = "hand_back('w', '{}')", "hand_back_sends('w', '{}')"
RELEASE = "release('w')"
OF_MESSAGES: Mapping[str, Sequence[str]] = {"a claim": (CLAIM,), "handing back": (CLAIM, HAND_BACK)}
OF_SENDS: Mapping[str, Sequence[str]] = {
    "a claim of sends": (CLAIM_SENDS,),
    "handing sends back": (CLAIM_SENDS, HAND_BACK_SENDS),
    "releasing": (CLAIM, CLAIM_SENDS, RELEASE),
}
STEPS: Mapping[str, Step] = {
    CLAIM: lambda file: (
        queue.claim(
            file, NOW, limit=10, lease=30.0, owner="w", alone=False, loop=LoopRule(60.0), ahead=0
        ).claims
    ),
    CLAIM_SENDS: lambda file: ledger.claim(file, NOW, limit=10, lease=30.0, owner="w"),
    HAND_BACK: lambda file: queue.hand_back(file, NOW, "w", ()),
    HAND_BACK_SENDS: lambda file: ledger.hand_back(file, NOW, "w", ()),
    RELEASE: lambda file: lanes.release(file, NOW, "w"),
}

# A send waits beside each message; on either store.
LET_SENDS_WAIT = (
    """
    INSERT INTO {0}sends (id, message, identity, lane, state, account_sid, sender, recipient, body,
                          media, content_sid, content_variables, created, due)
    SELECT id, id, 'reply:0', lane, 'pending', account_sid, recipient, sender, '', '[]', '',
           '{{}}', received, received FROM {0}messages
    """,
    "INSERT INTO {0}lanes (queue, lane, due) SELECT 1, lane, due FROM {0}lanes WHERE queue = 0",
)


# All that waited is done for an hour, and a notice of each is to be written tomorrow.
LET_ALL_BE_DONE = (
    """UPDATE offhook.messages SET state = 'done', received = received - interval '1 hour',
                               settled = received - interval '1 hour',
                               notice_due = received + interval '1 day'""",
    "UPDATE offhook.dedupe_keys SET received = received - interval '1 hour'",
    "DELETE FROM offhook.lanes",
    "VACUUM ANALYZE",
)
KEPT = Retention(settled=86_400.0, dead=86_400.0, parked=86_400.0, keys=86_400.0)
OF_WHAT_IS_DONE: Mapping[str, Work] = {
    "counting": lambda connection: counts.glance(connection, 600.0),
    "pruning": lambda connection: pruning.prune(connection, KEPT, 100),
    "pruning keys": lambda connection: pruning.prune_keys(connection, KEPT.keys, 100),
    "finding late ones": lambda connection: claiming.overdue(connection, 10),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as running:
        yield Server(Databases(running.url))


def lane(number: int, shape: str) -> str:
    return f"{number}" if shape == "a lane each" else "lane"


def in_postgresql(call: str) -> str:
    """Return a call by the name that the function has there."""
    purpose, bracket, arguments = call.partition("(")
    function = next(function for function in FUNCTIONS if function.purpose == purpose)
    return f"SELECT * FROM offhook.{function.name}{bracket}{arguments}"


async def pages(connection: "asyncpg.Connection[asyncpg.Record]", calls: Sequence[str]) -> int:
    """Return how many pages the last call touches, once its plans are made. It is undone.

    The fewest of several calls: autovacuum may look at a table at any time, and then the plans are
    made anew, which reads the catalogue.
    """
    *before, counted = map(in_postgresql, calls)
    touched: list[int] = []
    for _ in range(4):
        await connection.execute("BEGIN")
        for call in before:
            assert await connection.fetch(call)
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {counted}")
        await connection.execute("ROLLBACK")
        top = json.loads(plan)[0]["Plan"]
        touched.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
    return min(touched)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("few", [1, 500])
def test_in_postgresql_whatever_there_was_when_its_plan_was_made(
    server: Server, shape: str, few: int
) -> None:
    async def scenario() -> None:
        async with opened(url) as store:

            async def feed(first: int, behind: int) -> None:
                webhooks = (inbound(f"SM{n}", lane(n, shape)) for n in range(first, behind))
                await asyncio.gather(*map(store.accept, webhooks))

            old, new = await asyncpg.connect(url), await asyncpg.connect(url)
            try:
                await feed(0, few)
                for calls in OF_MESSAGES.values():
                    await pages(old, calls)
                for first in range(few, 10_000, 5000):
                    await feed(first, first + 5000)
                for calls in OF_MESSAGES.values():
                    touched = await pages(old, calls)
                    assert touched <= await pages(new, calls) * SOMEWHAT_MORE, calls
            finally:
                await old.close()
                await new.close()

    url = make(server)
    asyncio.run(scenario())


@pytest.mark.parametrize("shape", SHAPES)
def test_in_postgresql_however_much_waits(server: Server, shape: str) -> None:
    async def costs(waiting: int) -> dict[str, int]:
        connection = await asyncpg.connect(urls[waiting])
        try:
            touched = {what: await pages(connection, calls) for what, calls in OF_MESSAGES.items()}
            for statement in LET_SENDS_WAIT:
                await connection.execute(statement.format("offhook."))
            for what, calls in OF_SENDS.items():
                touched[what] = await pages(connection, calls)
            return touched
        finally:
            await connection.close()

    urls = {n: make(server, [lane(one, shape) for one in range(n)]) for n in (FEW, MANY)}
    few, many = asyncio.run(costs(FEW)), asyncio.run(costs(MANY))
    assert not dearer(few, many)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_sqlite_however_much_waits(tmp_path: Path, shape: str) -> None:
    def costs(url: str) -> dict[str, int]:
        file = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            taken = {what: instructions(file, calls) for what, calls in OF_MESSAGES.items()}
            for statement in LET_SENDS_WAIT:
                file.execute(statement.format(""))
            for what, calls in OF_SENDS.items():
                taken[what] = instructions(file, calls)
            return taken
        finally:
            file.close()

    place = Files(tmp_path)
    urls = {n: make(place, [lane(one, shape) for one in range(n)]) for n in (FEW, MANY)}
    few, many = costs(urls[FEW]), costs(urls[MANY])
    assert not dearer(few, many)


def test_in_postgresql_however_much_is_done(server: Server) -> None:
    async def costs(url: str) -> dict[str, int]:
        connection = await asyncpg.connect(url)
        try:
            for statement in LET_ALL_BE_DONE:
                await connection.execute(statement)
        finally:
            await connection.close()
        return {what: await rows_read(url, work) for what, work in OF_WHAT_IS_DONE.items()}

    urls = {n: make(server, [f"{lane}" for lane in range(n)]) for n in (FEW, MANY)}
    few, many = asyncio.run(costs(urls[FEW])), asyncio.run(costs(urls[MANY]))
    assert not dearer(dict.fromkeys(few, 10 * FEW), many)


async def rows_read(url: str, work: Work) -> int:
    """Return how many rows, and entries of indexes, some work reads, in a session of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        await work(connection)
        return int(await connection.fetchval(READ))
    finally:
        await connection.close()


def dearer(few: Mapping[str, int], many: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return what costs more where more waits."""
    return {
        what: (few[what], cost) for what, cost in many.items() if cost > few[what] * SOMEWHAT_MORE
    }


def instructions(file: sqlite3.Connection, calls: Sequence[str]) -> int:
    """Return how many instructions the last call takes. It is undone."""
    *before, counted = (STEPS[call] for call in calls)
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    file.execute("BEGIN IMMEDIATE")
    for one in before:
        assert one(file)
    file.set_progress_handler(step, 1)
    assert counted(file)
    file.set_progress_handler(None, 0)
    file.execute("ROLLBACK")
    return count
