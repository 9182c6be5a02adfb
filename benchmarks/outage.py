"""PostgreSQL is gone for a minute, under load: every webhook acknowledged, each settled once.

    .venv/bin/python -m benchmarks.outage [--seconds 60] [--rate 300]

One `offhook ingress` with a spool and one `offhook worker`, a PostgreSQL of its own that is stopped
as by a power cut and started again. Webhooks are due at a constant rate, whether they are answered
or not, and each is timed from the moment it was due. Exit status 1 if one was refused or lost, or
settled twice.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import load
from benchmarks.results import Run, is_partial
from offhook.bench.results import Results
from testing.ports import free_port
from testing.postgres import PostgresServer, postgres

_ROOT = Path(__file__).parent.parent
_AROUND = 15.0  # seconds before and after the outage
_START = 3.0  # seconds in which the processes still load the app
_PATIENCE = 120.0  # seconds until all must be settled
_COUNT = "SELECT state, count(*), count(DISTINCT sid) FROM offhook.messages GROUP BY state"


@contextmanager
def running(*arguments: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a command of offhook's until the end of the context."""
    command = [sys.executable, "-m", "offhook", *arguments]
    process = subprocess.Popen(command, cwd=_ROOT, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def measure(
    server: PostgresServer, port: int, rate: float, outage: float
) -> dict[str, Results]:
    """Send webhooks without a pause while the server goes and comes."""
    total = _START + 2 * _AROUND + outage
    requests = load.supply(int(rate * total))
    await load.until_up(port)
    start = await load.open_loop(port, requests, rate, _START)
    before = await load.open_loop(port, requests, rate, _AROUND)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop, "immediate"))
    during = await load.open_loop(port, requests, rate, outage)
    await stopping
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    after = await load.open_loop(port, requests, rate, _AROUND)
    await starting
    return {"start": start, "before": before, "during": during, "after": after}


def settled(server: PostgresServer, database: str) -> tuple[dict[str, int], int]:
    """Return how many messages are in each state, and how many are there more than once."""
    lines = server.execute(_COUNT, database=database).split()
    rows = [line.split("|") for line in lines]
    return (
        {state: int(count) for state, count, _ in rows},
        sum(int(count) - int(distinct) for _, count, distinct in rows),
    )


def until_settled(
    server: PostgresServer, database: str, expected: int
) -> tuple[dict[str, int], int, float]:
    """Wait for the last one; return what there is, and how long it took."""
    began = time.monotonic()
    while True:
        states, twice = settled(server, database)
        took = time.monotonic() - began
        if states.get("done", 0) >= expected or took > _PATIENCE:
            return states, twice, took
        time.sleep(0.2)


def report(found: Mapping[str, Results]) -> tuple[int, int]:
    """Print the phases; return how many were acknowledged, and how many were not."""
    print(f"{'':8} {'acknowledged':>13} {'refused':>8} {'p50':>11} {'p99':>11} {'longest':>11}")
    counts = []
    for name, result in found.items():
        acknowledged = result.statuses.get(200, 0)
        refused = result.answers - acknowledged + result.errors.total()
        counts.append((acknowledged, refused))
        times = "".join(f" {load.milliseconds(result.percentile(p)):>11}" for p in (50, 99, 100))
        print(f"{name:8} {acknowledged:13,} {refused:8,}{times}")
    return sum(a for a, _ in counts), sum(r for _, r in counts)


def measured(seconds: float, rate: float, folder: Path) -> dict[str, Any]:
    """Return what became of the webhooks; times in seconds."""
    port = free_port()
    with postgres() as server:
        environment = {
            "TWILIO_ACCOUNT_SID": load.ACCOUNT,
            "TWILIO_AUTH_TOKEN": load.TOKEN,
            "OFFHOOK_PUBLIC_URL": load.PUBLIC_URL,
            "OFFHOOK_STORE": server.create_database("outage"),
            "OFFHOOK_SPOOL": f"sqlite:///{folder}/spool.db",
            "OFFHOOK_ADMIN_BIND": "",
            "OFFHOOK_LOG_LEVEL": "warning",
            "OFFHOOK_SLOW_NOTICE": "",  # there is no Twilio to send it
        }
        app = "benchmarks.apps:quick"
        with (
            running("ingress", app, "--port", str(port), environment=environment),
            running("worker", app, environment=environment),
        ):
            found = uvloop.run(measure(server, port, rate, seconds))
            acknowledged, refused = report(found)
            states, twice, took = until_settled(server, "outage", acknowledged)
    print(f"settled {took:.1f} s after the last webhook: {states}; stored twice: {twice}")
    return {
        "seconds": seconds,
        "rate": rate,
        "acknowledged": acknowledged,
        "refused": refused,
        "states": states,
        "twice": twice,
        "settled_after": took,
        "p99": {name: result.percentile(99) for name, result in found.items()},
        "held": not refused and not twice and states == {"done": acknowledged},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for which PostgreSQL is gone")
    parser.add_argument("--rate", type=float, default=300.0, help="webhooks a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        run = Run("outage", Path(folder), partial=is_partial(parser, given))
        found = measured(given.seconds, given.rate, Path(folder))
        run.write(found)
    print("every one was acknowledged, and settled once" if found["held"] else "NOT SO: see above")
    sys.exit(not found["held"])


if __name__ == "__main__":
    main()
