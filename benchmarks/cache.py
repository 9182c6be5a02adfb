"""What a repeat costs, and what a Redis costs the others: in one process, with a real store.

    .venv/bin/python -m benchmarks.cache [--requests 3000] [--rate 1500] [--rounds 5]

Times are the server's, from the body read to the answer given, as `Answered` tells them. Requests
come at random moments at a constant rate: clients that wait for each other's answers would come in
step, share commits that others would not, and make all that gets them out of step look dear. CPU is
that of the whole process, the store's writer included. The cases take turns; each figure is the
median of its rounds. At the end, what was asked for is set beside what was measured; exit status 1
if an answer was an error.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import uvloop

from benchmarks import load
from benchmarks.results import Run, is_partial
from offhook.arrivals.direct import reading
from offhook.cache import open_cache
from offhook.cache.redis import MISSES, LookupSampling, RedisCache
from offhook.cache.redis_connection import RedisConnection
from offhook.cache.signing import EntrySigner
from offhook.core.requests import Request
from offhook.events import Answered, Event
from offhook.ingress.reception import Reception
from offhook.ports import ValidationCache
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.stores.api import Store
from testing.valkey import Valkey, valkey

FRESH = "fresh, no Redis"
ASKED = "fresh, Redis asked for each"
SELDOM = "fresh, Redis as it is used"
MEMORY = "repeat, from memory"
REDIS = "repeat, from Redis"
STORE = "repeat, from the store"
DEAD = "fresh, Redis killed"
FROZEN = "fresh, Redis frozen"
CASES = (FRESH, MEMORY, STORE, REDIS, SELDOM, ASKED, DEAD, FROZEN)


@dataclass(frozen=True)
class Figures:
    """Of one case in one round; times in seconds, sorted."""

    validation: Sequence[float]
    answer: Sequence[float]
    cpu: float
    statuses: frozenset[int]
    cached: frozenset[str]


class Bench:
    """Makes the cases, each on a cache of its own and one store."""

    def __init__(self, store: Store, given: argparse.Namespace, folder: Path) -> None:
        self._store = store
        self._given = given
        self._folder = folder

    def settings(self, cache: str) -> Settings:
        return Settings.load(
            env_file=None,
            account_sid=load.ACCOUNT,
            auth_token=load.TOKEN,
            cache=cache,
            store=f"sqlite:///{self._folder}/offhook.db",
        )

    async def opened(self, url: str) -> ValidationCache:
        cache = open_cache(self.settings(url), lambda _event: None)
        await cache.start()
        return cache

    async def eager(self, url: str) -> ValidationCache:
        settings = self.settings(url)
        store = settings.store.get_secret_value()
        signer = EntrySigner(tokens=settings.auth_tokens, store=store, ttl=settings.cache_ttl)
        link = RedisConnection(url, lambda _event: None)
        cache = RedisCache(link, signer, ttl=settings.cache_ttl, sampling=_Always())
        await cache.start()
        return cache

    def batch(self) -> list[Request]:
        return [load.parsed(data) for data in load.webhooks(self._given.requests)]

    async def measure(self, batch: Sequence[Request], cache: ValidationCache | None) -> Figures:
        """Send the requests; the cache stays open."""
        told: list[Answered] = []

        def observe(event: Event) -> None:
            if isinstance(event, Answered):
                told.append(event)

        reception = Reception(
            reading(self._store.accept), self.settings("memory://"), observe, cache=cache
        )
        cpu = time.process_time()
        due = perf_counter()
        async with asyncio.TaskGroup() as group:
            for request in batch:
                due += random.expovariate(self._given.rate)
                await asyncio.sleep(max(0.0, due - perf_counter()))
                group.create_task(_answer(reception, request))
        cpu = (time.process_time() - cpu) / len(batch)
        return Figures(
            sorted(event.validate for event in told),
            sorted(event.total for event in told),
            cpu,
            frozenset(event.status for event in told),
            frozenset(event.cached for event in told),
        )

    async def round(self, number: int, server: Valkey) -> dict[str, Figures]:
        """Measure all cases; each round begins with another, for the store grows meanwhile."""
        cases = (
            self._without_redis(),
            self._calm(server),
            self._asked(server),
            self._in_trouble(DEAD, server, server.kill, server.start),
            self._in_trouble(FROZEN, server, server.freeze, server.thaw),
        )
        first = number % len(cases)
        found: dict[str, Figures] = {}
        for case in cases[first:] + cases[:first]:
            found |= await case
        return {name: found[name] for name in CASES}

    async def _without_redis(self) -> dict[str, Figures]:
        cache, batch = await self.opened("memory://"), self.batch()
        return {
            FRESH: await self.measure(batch, cache),
            MEMORY: await self.measure(batch, cache),
            STORE: await self.measure(batch, None),
        }

    async def _calm(self, server: Valkey) -> dict[str, Figures]:
        cache = await self.calmed(server.url)
        found = {SELDOM: await self.measure(self.batch(), cache)}
        await cache.close()
        return found

    async def _asked(self, server: Valkey) -> dict[str, Figures]:
        batch = self.batch()
        cache = await self.eager(server.url)
        asked = await self.measure(batch, cache)
        await cache.close()  # writes what waits
        cache = await self.eager(server.url)  # another process' by now: its memory is empty
        found = {ASKED: asked, REDIS: await self.measure(batch, cache)}
        await cache.close()
        return found

    async def _in_trouble(
        self, name: str, server: Valkey, begin: Callable[[], None], end: Callable[[], None]
    ) -> dict[str, Figures]:
        cache = await self.calmed(server.url)
        begin()
        try:
            return {name: await self.measure(self.batch(), cache)}
        finally:
            end()
            await cache.close()

    async def calmed(self, url: str) -> ValidationCache:
        """Return a cache that has asked in vain for so long that it asks seldom, as is usual."""
        cache = await self.opened(url)
        await self.measure(self.batch()[: 2 * MISSES], cache)
        return cache


async def _answer(reception: Reception, request: Request) -> None:
    reception.report(await reception.receive(request._replace(started=perf_counter())))


class _Always(LookupSampling):
    """Has Redis asked for every request, which it would not be for long."""

    def wanted(self) -> bool:
        return True


def report(rounds: Sequence[dict[str, Figures]]) -> None:
    headings = ("validation p50", "answer p50", "p99", "CPU", "answer x", "p99 x", "CPU x")
    print(f"{'':28}" + "".join(f"{heading:>15}" for heading in headings))
    for name in rounds[0]:
        row = [
            median(load.milliseconds, (percentile(one[name].validation, 50) for one in rounds)),
            median(load.milliseconds, (percentile(one[name].answer, 50) for one in rounds)),
            median(load.milliseconds, (percentile(one[name].answer, 99) for one in rounds)),
            median(microseconds, (one[name].cpu for one in rounds)),
            median(ratio, (_ratio(one, name, 50) for one in rounds)),
            median(ratio, (_ratio(one, name, 99) for one in rounds)),
            median(ratio, (one[name].cpu / one[FRESH].cpu for one in rounds)),
        ]
        how = {source for one in rounds for source in one[name].cached} - {""}
        print(f"{name:28}" + "".join(f"{cell:>15}" for cell in row) + f"  {' '.join(how)}")
    print(f"all ratios are to: {FRESH}, in the same round")


@dataclass(frozen=True)
class Target:
    """What a case may take at most, as a share of a fresh request without Redis."""

    case: str
    what: str
    most: float
    share: Callable[[dict[str, Figures]], float]


def _share(case: str, p: float) -> Callable[[dict[str, Figures]], float]:
    return lambda found: _ratio(found, case, p)


def _validation(case: str) -> Callable[[dict[str, Figures]], float]:
    return lambda found: (
        percentile(found[case].validation, 50) / percentile(found[FRESH].validation, 50)
    )


# DESIGN, 9, and the requirement that a hit cuts the time of validation by 80 % or more.
TARGETS = (
    Target(MEMORY, "validation p50: a hit cuts it by 80 %", 0.2, _validation(MEMORY)),
    Target(MEMORY, "answer p50", 0.2, _share(MEMORY, 50)),
    Target(REDIS, "answer p50", 1.0, _share(REDIS, 50)),
    Target(SELDOM, "answer p50", 1.1, _share(SELDOM, 50)),
    Target(DEAD, "answer p99", 1.5, _share(DEAD, 99)),
    Target(FROZEN, "answer p99", 1.5, _share(FROZEN, 99)),
)


def report_targets(rounds: Sequence[dict[str, Figures]]) -> None:
    print(f"\n{'':28}{'':40}{'measured':>10}{'at most':>10}")
    for target in TARGETS:
        share = statistics.median(target.share(found) for found in rounds)
        verdict = "" if share <= target.most else "  NOT SO"
        print(f"{target.case:28}{target.what:40}{share:10.3f}{target.most:10.2f}{verdict}")


def _ratio(found: dict[str, Figures], name: str, p: float) -> float:
    return percentile(found[name].answer, p) / percentile(found[FRESH].answer, p)


def figures(rounds: Sequence[dict[str, Figures]]) -> dict[str, float]:
    """Return what `benchmarks.targets` compares: ratios to a fresh request without Redis."""

    def ratio_of(name: str, p: float) -> float:
        return statistics.median(_ratio(one, name, p) for one in rounds)

    return {
        "memory": ratio_of(MEMORY, 50),
        "redis": ratio_of(REDIS, 50),
        "seldom": ratio_of(SELDOM, 50),
        "dead p99": ratio_of(DEAD, 99),
    }


def median(shown: Callable[[float], str], values: Iterable[float]) -> str:
    return shown(statistics.median(values))


def percentile(values: Sequence[float], p: float) -> float:
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=1500.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        run = Run("cache", folder, partial=is_partial(parser, given))
        with valkey(folder / "valkey") as server:
            rounds = uvloop.run(measure(server, given, folder))
    report(rounds)
    run.write(figures(rounds))
    report_targets(rounds)
    statuses = {status for found in rounds for one in found.values() for status in one.statuses}
    if statuses != {200}:
        sys.exit(f"not all were answered 200: {sorted(statuses)}")
    print("every answer was 200")


async def measure(
    server: Valkey, given: argparse.Namespace, folder: Path
) -> list[dict[str, Figures]]:
    store = open_store(f"sqlite:///{folder}/offhook.db")
    await store.open()
    bench = Bench(store, given, folder)
    try:
        await bench.measure(bench.batch(), None)  # warm-up
        return [await bench.round(number, server) for number in range(given.rounds)]
    finally:
        await store.close()


if __name__ == "__main__":
    main()
