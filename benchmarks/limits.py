"""The targets that neither the comparison nor the others measure: what it costs at its limits.

    .venv/bin/python -m benchmarks.limits [--only idle start] [--backlog 1000000]

Refused signatures under load; answers while a million messages wait; replies a second, with a
Twilio that does nothing but answer; how soon an idle worker begins; what idling costs; how soon
`offhook dev` answers. Writes benchmarks/results/limits.json, which `benchmarks.targets` reads.
"""

import argparse
import asyncio
import itertools
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx2
import uvloop

from benchmarks import load
from benchmarks.peers.table import Peer
from benchmarks.processes import Process, command_line, cpu_seconds, memory
from benchmarks.results import Run, is_partial
from benchmarks.stage import Servers, Stage, staged
from offhook.arrivals.direct import reading
from offhook.bench.load import Load
from offhook.bench.requests import Mix, RequestKind, SignedRequest
from offhook.bench.results import Results
from offhook.ingress.reception import Reception
from offhook.settings import Settings
from offhook.stores import store_of
from testing.ports import free_port

_AT_ONCE: Final = 1000  # webhooks that are put into the backlog together
_SENDS: Final = "SELECT count(*) FROM sends WHERE state = 'sent'"
_IDLE: Final = 20.0  # seconds that idling is watched
_PATIENCE: Final = 30.0

Figures = dict[str, float]
"""Times in seconds, rates a second, memory in bytes."""


def _offhook(app: str, command: str = "ingress", *, worker: bool = False) -> Peer:
    return Peer(
        "offhook",
        f"offhook {command}",
        f"offhook {command} benchmarks.apps:{app} --port {{port}}",
        worker=f"offhook worker benchmarks.apps:{app}" if worker else "",
    )


class Places:
    """Gives each measurement a stage of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._number = itertools.count()

    def stage(self, peer: Peer) -> Stage:
        place = self._folder / str(next(self._number))
        return self._stack.enter_context(staged(peer, Servers.none(), place))


async def refused(places: Places, given: argparse.Namespace) -> Figures:
    """p99 of forged webhooks, one in ten, at half of the maximum."""
    stage = places.stage(_offhook("quick"))
    stage.start_ingress()
    await stage.until_up()
    closed, half = Results(), Results()
    supply = load.supply(mix=Mix(forged=10))
    await _load(stage, supply, Results()).closed(1.0)
    await _load(stage, supply, closed).closed(given.seconds)
    await _load(stage, supply, half).open(closed.rate / 2, given.seconds)
    return {"refused_p99": half.times[RequestKind.FORGED].percentile(99)}


async def backlog(places: Places, given: argparse.Namespace) -> Figures:
    """p99 with so many messages in the store, to that with none, in turns."""
    empty, full = (places.stage(_offhook("quick")) for _ in range(2))
    await _fill(full.folder / "offhook.db", given.backlog)
    for stage in (empty, full):
        stage.start_ingress()
        await stage.until_up()
        await _load(stage, load.supply(), Results()).open(given.rate, 1.0)
    ratios = []
    for _ in range(given.rounds):
        times = []
        for stage in (empty, full):
            tally = Results()
            await _load(stage, load.supply(), tally).open(given.rate, given.seconds)
            times.append(tally.percentile(99))
        ratios.append(times[1] / times[0])
    return {"backlog": given.backlog, "backlog_ratio": statistics.median(ratios)}


async def _fill(database: Path, count: int) -> None:
    """Put messages into a store as webhooks do, but for the way over HTTP."""
    settings = Settings.load(
        env_file=None,
        account_sid=load.ACCOUNT,
        auth_token=load.TOKEN,
        store=f"sqlite:///{database}",
    )
    store = store_of(settings)
    await store.open()
    reception = Reception(reading(store.accept), settings, lambda _event: None)
    supply = load.supply(conversations=100_000)
    for start in range(0, count, _AT_ONCE):
        some = itertools.islice(supply, min(_AT_ONCE, count - start))
        await asyncio.gather(*(reception.receive(load.parsed(shot.data)) for shot in some))
    await store.close()


async def replies(places: Places, given: argparse.Namespace) -> Figures:
    """Messages a second that are handled and replied to, from what has piled up.

    And the worker's CPU time for each, which tells more where other processes take part of it.
    """
    twilio = places.stage(
        Peer("twilio", "Twilio", "uvicorn benchmarks.apps:twilio --port {port} --log-level error")
    )
    twilio.start_ingress()
    await twilio.until_up()
    stage = places.stage(_offhook("replying", worker=True))
    stage.set(OFFHOOK_TWILIO_API=f"http://127.0.0.1:{twilio.port}")
    stage.start_ingress()
    await stage.until_up()
    count = int(1500 * given.seconds)
    await _load(stage, load.supply(conversations=count), Results()).open(1500, given.seconds)
    worker = stage.start_worker()
    database = stage.folder / "offhook.db"
    await _until(lambda: _count(database) > 0, stage)
    family = worker.family() if worker else []
    first, began, before = _count(database), time.monotonic(), cpu_seconds(family)
    # To the end: what is sorted and claimed before its turn belongs to its reply.
    while (sent := _count(database)) < count and time.monotonic() - began < 10 * given.seconds:
        await asyncio.sleep(0.1)
    took, used = time.monotonic() - began, cpu_seconds(family) - before
    return {"replies": (sent - first) / took, "replies_cpu": used / (sent - first)}


def _count(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return int(connection.execute(_SENDS).fetchone()[0])


class _Moments(Results):
    """Remembers when each answer came."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: dict[str, float] = {}

    def answer(self, shot: SignedRequest, status: int, seconds: float) -> None:
        super().answer(shot, status, seconds)
        self.moments[shot.sid] = time.monotonic()


async def wake(places: Places, _given: argparse.Namespace) -> Figures:
    """Seconds from the acknowledge to the start of the handler, with a worker that idles."""
    stage = places.stage(_offhook("noting", "run"))
    stage.start_ingress()
    await stage.until_up()
    answered = _Moments()
    warm = _load(stage, load.supply(), Results())
    await warm.open(10, 2.0)
    await _until(lambda: len(_noted(stage)) == 20, stage)
    await _load(stage, load.supply(), answered).open(20, 5.0)
    await _until(lambda: len(_noted(stage)) == 120, stage)
    noted = _noted(stage)
    waits = [max(0.0, noted[sid] - moment) for sid, moment in answered.moments.items()]
    return {"wake_p50": statistics.median(waits)}


def _noted(stage: Stage) -> dict[str, float]:
    if not stage.handled.exists():
        return {}
    rows = (line.split() for line in stage.handled.read_text("ascii").splitlines())
    return {sid: float(moment) for sid, moment in rows}


async def idle(places: Places, _given: argparse.Namespace) -> Figures:
    """CPU and memory of `offhook run` that has nothing to do.

    What answers and what works is by itself; beside it, what starts them and tells of them.
    """
    stage = places.stage(_offhook("quick", "run"))
    stage.set(OFFHOOK_ADMIN_BIND=f"127.0.0.1:{free_port()}")  # it is on by default
    process = stage.start_ingress()
    await stage.until_up()
    await _load(stage, load.supply(), Results()).open(10, 1.0)
    await asyncio.sleep(5.0)  # what starting and that load have left to do
    counted, beside = roles(process)
    before = cpu_seconds(counted), cpu_seconds(beside)
    await asyncio.sleep(_IDLE)
    after = cpu_seconds(counted), cpu_seconds(beside)
    return {
        "idle_cpu": (after[0] - before[0]) / _IDLE,
        "idle_memory": float(memory(counted)),
        "idle_cpu_beside": (after[1] - before[1]) / _IDLE,
        "idle_memory_beside": float(memory(beside)),
    }


def roles(process: Process) -> tuple[list[int], list[int]]:
    """Return the ingress and the worker, and the supervisor and the admin process.

    Raises:
        RuntimeError: it is not these four that run.
    """
    commands = {pid: command_line(pid) for pid in process.family()}
    counted = [pid for pid, command in commands.items() if " offhook.process.main " in command]
    beside = [pid for pid in commands if pid not in counted]
    if (len(counted), len(beside)) != (2, 2):
        raise RuntimeError(f"not an ingress, a worker, and two beside: {commands}")
    return counted, beside


async def start(places: Places, given: argparse.Namespace) -> Figures:
    """Seconds from the command to the first answer of `offhook dev`."""
    times = []
    for _ in range(given.rounds):
        stage = places.stage(_offhook("quick", "dev --no-reload"))
        stage.set(XDG_RUNTIME_DIR=str(stage.folder))
        began = time.monotonic()
        stage.start_ingress()
        async with httpx2.AsyncClient(trust_env=False) as client:
            while not await _answers(client, stage):
                await asyncio.sleep(0.01)
        times.append(time.monotonic() - began)
        stage.stop()
    return {"start": statistics.median(times)}


async def _answers(client: httpx2.AsyncClient, stage: Stage) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{stage.port}/healthz")).is_success
    except httpx2.ConnectError:
        return False


def _load(stage: Stage, supply: Iterable[SignedRequest], tally: Results) -> Load:
    return Load(stage.target, iter(supply), tally, connections=64)


async def _until(true: Callable[[], bool], stage: Stage) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > end:
            raise RuntimeError(f"{stage.peer.title} did not get so far:\n{stage.explain()}")
        await asyncio.sleep(0.05)


MEASURES: Final[dict[str, Callable[[Places, argparse.Namespace], Awaitable[Figures]]]] = {
    "refused": refused, "backlog": backlog, "replies": replies, "wake": wake, "idle": idle,
    "start": start,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--backlog", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=1000.0, help="webhooks a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the file for the figures")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd()))
    try:
        run = Run("limits", folder, partial=is_partial(parser, given), out=given.out)
        figures: Figures = {}
        for name in given.only:
            with ExitStack() as stack:
                found = uvloop.run(_run(MEASURES[name], Places(folder, stack), given))
            figures |= found
            print(f"{name:8} " + ", ".join(f"{key} {value:,.4f}" for key, value in found.items()))
            shutil.rmtree(folder)
            folder.mkdir()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    run.write(figures)


async def _run(
    measure: Callable[[Places, argparse.Namespace], Awaitable[Figures]],
    places: Places,
    given: argparse.Namespace,
) -> Figures:
    return await measure(places, given)


if __name__ == "__main__":
    main()
