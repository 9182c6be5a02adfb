"""What the stores do by themselves, and whether a claim's cost grows with what waits.

    .venv/bin/python -m benchmarks.stores [--quick] [--store sqlite] [--postgres URL]

No HTTP, no handlers, no sends: processes of their own call the store's port as ingresses and
workers do. Each line is measured with one process and with four. Claims are timed call by call, ten
messages a call (of one lane there is never more than one), in a store that was filled beforehand by
bulk SQL; at most a quarter of what waits is taken, so that it goes on waiting. Exit status 1 if a
message was settled twice or not at all.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.results import Run, is_partial
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import State, Trigger
from offhook.stores import open_store
from offhook.stores.api import Settlement, Store
from testing.filled import FORM, Files, Place, Server, make
from testing.postgres import Databases, postgres

_PROCESSES: Final = (1, 4)
_CONVERSATIONS: Final = 1000
_IN_FLIGHT: Final = 256  # webhooks that one process accepts at a time
_BATCH: Final = 100  # messages that one worker takes at a time: its OFFHOOK_CONCURRENCY
_TIMED_BATCH: Final = 10  # while claims are timed
_PATIENCE: Final = 120.0  # seconds until all must be settled
_DONE: Final = Settlement(Trigger.COMPLETE)


@dataclass
class Seen:
    """What one process has done; times are those of its claims, in seconds."""

    accepted: int = 0
    settled: int = 0
    times: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """What a process does.

    Attributes:
        count: how many messages it accepts, or settles; 0 for as many as it can.
        number: keeps its messages apart from those of other processes.
        total: how many messages all workers settle together.
    """

    work: Callable[[Store, "Job", "Shared"], Awaitable[Seen]]
    url: str
    seconds: float
    number: int = 0
    count: int = 0
    total: int = 0


@dataclass
class Shared:
    """What the processes have in common."""

    start: Barrier
    settled: Any  # a multiprocessing.Value


def webhook(number: int, process: int) -> Inbound:
    return Inbound(
        Kind.MESSAGE,
        key=process.to_bytes(8, "big") + number.to_bytes(8, "big"),
        lane=f"AC1|+15005550006|{number % _CONVERSATIONS}",
        account_sid="AC1",
        sid=f"SM{process:02x}{number:030x}",
        sender=f"+1555{number % _CONVERSATIONS:07d}",
        recipient="+15005550006",
        form=FORM,
    )


async def accept(store: Store, job: Job, _: Shared) -> Seen:
    """Accept webhooks, so many at a time, until the time or the count is over."""
    seen = Seen()
    until = time.monotonic() + job.seconds
    numbers = iter(range(job.count or 100_000_000))

    async def feed() -> None:
        for number in numbers:
            if time.monotonic() > until:
                return
            new = await store.accept(webhook(number, job.number))
            seen.accepted += new

    await asyncio.gather(*(feed() for _ in range(_IN_FLIGHT)))
    return seen


async def drain(store: Store, job: Job, shared: Shared) -> Seen:
    """Claim and settle until the time is over, or until all workers have settled all."""
    seen, until, news = Seen(), time.monotonic() + job.seconds, store.listen()
    while time.monotonic() < until and (not job.total or shared.settled.value < job.total):
        news.clear()
        claimed = await store.claim(_BATCH, lease=60.0, owner=f"w{job.number}", alone=False)
        await asyncio.gather(*(store.settle(one, _DONE) for one in claimed.claims))
        seen.settled += len(claimed.claims)
        if job.total and claimed.claims:
            with shared.settled.get_lock():
                shared.settled.value += len(claimed.claims)
        elif not claimed.claims:
            try:
                async with asyncio.timeout(0.05):
                    await news.wait()
            except TimeoutError:
                pass
    return seen


async def claim(store: Store, job: Job, _: Shared) -> Seen:
    """Time each claim, and settle what it brings."""
    seen, until = Seen(), time.monotonic() + job.seconds
    while time.monotonic() < until and seen.settled < job.count:
        began = time.perf_counter()
        found = await store.claim(_TIMED_BATCH, lease=60.0, owner=f"w{job.number}", alone=False)
        seen.times.append(time.perf_counter() - began)
        await asyncio.gather(*(store.settle(one, _DONE) for one in found.claims))
        seen.settled += len(found.claims)
    return seen


async def _work(job: Job, shared: Shared) -> Seen:
    store = open_store(job.url)
    await store.open()
    try:
        await asyncio.to_thread(shared.start.wait)
        began = time.monotonic()
        seen = await job.work(store, job, shared)
        seen.seconds = time.monotonic() - began
        return seen
    finally:
        await store.close()


def _process(job: Job, shared: Shared, results: Any) -> None:
    results.put(uvloop.run(_work(job, shared)))


def together(jobs: Sequence[Job]) -> list[Seen]:
    """Do jobs at the same time, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    shared = Shared(context.Barrier(len(jobs)), context.Value("q", 0))
    processes = [context.Process(target=_process, args=(job, shared, results)) for job in jobs]
    for process in processes:
        process.start()
    seen = [results.get(timeout=_PATIENCE + job.seconds) for job in jobs]
    for process in processes:
        process.join()
    return seen


def accepts(place: Place, processes: int, seconds: float) -> float:
    url = make(place)
    seen = together([Job(accept, url, seconds, number) for number in range(processes)])
    return sum(one.accepted / one.seconds for one in seen)


def settles(place: Place, processes: int, seconds: float, waiting: int) -> float:
    url = make(place, [f"{n % _CONVERSATIONS}" for n in range(waiting)])
    jobs = [Job(drain, url, seconds, number, total=waiting) for number in range(processes)]
    seen = together(jobs)
    return sum(one.settled for one in seen) / max(one.seconds for one in seen)


def end_to_end(place: Place, processes: int, count: int) -> tuple[float, bool]:
    """Return how many go through in a second, and whether each was settled once."""
    url = make(place)
    feeder = Job(accept, url, _PATIENCE, count=count)
    workers = [Job(drain, url, _PATIENCE, number, total=count) for number in range(processes)]
    seen = together([feeder, *workers])
    settled = sum(one.settled for one in seen)
    return settled / max(one.seconds for one in seen), settled == asyncio.run(done(url)) == count


async def done(url: str) -> int:
    store = open_store(url)
    await store.open()
    try:
        return (await store.counts()).messages[State.DONE]
    finally:
        await store.close()


def claim_times(
    place: Place, waiting: int, seconds: float, *, one_lane: bool
) -> Iterator[tuple[int, list[float]]]:
    """Return for each number of processes how long their claims took."""
    url = make(place, ["lane" if one_lane else f"{n}" for n in range(waiting)])
    for processes in _PROCESSES:
        share = waiting // 4 // processes
        jobs = [Job(claim, url, seconds, number, count=share) for number in range(processes)]
        yield processes, [took for seen in together(jobs) for took in seen.times]


def quantile(times: Sequence[float], percent: int) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


def measure(name: str, place: Place, seconds: float, backlogs: Sequence[int]) -> dict[str, Any]:
    """Print a store's table, and return it; times in seconds, by the number of processes.

    `sound` is whether each message was settled once.
    """
    print(f"\n{name}\n{'':36}" + "".join(f"{n} process{'es' * (n > 1):<9}" for n in _PROCESSES))
    count = backlogs[-1] // 2

    def line(title: str, figures: Mapping[int, str]) -> None:
        cells = "".join(f"{figures[processes]:<18}" for processes in _PROCESSES)
        print(f"{title:36}{cells}".rstrip(), flush=True)

    def rates(title: str, figures: Mapping[int, float]) -> Mapping[int, float]:
        line(title, {n: f"{rate:,.0f}" for n, rate in figures.items()})
        return figures

    accepted = rates("accepts a second", {n: accepts(place, n, seconds) for n in _PROCESSES})
    settled = rates(
        "claims + settles a second", {n: settles(place, n, seconds, count) for n in _PROCESSES}
    )
    through = {n: end_to_end(place, n, count // 5) for n in _PROCESSES}
    rates("end to end a second, 1 accepting", {n: rate for n, (rate, _) in through.items()})
    print("a claim, in ms: p50 / p99")
    claims: dict[str, dict[int, tuple[float, float]]] = {}
    for one_lane in (False, True):
        for waiting in backlogs:
            title = f"{waiting:,} waiting, {'one lane' if one_lane else 'a lane each'}"
            times = dict(claim_times(place, waiting, seconds, one_lane=one_lane))
            claims[title] = {n: (quantile(t, 50), quantile(t, 99)) for n, t in times.items()}
            cells = {n: f"{a * 1000:.2f} / {b * 1000:.2f}" for n, (a, b) in claims[title].items()}
            line(f"  {title}", cells)
    return {
        "accepts": accepted,
        "settles": settled,
        "end_to_end": {n: rate for n, (rate, _) in through.items()},
        "claims": claims,
        "sound": all(whole for _, whole in through.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 waiting, 2 s each")
    parser.add_argument("--seconds", type=float, help="for each figure, by default 5, quick 2")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), help="by default both")
    parser.add_argument("--postgres", help="a server's URL, by default one of its own")
    given = parser.parse_args()
    seconds = given.seconds or (2.0 if given.quick else 5.0)
    backlogs = (1_000, 100_000) if given.quick else (1_000, 100_000, 1_000_000)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, ExitStack() as stack:
        run = Run("stores", Path(folder), partial=is_partial(parser, given))
        if given.store != "postgresql":
            found["SQLite"] = measure("SQLite", Files(Path(folder)), seconds, backlogs)
        if given.store != "sqlite":
            url = given.postgres or stack.enter_context(postgres()).url
            server = Server(Databases(url))
            found["PostgreSQL"] = measure("PostgreSQL", server, seconds, backlogs)
        run.write({"seconds": seconds, "stores": found})
    sound = all(one["sound"] for one in found.values())
    if not sound:
        print("NOT EACH MESSAGE WAS SETTLED ONCE")
    sys.exit(not sound)


if __name__ == "__main__":
    main()
