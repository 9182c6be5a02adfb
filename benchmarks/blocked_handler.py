"""Acknowledge times under `offhook run` while handlers wait, block or burn, in one run.

    .venv/bin/python -m benchmarks.blocked_handler [--seconds 15] [--rounds 2] [--rate 300]

Every bot gets the same signed load at a constant rate, each request measured from the moment it was
due; the bots take turns. The target is a p99 within 1.5 times that of a bot whose handler does
nothing: a handler may not delay an answer, whatever it does.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks import load
from benchmarks.results import Run, is_partial
from offhook.bench.results import Results
from testing.ports import free_port

_ROOT = Path(__file__).parent.parent
_TARGET = 1.5
_WARM_UP = 3.0  # seconds: handlers have begun, and the first of those that block holds its process

BOTS = {
    "quick": "the handler does nothing",
    "waiting": "await asyncio.sleep(60)",
    "blocking": "time.sleep(60) in async def",
    "burning": "an endless loop",
}


def start(bot: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "TWILIO_ACCOUNT_SID": load.ACCOUNT,
        "TWILIO_AUTH_TOKEN": load.TOKEN,
        "OFFHOOK_PUBLIC_URL": load.PUBLIC_URL,
        "OFFHOOK_STORE": f"sqlite:///{folder}/offhook.db",
        "OFFHOOK_TWILIO_API": "http://127.0.0.1:9",  # notices are written, and never connect
        "OFFHOOK_DRAIN_TIMEOUT": "1",
        "OFFHOOK_ADMIN_BIND": "",
        "OFFHOOK_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "offhook", "run", f"benchmarks.apps:{bot}"]
    return subprocess.Popen(
        [*command, "--port", str(port)], cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL
    )


async def measure(bot: str, rate: float, seconds: float, folder: Path) -> Results:
    port = free_port()
    process = start(bot, port, folder)
    try:
        await load.until_up(port)
        count = int(rate * (seconds + _WARM_UP)) + 1
        requests = load.supply(count, conversations=count)
        await load.open_loop(port, requests, rate, _WARM_UP)
        result = await load.open_loop(port, requests, rate, seconds)
    finally:
        process.terminate()
        process.wait()
    if not result.good:
        sys.exit(f"{bot}: not all were answered 200: {result.as_object()}")
    return result


def report(found: dict[str, list[Results]]) -> None:
    print(f"{'':10} {'p50':>11} {'p99':>11} {'p99.9':>11}   p99 against quick, round by round")
    for bot, rounds in found.items():
        times = [statistics.median(r.percentile(p) for r in rounds) for p in (50, 99, 99.9)]
        times_slower = ratios(found, bot)
        verdict = "met" if statistics.median(times_slower) <= _TARGET else "NOT MET"
        shown = "  ".join(f"{ratio:.2f}" for ratio in times_slower)
        told = "" if bot == "quick" else f"{shown}   {_TARGET} x: {verdict}"
        print(f"{bot:10} {' '.join(map(load.milliseconds, times))}   {told:30} {BOTS[bot]}")


def ratios(found: dict[str, list[Results]], bot: str) -> list[float]:
    """Return the p99 of a bot to that of the quick one, round by round."""
    return [
        result.percentile(99) / quick.percentile(99)
        for result, quick in zip(found[bot], found["quick"], strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="of each bot, in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", type=float, default=300.0, help="webhooks a second")
    given = parser.parse_args()
    found: dict[str, list[Results]] = {bot: [] for bot in BOTS}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        run = Run("blocked_handler", Path(folder), partial=is_partial(parser, given))
        for number in range(given.rounds):
            for bot in BOTS:
                place = Path(folder) / f"{number}-{bot}"
                place.mkdir()
                found[bot].append(uvloop.run(measure(bot, given.rate, given.seconds, place)))
                print(f"round {number + 1}: {bot}", file=sys.stderr)
    report(found)
    slower = {bot: statistics.median(ratios(found, bot)) for bot in found}
    run.write(slower)


if __name__ == "__main__":
    main()
