"""Connections to a real PostgreSQL: replaced before they go stale, and after it was down."""

import asyncio

import pytest

from offhook.errors import StoreUnavailable
from offhook.stores.postgres.pool import MAX_AGE, MAX_IDLE, Pool
from testing.postgres import PostgresServer
from testing.proxy import Proxy


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def session(connections: Pool) -> int:
    """Return the server's process behind the next connection."""
    async with connections.acquire() as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def test_a_connection_is_used_again(server: PostgresServer) -> None:
    clock = Clock()
    connections = Pool(server.url, size=2, timeout=10.0, clock=clock)
    first = await session(connections)
    clock.now += MAX_IDLE - 1
    assert await session(connections) == first
    await connections.close()


async def test_one_that_was_idle_for_long_is_replaced(server: PostgresServer) -> None:
    clock = Clock()
    connections = Pool(server.url, size=2, timeout=10.0, clock=clock)
    first = await session(connections)
    clock.now += MAX_IDLE
    assert await session(connections) != first
    await connections.close()


async def test_none_grows_old_however_busy_it_is(server: PostgresServer) -> None:
    clock = Clock()
    connections = Pool(server.url, size=1, timeout=10.0, clock=clock)
    seen = []
    for _ in range(40):
        seen.append(await session(connections))
        clock.now += MAX_IDLE / 2
    assert 2 <= len(set(seen)) <= 1 + 40 * MAX_IDLE / 2 / (0.75 * MAX_AGE)
    await connections.close()


async def test_while_the_server_is_away_it_is_asked_ever_more_seldom(
    server: PostgresServer,
) -> None:
    clock = Clock()
    async with Proxy(server.url).serve() as proxy:
        connections = Pool(proxy.url, size=2, timeout=10.0, clock=clock)
        proxy.cut()
        for _ in range(100):  # 10 s
            clock.now += 0.1
            with pytest.raises(StoreUnavailable):
                await session(connections)
        # At first after 0.05 s, at last after 1 to 2.
        assert 5 <= proxy.refused <= 20
        proxy.mend()
        clock.now += 2.0
        await session(connections)
        await connections.close()


async def test_a_server_that_was_killed_is_found_again(server: PostgresServer) -> None:
    connections = Pool(server.url, size=2, timeout=10.0)
    await session(connections)
    await asyncio.to_thread(server.stop, "immediate")
    with pytest.raises(StoreUnavailable, match="PostgreSQL at 127"):
        await session(connections)
    await asyncio.to_thread(server.start)
    while True:
        try:
            await session(connections)
        except StoreUnavailable:
            await asyncio.sleep(0.05)  # what it waits for between two attempts
        else:
            break
    await connections.close()
