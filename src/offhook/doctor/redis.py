"""A check of Redis: whether it answers, and fast enough."""

import time
from statistics import median
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from offhook.doctor.finding import Findings, ok, warn

_SUBJECT: Final = "cache"
_CONNECT: Final = 3.0  # seconds
_PINGS: Final = 11
_LIMIT: Final = 0.02  # seconds; the timeout of a lookup: see cache/redis_connection.py


async def redis_at(url: str) -> Findings:
    """Check that Redis answers. Without it repeats cost more, and nothing else changes."""
    try:
        took = await _pings(url)
    except (RedisError, OSError, ValueError, TimeoutError) as error:
        text = f"Redis does not answer: {type(error).__name__}"
        remedy = "Check OFFHOOK_CACHE and the server. Meanwhile each process caches on its own."
        return [warn(_SUBJECT, text, remedy)]
    text = f"Redis answers in {took * 1000:.1f} ms"
    if took > _LIMIT:
        remedy = "Use a nearer one: lookups time out after 20 ms, so this one is of no use."
        return [warn(_SUBJECT, text, remedy)]
    return [ok(_SUBJECT, text)]


async def _pings(url: str) -> float:
    """Return the median of some round trips, in seconds."""
    client = Redis.from_url(url, socket_connect_timeout=_CONNECT, socket_timeout=_CONNECT)
    try:
        taken = []
        for _ in range(_PINGS):
            started = time.perf_counter()
            await client.ping()
            taken.append(time.perf_counter() - started)
        return median(taken[1:])  # the first connects
    finally:
        await client.aclose()
