"""Acknowledges a second with everything told, and with nothing, in one run.

    .venv/bin/python -m benchmarks.observed [--seconds 4] [--rounds 3]

Told: metrics, scraped every second, alerts, the log at its usual level, and the dashboard, open in
five browsers. One ingress and no
worker; the two take turns. The load generator has the other core.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2
import uvloop

from benchmarks import load
from benchmarks.processes import Process
from benchmarks.results import Run, is_partial
from offhook.bench.load import Load
from offhook.bench.results import Results
from testing.ports import free_port

_TOKEN = "correct-horse-battery"
_BROWSERS = 5
_PREPARED = 40_000  # made before the run; what a faster server wants is made in it


@dataclass(frozen=True)
class Setup:
    name: str
    log: str
    admin: int  # its port; 0 for none


@dataclass(frozen=True)
class Figures:
    rate: float
    cpu: float  # seconds a request, of all processes


def started(setup: Setup, port: int, folder: Path) -> Process:
    command = (sys.executable, "-m", "offhook", "ingress", "benchmarks.apps:quick")
    environment = {
        "TWILIO_ACCOUNT_SID": load.ACCOUNT,
        "TWILIO_AUTH_TOKEN": load.TOKEN,
        "OFFHOOK_PUBLIC_URL": load.PUBLIC_URL,
        "OFFHOOK_STORE": f"sqlite:///{folder}/offhook.db",
        "OFFHOOK_ADMIN_BIND": f"127.0.0.1:{setup.admin}" if setup.admin else "",
        "OFFHOOK_DASHBOARD_TOKEN": _TOKEN,
        "OFFHOOK_LOG_LEVEL": setup.log,
    }
    return Process([*command, "--port", str(port)], environment, folder / "log")


async def scrape(port: int) -> None:
    """Ask for the metrics every second, as an eager Prometheus would."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        while port:
            with suppress(httpx2.HTTPError):
                await client.get(f"http://127.0.0.1:{port}/metrics")
            await asyncio.sleep(1)


async def look_on(port: int) -> None:
    """Have the overview open, as a browser has."""
    url = f"http://127.0.0.1:{port}/dashboard"
    async with httpx2.AsyncClient(trust_env=False, timeout=None) as client:
        while port:
            with suppress(httpx2.HTTPError):
                await client.post(f"{url}/login", data={"token": _TOKEN})
                accepted = {"Accept": "text/event-stream"}
                async with client.stream("GET", url, headers=accepted) as stream:
                    async for _ in stream.aiter_bytes():
                        pass
            await asyncio.sleep(1)


async def measure(setup: Setup, seconds: float, folder: Path) -> Figures:
    port = free_port()
    supply = load.supply(_PREPARED)
    process = started(setup, port, folder)
    try:
        await load.until_up(port)
        others = [asyncio.create_task(look_on(setup.admin)) for _ in range(_BROWSERS)]
        others.append(asyncio.create_task(scrape(setup.admin)))
        await Load(load.target(port), supply, Results(), connections=64).closed(1.0)  # warm-up
        before, tally = process.cpu_seconds(), Results()
        await Load(load.target(port), supply, tally, connections=64).closed(seconds)
        cpu = (process.cpu_seconds() - before) / max(1, tally.answers)
        for other in others:
            other.cancel()
    finally:
        process.kill()
    return Figures(tally.rate, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    setups = (Setup("nothing", "error", 0), Setup("everything", "info", free_port()))
    found: dict[str, list[Figures]] = {setup.name: [] for setup in setups}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        run = Run("observed", Path(folder), partial=is_partial(parser, given))
        for number in range(given.rounds):
            for setup in setups:
                place = Path(folder) / f"{number}-{setup.name}"
                place.mkdir()
                found[setup.name].append(uvloop.run(measure(setup, given.seconds, place)))
        run.write({name: [asdict(one) for one in rounds] for name, rounds in found.items()})
    report(found)


def report(found: dict[str, list[Figures]]) -> None:
    print(f"{'told':12} {'max/s':>8} {'CPU a request':>15}")
    for name, rounds in found.items():
        rate = statistics.median(f.rate for f in rounds)
        cpu = statistics.median(f.cpu for f in rounds)
        print(f"{name:12} {rate:8,.0f} {cpu * 1e6:12.1f} us")
    nothing, everything = found.values()
    ratios = [told.rate / quiet.rate for told, quiet in zip(everything, nothing, strict=True)]
    shown = "  ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"throughput, everything to nothing, round by round: {shown}")


if __name__ == "__main__":
    main()
