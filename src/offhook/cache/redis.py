"""The second tier: answers of all processes of a deployment, shared through Redis."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from itertools import islice
from typing import Any, Final

import hiredis

from offhook.cache.memory import MemoryCache
from offhook.cache.redis_connection import EXCHANGE_TIMEOUT, RedisConnection
from offhook.cache.signing import EntrySigner
from offhook.concurrency import Deadline
from offhook.ports import CachedVerdict, ValidationCacheEntry

MISSES: Final = 256
"""Lookups in a row that found nothing, after which only a sample of requests is looked up."""

SAMPLE: Final = 64
"""Then one request in so many is looked up: enough to notice when repeats begin to come."""


class LookupSampling:
    """Looks up every request while repeats come, and a sample of them otherwise.

    Normally there are no repeats: Twilio sends a webhook once, and a lookup for each would only
    make new requests slower. When repeats do come, many come (after a slow store or a killed
    process), and the store itself recognises the first.
    """

    def __init__(self) -> None:
        self._misses = 0
        self._passed_over = 0

    def wanted(self) -> bool:
        """Return whether to look this request up."""
        if self._misses < MISSES:
            return True
        self._passed_over = (self._passed_over + 1) % SAMPLE
        return self._passed_over == 0

    def miss(self) -> None:
        """Count a lookup that found nothing."""
        self._misses += 1

    def repeat(self) -> None:
        """Note a repeat that this process had not seen, wherever it was found."""
        self._misses = 0


BATCH: Final = 128
"""Keys in one MGET, and entries written with it: some 40 KiB at most."""

GATHER: Final = 0.02
"""Seconds for which entries are gathered before they are written; no request waits for them."""

WAITING: Final = 1_024
"""Entries that may wait to be written; more are dropped, as a cache may."""

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
        connection: to Redis.
        signer: signs entries and verifies them.
        ttl: seconds a valid entry lives.
        sampling: decides which requests are looked up in Redis.
    """

    def __init__(
        self,
        connection: RedisConnection,
        signer: EntrySigner,
        *,
        ttl: float,
        sampling: LookupSampling | None = None,
    ) -> None:
        self._connection = connection
        self._signer = signer
        self._ttl = ttl
        self._expiry = str(max(1, int(ttl * 1000))).encode()  # milliseconds
        self._memory = MemoryCache(ttl=ttl, secret=signer.secret)
        self._sampling = sampling or LookupSampling()
        self._deadline = Deadline(EXCHANGE_TIMEOUT)
        self._lookups: deque[_Lookup] = deque()
        self._writes: deque[tuple[bytes, ValidationCacheEntry]] = deque()
        self._exchanging: asyncio.Task[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None

    @property
    def connected(self) -> bool:
        """Whether Redis can be used at present."""
        return self._connection.up

    @property
    def secret(self) -> bytes:
        """The key of the fingerprints, the same in all processes of a deployment."""
        return self._signer.secret

    def get(self, key: bytes) -> ValidationCacheEntry | None:
        """Return the entry of this process' memory."""
        return self._memory.get(key)

    def ask(self, key: bytes) -> Awaitable[ValidationCacheEntry | None] | None:
        """Look an entry up in Redis, if it is connected and likely to have it."""
        if not self._connection.up or len(self._lookups) >= WAITING or not self._sampling.wanted():
            return None
        return self._look_up(key)

    def put(self, key: bytes, entry: ValidationCacheEntry, *, repeat: bool = False) -> None:
        """Keep an answer, and write it to Redis within some milliseconds."""
        self._memory.put(key, entry)
        if repeat:
            self._sampling.repeat()
        shared = entry.verdict is CachedVerdict.VALID  # forged requests must not fill the queue
        if not shared or not self._connection.up or len(self._writes) >= WAITING:
            return
        self._writes.append((key, entry))
        self._gather()

    async def start(self) -> None:
        """Connect to Redis."""
        await self._connection.start()

    async def flush(self) -> None:
        """Write the waiting entries; if Redis is unavailable, drop them."""
        while self._writes:
            self._exchange()
            if self._exchanging is not None:
                await asyncio.wait({self._exchanging})

    async def close(self) -> None:
        """Write the waiting entries, and disconnect."""
        await self.flush()
        await self._connection.close()
        if self._exchanging is not None:
            await asyncio.wait({self._exchanging})

    async def _look_up(self, key: bytes) -> ValidationCacheEntry | None:
        future = asyncio.get_running_loop().create_future()
        self._lookups.append((key, future))
        self._exchange()
        try:
            with self._deadline:
                signed = await future
        except TimeoutError:
            signed = None
        now = time.time()
        entry = self._signer.verified(key, signed, now)
        if entry is None:
            self._sampling.miss()
            return None
        self._sampling.repeat()
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
            self._abandon_lookups()
            if self._writes:
                self._gather()

    async def _exchange_some(self) -> None:
        lookups, writes = _taken(self._lookups), _taken(self._writes)
        asked = [lookup for lookup in lookups if not lookup[1].done()]
        commands = [] if not asked else [_pack(b"MGET", *(_PREFIX + key for key, _ in asked))]
        signed = {key: text for key, entry in writes if (text := self._signer.sign(key, entry))}
        if signed:
            keys = [_PREFIX + key for key in signed]
            count = str(len(keys)).encode()
            commands.append(_pack(b"EVAL", _WRITE, count, *keys, *signed.values(), self._expiry))
        if not commands:
            return
        replies = (
            await self._connection.exchange(commands, len(commands))
            if self._connection.up
            else None
        )
        found = replies[0] if asked and replies else None
        if not isinstance(found, list) or len(found) != len(asked):  # it may say anything
            found = [None] * len(asked)
        for (_, future), text in zip(asked, found, strict=True):
            if not future.done():
                future.set_result(text)

    def _abandon_lookups(self) -> None:
        """Answer the waiting lookups with nothing: some are left only after an unforeseen error."""
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
