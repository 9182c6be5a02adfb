"""Redis killed, frozen and started again under load changes no answer: all 200, all stored once."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import pytest

from offhook.arrivals.direct import reading
from offhook.cache import open_cache
from offhook.core.requests import Request
from offhook.events import Answered, Event, Problem
from offhook.ingress.reception import Reception
from offhook.ports import ValidationCache
from offhook.stores import open_store
from offhook.stores.api import Filter, Store
from testing.valkey import Valkey, valkey
from testing.webhooks import MESSAGE, answered, changed, named, settings
from tests.cache.support import PATIENCE
from tests.ingress.test_reception import webhook

CLIENTS = 8


class Load:
    """Clients that post to two processes by turns: each webhook twice, to the one and the other."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.statuses: list[int] = []
        self.sids: set[str] = set()
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        chosen = settings(cache=url, store="sqlite:///load.db")
        self.caches: list[ValidationCache] = [open_cache(chosen, self.observe) for _ in range(2)]
        self._receptions = [
            Reception(reading(store.accept), chosen, self.observe, cache=cache)
            for cache in self.caches
        ]
        self._numbers = itertools.count()

    def observe(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def told(self) -> list[bool]:
        """What was said of the cache, by both processes."""
        return [event.resolved for event in self.events if isinstance(event, Problem)]

    def cached(self, how: str) -> int:
        return sum(isinstance(event, Answered) and event.cached == how for event in self.events)

    async def until(self, fits: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not fits():
                self._changed.clear()
                await self._changed.wait()

    async def more_redis_hits(self) -> None:
        before = self.cached("redis")
        await self.until(lambda: self.cached("redis") > before + 5)

    async def client(self) -> None:
        for number in self._numbers:
            sid = f"SM{number:032x}"
            self.sids.add(sid)
            request = webhook(changed(named(MESSAGE, sid), From=f"+1555{number % 50:07d}"))
            await self._post(request, number % 2)
            # Time for the entry to get to Redis, at this load.
            await asyncio.sleep(0.03)
            await self._post(request, (number + 1) % 2)

    async def _post(self, request: Request, process: int) -> None:
        answer = await answered(self._receptions[process], request._replace(started=perf_counter()))
        self.statuses.append(answer.status)


@asynccontextmanager
async def loaded(path: Path, server: Valkey) -> AsyncIterator[Load]:
    store = open_store(f"sqlite:///{path}/load.db")
    await store.open()
    load = Load(store, server.url)
    for cache in load.caches:
        await cache.start()
    clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
    try:
        yield load
        for client in clients:
            assert not client.done()
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        for cache in load.caches:
            await cache.close()
        await store.close()


async def test_no_answer_depends_on_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis", "redis_connection"):  # it goes on under load until that is over
        monkeypatch.setattr(f"offhook.cache.{module}.EXCHANGE_TIMEOUT", 1.0)

    async def on_threads(step: Callable[[], None]) -> None:
        await asyncio.to_thread(step)

    async def answered(load: Load, count: int) -> None:
        wanted = len(load.statuses) + count
        await load.until(lambda: len(load.statuses) >= wanted)

    async def outage(load: Load, begin: Callable[[], None], end: Callable[[], None]) -> None:
        await load.more_redis_hits()
        before = load.told()
        await on_threads(begin)
        # Both processes notice, and go on all the same.
        await load.until(lambda: load.told().count(False) >= before.count(False) + 2)
        await answered(load, 50)
        await on_threads(end)
        await load.until(lambda: load.told().count(True) == load.told().count(False))

    async def scenario(server: Valkey) -> None:
        async with loaded(tmp_path, server) as load:
            await outage(load, server.kill, server.start)
            await outage(load, server.freeze, server.thaw)
            await load.more_redis_hits()
        assert set(load.statuses) == {200}
        store = open_store(f"sqlite:///{tmp_path}/load.db")
        await store.open()
        sids = [record.sid for record in await store.find(Filter(limit=1_000_000))]
        await store.close()
        assert len(sids) == len(set(sids))
        acknowledged = {
            event.sid for event in load.events if isinstance(event, Answered) and event.sid
        }
        assert acknowledged <= set(sids)

    with valkey(tmp_path / "valkey") as server:
        async with asyncio.timeout(4 * PATIENCE):
            await scenario(server)
