"""100,000 forged requests a minute beside 100 real ones a second: is every real one acknowledged?

    .venv/bin/python -m benchmarks.flood [--seconds 60] [--forged 100000] [--rate 100]

One `offhook ingress`. The forged are like the real ones but for the token, no two alike, so that no
cache knows them; 1,500 connections more say nothing at all. Real ones are due at a constant
rate and timed from the moment they were due, first alone, then in the flood. Exit status 1 if one
of them was not acknowledged, or a forged one was not refused.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks import load
from benchmarks.results import Run, is_partial
from offhook.bench.requests import Mix
from offhook.bench.results import Results
from testing.memory import resident
from testing.ports import free_port

_ROOT = Path(__file__).parent.parent
_ALONE = 0.25  # of the flood's time: for the comparison


@dataclass(frozen=True)
class Found:
    alone: Results
    real: Results
    forged: Results
    memory: tuple[int, int, int]
    cut: int
    cpu: float


@contextmanager
def ingress(port: int, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        "TWILIO_ACCOUNT_SID": load.ACCOUNT,
        "TWILIO_AUTH_TOKEN": load.TOKEN,
        "OFFHOOK_PUBLIC_URL": load.PUBLIC_URL,
        "OFFHOOK_STORE": f"sqlite:///{folder}/offhook.db",
        "OFFHOOK_ADMIN_BIND": "",
    }
    command = [sys.executable, "-m", "offhook", "ingress", "benchmarks.apps:quick"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=_ROOT, env={**os.environ, **environment}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def answering(supervisor: int) -> int:
    """Return the process that answers."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii")
    (child,) = children.split()
    return int(child)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Silent:
    """Connections that say nothing."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self._readers: list[asyncio.StreamReader] = []

    async def open(self, port: int, count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._readers.append(reader)
            self._writers.append(writer)

    def cut(self) -> int:
        """Return how many the server has cut off."""
        return sum(one.at_eof() or one.exception() is not None for one in self._readers)

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def measure(port: int, supervisor: int, given: argparse.Namespace) -> Found:
    await load.until_up(port)
    await load.open_loop(port, load.supply(), 500, 2.0)  # warm-up
    pid = answering(supervisor)
    before = resident(pid)
    most = before
    seconds, rate = given.seconds, given.rate
    real = load.supply(int(rate * seconds * (1 + _ALONE)))
    alone = await load.open_loop(port, real, rate, seconds * _ALONE, 16)
    silent = Silent()
    await silent.open(port, given.silent)

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, resident(pid))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    spent = cpu_seconds(pid)
    flood = load.supply(int(given.forged / 60 * seconds), mix=Mix(forged=100.0))
    flooded, refused = await asyncio.gather(
        load.open_loop(port, real, rate, seconds, 16),
        load.open_loop(port, flood, given.forged / 60, seconds, 128),
    )
    spent = cpu_seconds(pid) - spent
    watching.cancel()
    cut = silent.cut()
    await silent.close()
    return Found(alone, flooded, refused, (before, most, resident(pid)), cut, spent)


def report(found: Found, given: argparse.Namespace) -> bool:
    print(f"{'':22} {'requests':>9} {'p50':>11} {'p99':>11} {'longest':>11}  answers")
    rows = {"real, alone": found.alone, "real, in the flood": found.real, "forged": found.forged}
    for name, result in rows.items():
        times = "".join(f" {load.milliseconds(result.percentile(p)):>11}" for p in (50, 99, 100))
        print(f"{name:22} {result.answers:9,}{times}  {dict(result.statuses | result.errors)}")
    ratio = found.real.percentile(99) / found.alone.percentile(99)
    print(f"p99 of the real ones in the flood: {ratio:.2f} x that alone")
    before, most, after = (size / 2**20 for size in found.memory)
    print(
        f"memory of the process that answers: {before:.0f} MiB before, "
        f"{most:.0f} at most, {after:.0f} after"
    )
    each = found.cpu / (found.real.answers + found.forged.answers)
    print(
        f"its CPU time in the flood: {found.cpu / given.seconds:.0%}, {each * 1e6:.0f} µs a request"
    )
    print(f"silent connections: {given.silent:,} opened, {found.cut:,} cut off to make room")
    return found.alone.good and found.real.good and found.forged.good


def figures(found: Found) -> dict[str, float]:
    """Return what the documentation tells; times in seconds."""
    before, most, _ = found.memory
    return {
        "real": found.real.answers,
        "forged": found.forged.answers,
        "real p99": found.real.percentile(99),
        "alone p99": found.alone.percentile(99),
        "forged p99": found.forged.percentile(99),
        "growth": most - before,
        "cpu": found.cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--forged", type=int, default=100_000, help="a minute")
    parser.add_argument("--rate", type=float, default=100.0, help="real ones a second")
    parser.add_argument("--silent", type=int, default=1500, help="connections that say nothing")
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # ours, for the silent connections
    port = free_port()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        run = Run("flood", folder, partial=is_partial(parser, given))
        with ingress(port, folder) as process:
            found = uvloop.run(measure(port, process.pid, given))
    held = report(found, given)
    run.write(figures(found))
    print("every real one was acknowledged, every forged one refused" if held else "NOT SO")
    sys.exit(not held)


if __name__ == "__main__":
    main()
