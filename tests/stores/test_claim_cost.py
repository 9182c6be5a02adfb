"""A claim costs no more in a store where a thousand times as much waits.

Counted, not timed: pages that PostgreSQL touches, instructions that SQLite's machine carries out.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from benchmarks.stores import Files, Server, make
from offhook.stores.postgres.claims import ROUTINES
from offhook.stores.sqlite import messages
from tests.conformance.support import inbound, opened
from tests.servers import Databases, postgres

FEW, MANY = 20, 20_000
SHAPES = ("a lane each", "one lane")
# A tree of a thousand times as many leaves has a level or two more, and ten messages are spread
# over more pages. What reads all there is costs a hundred times as much and more.
SOMEWHAT_MORE = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as running:
        yield Server(Databases(running.url))


def lane(number: int, shape: str) -> str:
    return f"{number}" if shape == "a lane each" else "lane"


async def pages(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many pages a claim touches, once its plans are made. It is undone."""
    claim = next(routine for routine in ROUTINES if routine.purpose == "claim")
    touched = 0
    for _ in range(2):
        await connection.execute("BEGIN")
        plan = await connection.fetchval(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
            f"SELECT * FROM offhook.{claim.name}(10, 30.0, 'w', false, 60.0)"
        )
        await connection.execute("ROLLBACK")
        top = json.loads(plan)[0]["Plan"]
        touched = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    return touched


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("few", [1, FEW, 500])
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
                await pages(old)
                for first in range(few, 10_000, 5000):
                    await feed(first, first + 5000)
                assert await pages(old) <= await pages(new) * SOMEWHAT_MORE
            finally:
                await old.close()
                await new.close()

    url = make(server)
    asyncio.run(scenario())


@pytest.mark.parametrize("shape", SHAPES)
def test_in_postgresql_however_much_waits(server: Server, shape: str) -> None:
    async def cost(waiting: int) -> int:
        connection = await asyncpg.connect(urls[waiting])
        try:
            return await pages(connection)
        finally:
            await connection.close()

    urls = {n: make(server, [lane(one, shape) for one in range(n)]) for n in (FEW, MANY)}
    assert asyncio.run(cost(MANY)) <= asyncio.run(cost(FEW)) * SOMEWHAT_MORE


@pytest.mark.parametrize("shape", SHAPES)
def test_in_sqlite_however_much_waits(tmp_path: Path, shape: str) -> None:
    place = Files(tmp_path)
    urls = {n: make(place, [lane(one, shape) for one in range(n)]) for n in (FEW, MANY)}
    assert instructions(urls[MANY]) <= instructions(urls[FEW]) * SOMEWHAT_MORE


def instructions(url: str) -> int:
    """Return how many instructions a claim takes. It is undone."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.set_progress_handler(step, 1)
        found = messages.claim(
            connection, 2**50, limit=10, lease=30.0, owner="w", alone=False, window=60.0
        )
        assert found.claims
        connection.set_progress_handler(None, 0)
        connection.execute("ROLLBACK")
    finally:
        connection.close()
    return count
