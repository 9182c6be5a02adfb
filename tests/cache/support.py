"""Entries, and caches on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from offhook.cache.redis import RedisCache
from offhook.cache.redis_connection import RedisConnection
from offhook.cache.signing import EntrySigner
from offhook.core.keys import Kind
from offhook.core.responses import STORED
from offhook.events import Event, Problem, Topic
from offhook.ports import CachedVerdict, ValidationCacheEntry

PATIENCE = 60.0  # seconds until a test that waits in vain fails
TOKEN = "t" * 32
STORE = "postgresql://db:5432/offhook"


def entry(
    *, sid: str = "SM" + "1" * 32, sender: str = "+15551230001", time: float = 1_700_000_000.0
) -> ValidationCacheEntry:
    return ValidationCacheEntry(
        CachedVerdict.VALID, STORED[Kind.MESSAGE], time, message_sid=sid, sender=sender
    )


def signer(*, token: str = TOKEN, store: str = STORE, ttl: float = 300.0) -> EntrySigner:
    return EntrySigner(tokens=(token,), store=store, ttl=ttl)


class Told:
    """What was observed, and a way to wait for it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Problem):
            self.problems.append(event)
            self._changed.set()

    @property
    def states(self) -> list[bool]:
        return [
            problem.resolved
            for problem in self.problems
            if problem.topic is Topic.CACHE_UNAVAILABLE
        ]

    async def until(self, fits: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not fits():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def redis_cache(
    url: str, *, signed: EntrySigner | None = None, told: Told | None = None, ttl: float = 300.0
) -> AsyncIterator[RedisCache]:
    cache = RedisCache(RedisConnection(url, told or Told()), signed or signer(ttl=ttl), ttl=ttl)
    await cache.start()
    try:
        yield cache
    finally:
        await cache.close()


async def asked(cache: RedisCache, key: bytes) -> ValidationCacheEntry | None:
    """Ask until the cache has somebody to ask: a busy machine may take it more than 20 ms."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = cache.ask(key)
            if answer is not None and (found := await answer) is not None:
                return found
            if answer is not None and cache.connected:
                return None
            await asyncio.sleep(0.01)
