"""The memory of one process: bounded, and not to be emptied by a flood of forged requests."""

import os
import tracemalloc

from offhook.cache.memory import (
    REFUSED_BYTES,
    REFUSED_ENTRIES,
    REFUSED_TTL,
    VALID_BYTES,
    VALID_ENTRIES,
    MemoryCache,
)
from offhook.core.forms import Refusal
from offhook.core.responses import REFUSED
from offhook.ports import CachedVerdict, ValidationCacheEntry
from tests.cache.support import entry

FORGED = ValidationCacheEntry(
    CachedVerdict.REFUSED, REFUSED[Refusal.SIGNATURE_MISMATCH], 1_700_000_000.0
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key() -> bytes:
    return os.urandom(32)


def test_an_entry_lives_for_its_time() -> None:
    clock = Clock()
    cache = MemoryCache(ttl=300.0, clock=clock)
    valid, forged = key(), key()
    cache.put(valid, entry())
    cache.put(forged, FORGED)
    assert (cache.get(valid), cache.get(forged)) == (entry(), FORGED)
    clock.now = REFUSED_TTL
    assert (cache.get(valid), cache.get(forged)) == (entry(), None)
    clock.now = 300.0
    assert cache.get(valid) is None


def test_a_flood_of_forged_requests_pushes_out_no_valid_entry() -> None:
    cache = MemoryCache(ttl=300.0)
    valid = [key() for _ in range(100)]
    for one in valid:
        cache.put(one, entry())
    for _ in range(2 * REFUSED_ENTRIES):
        cache.put(key(), FORGED)
    assert all(cache.get(one) == entry() for one in valid)


def test_an_entry_with_endless_names_is_not_kept() -> None:
    cache = MemoryCache(ttl=300.0)
    long = key()
    cache.put(long, entry(sender="+1" * 1000))
    assert cache.get(long) is None


def test_it_takes_no_more_memory_than_it_says() -> None:
    tracemalloc.start()
    try:
        cache = MemoryCache(ttl=300.0)
        before, _ = tracemalloc.get_traced_memory()
        for n in range(VALID_ENTRIES + 1_000):
            cache.put(key(), entry(sid=f"SM{n:032x}", sender=f"whatsapp:+1555{n:07d}"))
        for _ in range(REFUSED_ENTRIES + 1_000):
            cache.put(key(), FORGED)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= VALID_BYTES + REFUSED_BYTES


def test_processes_cannot_foresee_each_others_fingerprints() -> None:
    assert MemoryCache(ttl=1.0).secret != MemoryCache(ttl=1.0).secret
