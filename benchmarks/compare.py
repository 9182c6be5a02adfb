"""offhook beside what else one would build, in one run on one machine.

    make bench      # about 15 minutes: the ceiling, the naive app, an INSERT each, arq, offhook
    make bench-all  # about 40: all that benchmarks/peers/ has

Each peer is started on its own, gets the same signed webhooks, and takes its turn in each round.
First as fast as it answers, then at half of its own maximum, each request timed from the moment it
was due; no worker runs yet, so that answering is measured by itself (`make soak` has both at once).
Then its worker is started on what has piled up. In the end all of its processes are killed
in mid-load and started again, and what it had acknowledged but not handled is counted.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks import load, wrk
from benchmarks.drill import Loss, drain_rate, kill_in_mid_load
from benchmarks.peers.table import PEERS, Peer
from benchmarks.results import Run, is_partial
from benchmarks.stage import Servers, Stage, staged
from offhook.bench.ceiling import NEAR_CEILING, ceiling
from offhook.bench.load import Load
from offhook.bench.plot import points
from offhook.bench.requests import RequestSource
from offhook.bench.results import Histogram, Results, figures

_CONNECTIONS: Final = 64
_WARM_UP: Final = 1.0


@dataclass(frozen=True, slots=True)
class Round:
    """What was measured of one peer in one round.

    Attributes:
        maximum: acknowledges a second.
        by: what measured the maximum.
        cpu: seconds of the answering processes for a request, their database's not included.
        memory: bytes of the answering processes.
        half: times at half of the maximum.
        end_to_end: messages handled a second; none without a handler.
    """

    maximum: float
    by: str
    cpu: float
    memory: int
    half: Histogram
    end_to_end: float | None


@dataclass(slots=True)
class Found:
    """All that was measured of one peer."""

    peer: Peer
    rounds: list[Round] = field(default_factory=list)
    loss: Loss | None = None

    def as_object(self, ceiling: float) -> dict[str, Any]:
        times = Histogram()
        for one in self.rounds:
            times.add(one.half)
        ends = [one.end_to_end for one in self.rounds if one.end_to_end is not None]
        maximum = statistics.median(one.maximum for one in self.rounds)
        by = self.rounds[-1].by
        return {
            "title": self.peer.title,
            "maximum": round(maximum, 1),
            "maxima": [round(one.maximum, 1) for one in self.rounds],
            "by": by,
            "near_ceiling": by == "bench" and maximum > NEAR_CEILING * ceiling,
            "cpu": statistics.median(one.cpu for one in self.rounds),
            "memory": statistics.median(one.memory for one in self.rounds),
            "half": {
                **figures(times),
                **{
                    name: statistics.median(figures(one.half)[name] for one in self.rounds)
                    for name in ("p50", "p99", "p99.9")
                },
            },
            "curve": points(times),
            "end_to_end": round(statistics.median(ends), 1) if ends else None,
            "killed": None if self.loss is None else asdict(self.loss),
            "returns": self.peer.returns,
        }


async def measure(stage: Stage, seconds: float, generator: float) -> Round:
    """Find the maximum, the times at half of it, and what the worker handles."""
    ingress = stage.start_ingress()
    await stage.until_up()
    supply = stage.supply()
    warm = Results()
    await _load(stage, supply, warm).closed(_WARM_UP)
    supply.prepare(int(warm.rate * seconds * 1.3))
    handled, cpu = stage.handled_count(), ingress.cpu_seconds()
    closed = Results()
    await _load(stage, supply, closed).closed(seconds)
    cpu = (ingress.cpu_seconds() - cpu) / max(1, closed.answers)
    inline = (stage.handled_count() - handled) / closed.seconds
    maximum, by = closed.rate, "bench"
    if maximum > NEAR_CEILING * generator and not stage.peer.handles and wrk.is_installed():
        maximum, by = max(maximum, wrk.rate(stage.target, next(supply), seconds)), "wrk"
    rate = closed.rate / 2
    supply.prepare(int(rate * seconds))
    half = Results()
    await _load(stage, supply, half).open(rate, seconds)
    memory = ingress.memory()
    for tally in (warm, closed, half):
        if not tally.good:
            raise RuntimeError(f"{stage.peer.title}: {tally.as_object()}\n{stage.explain()}")
        stage.accepted += tally.answers
    end_to_end: float | None = None
    if stage.peer.worker:
        end_to_end = drain_rate(stage, seconds)
    elif stage.peer.handles:
        end_to_end = inline
    return Round(maximum, by, cpu, memory, half.all_times(), end_to_end)


def _load(stage: Stage, supply: RequestSource, tally: Results) -> Load:
    return Load(stage.target, supply, tally, connections=_CONNECTIONS)


def run(peers: Sequence[Peer], seconds: float, rounds: int, folder: Path) -> dict[str, Any]:
    """Run all, in turn; return what was measured, for a file."""
    generator = uvloop.run(ceiling(load.target(1), connections=_CONNECTIONS))
    print(f"the generator's own ceiling: {generator:,.0f}/s", flush=True)
    found = {peer.name: Found(peer) for peer in peers}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        servers = Servers(stack, folder)
        for number in range(rounds):
            for peer in peers:
                _tell(f"round {number + 1} of {rounds}: {peer.title}")
                with _noted(peer, failed), staged(peer, servers, folder / peer.name) as stage:
                    found[peer.name].rounds.append(uvloop.run(measure(stage, seconds, generator)))
        for peer in peers:
            if peer.handles and peer.name not in failed:
                _tell(f"killed in mid-load: {peer.title}")
                with _noted(peer, failed), staged(peer, servers, folder / peer.name) as stage:
                    found[peer.name].loss = uvloop.run(kill_in_mid_load(stage))
    return {
        "seconds": seconds,
        "rounds": rounds,
        "connections": _CONNECTIONS,
        "generator": round(generator, 1),
        "peers": {
            name: one.as_object(generator) for name, one in found.items() if name not in failed
        },
        "failed": failed,
    }


@contextmanager
def _noted(peer: Peer, failed: dict[str, str]) -> Iterator[None]:
    """Note why a peer could not be measured; the others go on."""
    try:
        yield
    except RuntimeError as error:
        failed[peer.name] = str(error)
        _tell(str(error))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--all", action="store_true", help="also those that `make bench` leaves out"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round: 5 minutes, to try it"
    )
    parser.add_argument("--only", nargs="+", metavar="PEER", choices=[peer.name for peer in PEERS])
    parser.add_argument("--seconds", type=float, help="of each loop (8; 1.5 with --quick)")
    parser.add_argument("--rounds", type=int, help="in which all take turns (3; 1 with --quick)")
    parser.add_argument("--out", type=Path, help="the file for the figures")
    given = parser.parse_args()
    seconds = given.seconds or (1.5 if given.quick else 8.0)
    rounds = given.rounds or (1 if given.quick else 3)
    wanted = [
        peer
        for peer in PEERS
        if (peer.name in given.only if given.only else peer.quick or given.all)
    ]
    left_out = {peer.title: missing for peer in wanted if (missing := peer.missing())}
    peers = [peer for peer in wanted if peer.title not in left_out]
    for title, missing in left_out.items():
        print(f"left out: {title}: {missing}")
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd()))
    try:
        one = Run(
            "compare-all" if given.all else "compare",
            folder,
            partial=is_partial(parser, given, "all") or bool(left_out),
            out=given.out,
        )
        results = run(peers, seconds, rounds, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(results)
    one.write(results)
    if results["failed"]:
        sys.exit(f"not measured, for the reason above: {', '.join(results['failed'])}")


def report(results: dict[str, Any]) -> None:
    """Print a line for each peer."""
    print(
        f"\n{'':34} {'max/s':>8} {'CPU/req':>9} {'p50':>8} {'p99':>8} {'p99.9':>8} "
        f"{'memory':>8} {'handled/s':>10} {'lost':>10}"
    )
    for one in results["peers"].values():
        half = one["half"]
        times = " ".join(f"{half[name] * 1000:6.2f}ms" for name in ("p50", "p99", "p99.9"))
        ends = "" if one["end_to_end"] is None else f"{one['end_to_end']:,.0f}"
        killed = one["killed"]
        lost = f"{killed['missing']} of {killed['acknowledged']}" if killed else ""
        mark = " *" if one["near_ceiling"] else f" ({one['by']})" if one["by"] != "bench" else ""
        print(
            f"{one['title']:34} {one['maximum']:8,.0f} {one['cpu'] * 1e6:7.0f}µs {times} "
            f"{one['memory'] / 2**20:5.0f} MB {ends:>10} {lost:>10}{mark}"
        )
    if any(one["near_ceiling"] for one in results["peers"].values()):
        print("* over 70 % of what the generator can send: it may be faster")


if __name__ == "__main__":
    main()
