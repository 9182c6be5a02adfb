"""Redis killed, started, frozen and let go under load: no error answers, and no slower ones.

    .venv/bin/python -m benchmarks.redis_outage [--seconds 10] [--rate 300] [--rounds 3]

One `offhook ingress` of two processes and a Valkey. Webhooks are due at a constant rate and timed
from the moment they were due; a quarter are repeats, which the other process may have
answered. Each phase begins with what is done to Redis. A ratio is to the calm
phase of the same round, and what counts is its median over the rounds. Exit status 1 if an answer
was an error, or if a p99 is more than 1.5 x that of the calm.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from benchmarks import load
from benchmarks.outage import running
from benchmarks.results import Run, is_partial
from offhook.bench.requests import Mix
from offhook.bench.results import Results
from testing.ports import free_port
from testing.valkey import Valkey, valkey

LIMIT = 1.5
_CALM = "calm"
_WARM_UP = 2.0  # seconds
_REPEATS = 25.0  # percent


async def round_of(server: Valkey, port: int, rate: float, seconds: float) -> dict[str, Results]:
    """Send webhooks without a pause while Redis goes and comes."""
    phases: Mapping[str, Callable[[], None] | None] = {
        _CALM: None,
        "killed": server.kill,
        "started again": server.start,
        "frozen": server.freeze,
        "let go": server.thaw,
    }
    count = int(rate * (_WARM_UP + seconds * len(phases)))
    requests = load.supply(count, mix=Mix(repeats=_REPEATS))
    await load.open_loop(port, requests, rate, _WARM_UP)
    found = {}
    for name, begin in phases.items():
        beginning = asyncio.create_task(asyncio.to_thread(begin or (lambda: None)))
        found[name] = await load.open_loop(port, requests, rate, seconds)
        await beginning
    return found


def report(rounds: Sequence[Mapping[str, Results]]) -> bool:
    print(f"{'':16} {'answers':>9} {'errors':>7} {'p50':>11} {'p99':>11} {'p99 to calm':>12}")
    held = True
    for name in rounds[0]:
        results = [one[name] for one in rounds]
        answers = sum(result.answers for result in results)
        errors = sum(result.unexpected + result.errors.total() for result in results)
        p50, p99 = (statistics.median(r.percentile(p) for r in results) for p in (50, 99))
        ratio = _ratio(rounds, name)
        held = held and not errors and ratio <= LIMIT
        print(
            f"{name:16} {answers:9,} {errors:7,} {load.milliseconds(p50):>11} "
            f"{load.milliseconds(p99):>11} {ratio:12.2f}"
        )
    return held


def _ratio(rounds: Sequence[Mapping[str, Results]], name: str) -> float:
    return statistics.median(one[name].percentile(99) / one[_CALM].percentile(99) for one in rounds)


def figures(rounds: Sequence[Mapping[str, Results]]) -> dict[str, float]:
    """Return what the documentation tells: p99 to that of the calm, and how many were errors."""
    errors = sum(t.unexpected + t.errors.total() for one in rounds for t in one.values())
    return {name: _ratio(rounds, name) for name in rounds[0]} | {"errors": errors}


def measure(given: argparse.Namespace, folder: Path) -> list[dict[str, Results]]:
    port = free_port()
    with valkey(folder / "valkey") as server:
        environment = {
            "TWILIO_ACCOUNT_SID": load.ACCOUNT,
            "TWILIO_AUTH_TOKEN": load.TOKEN,
            "OFFHOOK_PUBLIC_URL": load.PUBLIC_URL,
            "OFFHOOK_STORE": f"sqlite:///{folder}/offhook.db",
            "OFFHOOK_CACHE": server.url,
            "OFFHOOK_ADMIN_BIND": "",
            "OFFHOOK_LOG_LEVEL": "warning",
        }
        command = ("ingress", "benchmarks.apps:quick", "--port", str(port), "--ingresses", "2")
        with running(*command, environment=environment):
            uvloop.run(load.until_up(port))
            return [
                uvloop.run(round_of(server, port, given.rate, given.seconds))
                for _ in range(given.rounds)
            ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase")
    parser.add_argument("--rate", type=float, default=300.0, help="webhooks a second")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        run = Run("redis_outage", Path(folder), partial=is_partial(parser, given))
        rounds = measure(given, Path(folder))
        held = report(rounds)
        run.write(figures(rounds))
    print("no answer was an error, and none was slower for it" if held else "NOT SO: see above")
    sys.exit(not held)


if __name__ == "__main__":
    main()
