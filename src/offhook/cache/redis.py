"""The second tier: what other processes have answered, by way of Redis."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from itertools import islice
from typing import Any, Final

import hiredis

from offhook.cache.memory import MemoryCache
from offhook.cache.redis_connection import EXCHANGE_TIMEOUT, Link
from offhook.cache.signing import Seal
from offhook.concurrency import Deadline
from offhook.ports import CachedVerdict, ValidationCacheEntry

MISSES: Final = 256
"""So many questions in vain, and it is asked for a few requests only."""

SAMPLE: Final = 64
"""Then for one in so many: enough to notice when repeats begin to come."""


class Interest:
    """Loses heart after questions in vain, and takes heart again with the first repeat.

    When all is well there are no repeats: Twilio sends a webhook once. Then asking for each makes
    a fresh request slower, to no end. It matters when repeats do come, for then many do (a store
    that was slow, a process that was killed), and the store itself tells of the first.
    """

    def __init__(self) -> None:
        self._misses = 0
        self._passed_over = 0

    def wanted(self) -> bool:
        """Return whether to ask for this request."""
        if self._misses < MISSES:
            return True
        self._passed_over = (self._passed_over + 1) % SAMPLE
        return self._passed_over == 0

    def miss(self) -> None:
        """Note a question in vain."""
        self._misses += 1

    def repeat(self) -> None:
        """Note a repeat that this process had not seen, however it was found."""
        self._misses = 0


BATCH: Final = 128
"""Keys in one MGET, and entries written with it: some 40 KiB at most."""

GATHER: Final = 0.02
"""Seconds for which entries are gathered before they are written: nobody waits for them."""

WAITING: Final = 1_024
"""Entries waiting to be written; more are dropped, for a cache may forget."""

_PREFIX: Final = b"offhook:1:"

# All entries of an exchange in one command: redis-py takes 10 us to read one reply, however short
# (measured), and a SET for each entry would make up a tenth of a fresh request's CPU.
_WRITE: Final = b"""
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i], 'PX', ARGV[#ARGV]) end
return #KEYS
"""

_Lookup = tuple[bytes, asyncio.Future[Any]]


class RedisCache:
    """Keeps `ports.ValidationCache` with a Redis behind a process' own memory.

    Lookups that come within one turn of the event loop, or while an exchange is under way, share
    the next MGET; entries to be written go along. One exchange is under way at a time.

    Args:
        link: to Redis.
        seal: makes entries that can be trusted.
        ttl: seconds a valid entry lives.
        interest: says which requests Redis is asked for.
    """

    def __init__(
        self, link: Link, seal: Seal, *, ttl: float, interest: Interest | None = None
    ) -> None:
        self._link = link
        self._seal = seal
        self._ttl = ttl
        self._expiry = str(max(1, int(ttl * 1000))).encode()  # milliseconds
        self._memory = MemoryCache(ttl=ttl, secret=seal.secret)
        self._interest = interest or Interest()
        self._patience = Deadline(EXCHANGE_TIMEOUT)
        self._lookups: deque[_Lookup] = deque()
        self._writes: deque[tuple[bytes, ValidationCacheEntry]] = deque()
        self._exchanging: asyncio.Task[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Whether Redis can be asked at present."""
        return self._link.up

    @property
    def secret(self) -> bytes:
        """Keys the fingerprints: the same in all processes of a deployment."""
        return self._seal.secret

    def get(self, key: bytes) -> ValidationCacheEntry | None:
        """Return what this process remembers."""
        return self._memory.get(key)

    def ask(self, key: bytes) -> Awaitable[ValidationCacheEntry | None] | None:
        """Ask Redis, if it is there and likely to know."""
        if not self._link.up or len(self._lookups) >= WAITING or not self._interest.wanted():
            return None
        return self._look_up(key)

    def put(self, key: bytes, entry: ValidationCacheEntry, *, repeat: bool = False) -> None:
        """Remember an answer; Redis gets it within some milliseconds."""
        self._memory.put(key, entry)
        if repeat:
            self._interest.repeat()
        shared = entry.verdict is CachedVerdict.VALID  # forged requests must not fill the queue
        if not shared or not self._link.up or len(self._writes) >= WAITING:
            return
        self._writes.append((key, entry))
        self._gather()

    async def start(self) -> None:
        """Connect to Redis."""
        await self._link.start()

    async def flush(self) -> None:
        """Write what waits to be written; if Redis is away, forget it."""
        while self._writes:
            self._exchange()
            if self._exchanging is not None:
                await asyncio.wait({self._exchanging})

    async def close(self) -> None:
        """Write what waits to be written, and disconnect."""
        await self.flush()
        await self._link.close()
        if self._exchanging is not None:
            await asyncio.wait({self._exchanging})

    async def _look_up(self, key: bytes) -> ValidationCacheEntry | None:
        future = asyncio.get_running_loop().create_future()
        self._lookups.append((key, future))
        self._exchange()
        try:
            with self._patience:
                sealed = await future
        except TimeoutError:
            sealed = None
        now = time.time()
        entry = self._seal.unseal(key, sealed, now)
        if entry is None:
            self._interest.miss()
            return None
        self._interest.repeat()
        self._memory.keep(key, entry, min(self._ttl, entry.time + self._ttl - now))
        return entry

    def _gather(self) -> None:
        if self._gathering is None and self._exchanging is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER, self._exchange)

    def _exchange(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._exchanging is None:
            self._exchanging = asyncio.create_task(self._exchange_all(), name="offhook cache")

    async def _exchange_all(self) -> None:
        try:
            await self._exchange_some()
            while self._lookups or len(self._writes) >= BATCH:
                await self._exchange_some()
        finally:
            self._exchanging = None
            self._give_up()
            if self._writes:
                self._gather()

    async def _exchange_some(self) -> None:
        lookups, writes = _taken(self._lookups), _taken(self._writes)
        asked = [lookup for lookup in lookups if not lookup[1].done()]
        commands = [] if not asked else [_pack(b"MGET", *(_PREFIX + key for key, _ in asked))]
        sealed = {key: text for key, entry in writes if (text := self._seal.seal(key, entry))}
        if sealed:
            keys = [_PREFIX + key for key in sealed]
            count = str(len(keys)).encode()
            commands.append(_pack(b"EVAL", _WRITE, count, *keys, *sealed.values(), self._expiry))
        if not commands:
            return
        replies = await self._link.exchange(commands, len(commands)) if self._link.up else None
        found = replies[0] if asked and replies else None
        if not isinstance(found, list) or len(found) != len(asked):  # it may say anything
            found = [None] * len(asked)
        for (_, future), text in zip(asked, found, strict=True):
            if not future.done():
                future.set_result(text)

    def _give_up(self) -> None:
        """Let nobody wait in vain. There is nothing left unless something unforeseen was raised."""
        for _, future in self._lookups:
            if not future.done():
                future.set_result(None)
        self._lookups.clear()


def _taken(queue: deque[Any]) -> Sequence[Any]:
    taken = tuple(islice(queue, BATCH))
    for _ in taken:
        queue.popleft()
    return taken


def _pack(*command: bytes) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # stub: tuples of one
    return packed
