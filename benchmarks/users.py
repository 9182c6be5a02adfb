"""Many people at once: 10,000 open connections, 100,000 conversations.

    .venv/bin/python -m benchmarks.users [--connections 10000] [--conversations 100000]

`offhook run` on SQLite. All connections are opened first, and each is used in turn, so that all
stay in use; each conversation writes once. Prints how many were acknowledged, and how long it took
them; exits with status 1 if any was not. Needs as many open files as connections, in both
processes: it raises the limit, and says so when it may not.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks import load
from benchmarks.peers.table import Peer
from benchmarks.results import Run, is_partial
from benchmarks.stage import Servers, Stage, staged
from offhook.bench.load import Load
from offhook.bench.results import Results
from offhook.bench.target import allow_open_files

_PEER: Final = Peer("run", "offhook run", "offhook run benchmarks.apps:quick --port {port}")
_WARM_UP: Final = 3.0
_NEVER_STALE: Final = 60.0  # seconds; `offhook run` keeps idle connections for 75


async def measure(stage: Stage, connections: int, conversations: int, rate: float) -> Results:
    """Open all connections, then let each conversation write once."""
    stage.start_ingress()
    await stage.until_up()
    warm = Load(stage.target, load.supply(), Results(), connections=64)
    await warm.open(rate, _WARM_UP)
    tally = Results()
    crowd = Load(
        stage.target,
        load.supply(conversations, conversations=conversations),
        tally,
        connections=connections,
        stale=_NEVER_STALE,
    )
    await crowd.open_connections()
    print(f"{connections:,} connections are open", flush=True)
    await crowd.open(rate, conversations / rate)
    return tally


def figures(tally: Results, given: argparse.Namespace) -> dict[str, Any]:
    """Return what the documentation tells; times in seconds."""
    return {
        "connections": given.connections,
        "conversations": given.conversations,
        "rate": given.rate,
        "acknowledged": tally.statuses[200],
        "wrong": tally.unexpected + tally.errors.total(),
        "seconds": tally.seconds,
        **{f"p{p:g}": tally.percentile(p) for p in (50, 99, 99.9)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=2000.0, help="webhooks a second")
    given = parser.parse_args()
    allow_open_files(given.connections)  # the processes that we start inherit it
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd()))
    try:
        run = Run("users", folder, partial=is_partial(parser, given))
        with staged(_PEER, Servers.none(), folder / "users") as stage:
            stage.set(OFFHOOK_MAX_CONNECTIONS=str(given.connections + 100))
            tally = uvloop.run(measure(stage, given.connections, given.conversations, given.rate))
        run.write(figures(tally, given))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    times = " ".join(f"p{p:g} {load.milliseconds(tally.percentile(p))}" for p in (50, 99, 99.9))
    acknowledged = tally.statuses[200]
    print(
        f"acknowledged: {acknowledged:,} of {given.conversations:,}; {tally.rate:,.0f}/s; {times}"
    )
    if not tally.good:
        print(f"not as it should be: {tally.as_object()}")
    sys.exit(not tally.good or acknowledged < given.conversations)


if __name__ == "__main__":
    main()
