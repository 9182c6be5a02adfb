"""Durable acknowledges a second, against an empty ASGI app on the same uvicorn, in one run.

    .venv/bin/python -m benchmarks.acknowledge [--seconds 5] [--rounds 3]

The two servers take turns, one process each; the load generator has the other core. It may be the
bottleneck for the empty app, so the server's CPU time a request is printed too: that ratio does
not depend on the generator.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import load

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Server:
    name: str
    app: str


SERVERS = (
    Server("empty ASGI app", "benchmarks.apps:empty"),
    Server("offhook, SQLite", "benchmarks.apps:durable"),
)


def start(server: Server, port: int, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TWILIO_ACCOUNT_SID": load.ACCOUNT,
        "TWILIO_AUTH_TOKEN": load.TOKEN,
        "OFFHOOK_PUBLIC_URL": load.PUBLIC_URL,
        "OFFHOOK_STORE": f"sqlite:///{folder}/offhook.db",
        "OFFHOOK_LOG_LEVEL": "warning",
    }
    return subprocess.Popen(
        [
            sys.executable, "-m", "uvicorn", server.app, "--port", str(port), "--loop", "uvloop",
            "--http", "httptools", "--no-access-log", "--log-level", "warning",
        ],
        cwd=_ROOT, env=environment,
    )  # fmt: skip


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    maximum: float
    cpu: float
    half: load.Result


async def measure(server: Server, seconds: float, folder: Path) -> Figures:
    port = load.free_port()
    process = start(server, port, folder)
    try:
        await load.until_up(port)
        await load.closed_loop(port, iter(load.webhooks(2000)), 1.0)  # warm-up
        requests = iter(load.webhooks(int(40_000 * seconds / 2)))
        before = cpu_seconds(process.pid)
        closed = await load.closed_loop(port, requests, seconds)
        cpu = (cpu_seconds(process.pid) - before) / len(closed.latencies)
        rate = closed.rate / 2
        half = await load.open_loop(port, iter(load.webhooks(int(rate * seconds))), rate, seconds)
    finally:
        process.terminate()
        process.wait()
    for result in (closed, half):
        if set(result.statuses) != {200}:
            sys.exit(f"{server.name}: not all were answered 200: {result.statuses}")
    return Figures(closed.rate, cpu, half)


def report(found: dict[str, list[Figures]]) -> None:
    print(f"{'':18} {'max/s':>8} {'CPU/request':>12} {'p50 at half':>12} {'p99 at half':>12}")
    for name, rounds in found.items():
        best = statistics.median(f.maximum for f in rounds)
        cpu = statistics.median(f.cpu for f in rounds)
        p50 = statistics.median(f.half.percentile(50) for f in rounds)
        p99 = statistics.median(f.half.percentile(99) for f in rounds)
        print(
            f"{name:18} {best:8,.0f} {cpu * 1e6:9.1f} µs {load.milliseconds(p50):>12} "
            f"{load.milliseconds(p99):>12}"
        )
    (empty, durable) = found.values()
    rates = [d.maximum / e.maximum for d, e in zip(durable, empty, strict=True)]
    cpus = [e.cpu / d.cpu for d, e in zip(durable, empty, strict=True)]
    print(f"ratio of the rates, round by round:      {_list(rates)}")
    print(f"ratio of the CPU times, round by round:  {_list(cpus)}")


def _list(ratios: list[float]) -> str:
    return "  ".join(f"{ratio:.2f}" for ratio in ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[Figures]] = {server.name: [] for server in SERVERS}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        p50, p99 = load.fsync_times(Path(folder))
        print(f"fsync of 4 KiB here: p50 {load.milliseconds(p50)}, p99 {load.milliseconds(p99)}")
        for number in range(given.rounds):
            for server in SERVERS:
                place = Path(folder) / f"{number}-{server.app.partition(':')[2]}"
                place.mkdir()
                found[server.name].append(uvloop.run(measure(server, given.seconds, place)))
    report(found)


if __name__ == "__main__":
    main()
