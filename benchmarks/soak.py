"""Half of the maximum for half an hour: nothing lost, memory flat, p99 flat.

    make soak                       # 30 minutes
    make soak ARGS="--minutes 2"

`offhook run` on SQLite gets signed webhooks at half of what it both acknowledges and handles, or at
--rate: it acknowledges more than it handles, and at half of that the backlog would grow for half an
hour. One in a hundred came before, one is forged, and one fails in the handler at first. A line
tells of each minute, and of what waits at its end. At last every message that was acknowledged must
have been handled; else it exits with status 1.
"""

import argparse
import asyncio
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks import load
from benchmarks.peers.table import Peer
from benchmarks.results import Run
from benchmarks.stage import Servers, Stage, staged
from offhook.bench.load import Load
from offhook.bench.requests import Mix, RequestSource
from offhook.bench.results import Results

_STORE: Final = "offhook.db"
_MIX: Final = Mix(repeats=1, forged=1)
_PEER: Final = Peer(
    "run", "offhook run", "offhook run benchmarks.apps:sometimes_fails --port {port}"
)
_WHOLE: Final = 30.0  # minutes: a shorter one is partial
_PATIENCE: Final = 120.0  # seconds until all must be settled
_GROWTH: Final = 1.25  # of memory, from the third minute to the last: beyond it, it is not flat
_SLOWER: Final = 2.0  # of p99, from the first half to the second
_CONVERSATIONS: Final = 100_000  # as many as write in half an hour, each now and then
_SETTLING: Final = 3  # minutes until caches and pools are as large as they get


@dataclass(frozen=True, slots=True)
class Minute:
    """What a minute was like; seconds, bytes of all processes, messages not done at its end."""

    tally: Results
    memory: int
    waiting: int = 0

    @property
    def p99(self) -> float:
        return self.tally.percentile(99)

    @property
    def answers(self) -> int:
        return self.tally.answers

    @property
    def wrong(self) -> int:
        """Answers that were not as they should be, and connections that broke."""
        return self.tally.unexpected + self.tally.errors.total()

    def as_object(self) -> dict[str, Any]:
        """Return it for a file."""
        return {
            "answers": self.answers,
            "wrong": self.wrong,
            "p50": self.tally.percentile(50),
            "p99": self.p99,
            "memory": self.memory,
            "waiting": self.waiting,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the soak came to: whether each promise was kept, in words."""

    kept: tuple[str, ...]
    broken: tuple[str, ...]


def verdict(minutes: list[Minute], states: Counter[str], missing: int) -> Verdict:
    """Judge a soak.

    Args:
        minutes: all that were loaded.
        states: of the messages in the store, at the end.
        missing: SIDs that were acknowledged and are not in the store as done.
    """
    promises = [
        (f"lost: {missing}", missing == 0),
        (f"in the store: {dict(states)}", set(states) <= {"done"}),
        (
            f"answers that were not as they should be: {_wrong(minutes)}",
            _wrong(minutes) == 0 and all(minute.tally.answers for minute in minutes),
        ),
    ]
    promises.extend(
        (f"waiting after the last minute: {last.waiting:,}", last.waiting <= last.answers / 10)
        for last in minutes[-1:]
    )
    settled = minutes[_SETTLING - 1 :]
    if len(settled) > 1:
        growth = settled[-1].memory / settled[0].memory
        promises.append((f"memory, last minute to third: {growth:.2f}", growth <= _GROWTH))
        half = len(settled) // 2
        early, late = (
            sorted(minute.p99 for minute in part)[len(part) // 2]
            for part in (settled[:half], settled[half:])
        )
        promises.append((f"p99, second half to first: {late / early:.2f}", late <= _SLOWER * early))
    return Verdict(
        tuple(text for text, kept in promises if kept),
        tuple(text for text, kept in promises if not kept),
    )


def _wrong(minutes: list[Minute]) -> int:
    return sum(minute.wrong for minute in minutes)


async def soak(
    stage: Stage, minutes: float, rate: float | None
) -> tuple[float, list[Minute], set[str]]:
    """Load it for so long, and tell of each minute.

    Returns:
        webhooks a second, the minutes, and the SIDs that were acknowledged.
    """
    process = stage.start_ingress()
    await stage.until_up()
    supply = load.supply(conversations=_CONVERSATIONS, mix=_MIX)
    most, acknowledged = await _warm_up(stage, supply)
    rate = rate or most / 2
    print(f"{rate:,.0f} webhooks a second for {minutes:g} minutes", flush=True)
    print(
        f"{'minute':>6} {'answers':>9} {'wrong':>6} {'p50':>10} {'p99':>10} {'memory':>9} "
        f"{'waiting':>8}"
    )
    done: list[Minute] = []
    end = time.monotonic() + minutes * 60
    while (left := end - time.monotonic()) > 0.5:
        tally = Results(keep=True)
        one = Load(stage.target, supply, tally, connections=64)
        await one.open(rate, min(60.0, left))
        done.append(Minute(tally, process.memory(), waiting(stage.folder / _STORE)))
        _tell(len(done), done[-1])
        acknowledged.update(tally.acknowledged or ())
    return rate, done, acknowledged


async def _warm_up(stage: Stage, supply: RequestSource) -> tuple[float, set[str]]:
    """Return how many a second are acknowledged and handled, and what was acknowledged."""
    began = time.monotonic()
    tally = Results(keep=True)
    await Load(stage.target, supply, tally, connections=64).closed(5.0)
    acknowledged = set(tally.acknowledged or ())
    # Not of all: the last are those that failed, which wait for their next try.
    enough = round(len(acknowledged) * 0.95)
    await settle(stage.folder / _STORE, enough, others=True)
    return enough / (time.monotonic() - began), acknowledged


def _tell(number: int, minute: Minute) -> None:
    tally = minute.tally
    print(
        f"{number:6} {tally.answers:9,} {minute.wrong:6,} "
        f"{load.milliseconds(tally.percentile(50))} "
        f"{load.milliseconds(minute.p99)} {minute.memory / 2**20:6.0f} MB {minute.waiting:8,}",
        flush=True,
    )


async def settle(database: Path, expected: int, *, others: bool = False) -> None:
    """Wait until so many messages are done and no other is there, or none is for a long while.

    There are more than were acknowledged: a webhook whose answer came too late is stored too.

    Args:
        database: the store's file.
        expected: done messages to wait for.
        others: it is enough that so many are done.
    """
    before, since = Counter[str](), time.monotonic()
    while (counts := states(database))["done"] < expected or (
        not others and set(counts) > {"done"}
    ):
        if counts["done"] != before["done"]:
            before, since = counts, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            return
        await asyncio.sleep(0.5)


def states(database: Path) -> Counter[str]:
    """Count the messages in a store by state."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT state, count(*) FROM messages GROUP BY state")
        return Counter(dict(rows.fetchall()))


def waiting(database: Path) -> int:
    """Count the messages that are not settled, by an index of theirs."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM messages WHERE state IN ('open', 'running', 'waiting')"
        ).fetchone()
        return int(count)


def missing(database: Path, acknowledged: set[str]) -> int:
    """Count SIDs that were acknowledged, and are not in the store as done."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT sid FROM messages WHERE state = 'done'")
        return len(acknowledged - {sid for (sid,) in rows})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=_WHOLE)
    parser.add_argument("--rate", type=float, help="webhooks a second; half of the maximum if none")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=Path.cwd()))
    try:
        partial = given.minutes < _WHOLE or given.rate is not None
        run = Run("soak", folder, partial=partial)
        made, found = soaked(folder, given.minutes, given.rate)
        run.write(made)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for text in found.kept:
        print(f"kept:   {text}")
    for text in found.broken:
        print(f"BROKEN: {text}")
    sys.exit(bool(found.broken))


def figures(
    rate: float, acknowledged: int, minutes: list[Minute], found: Verdict
) -> dict[str, Any]:
    """Return what the documentation tells."""
    return {
        "rate": rate,
        "acknowledged": acknowledged,
        "minutes": [minute.as_object() for minute in minutes],
        **asdict(found),
    }


def soaked(folder: Path, minutes: float, rate: float | None) -> tuple[dict[str, Any], Verdict]:
    """Soak `offhook run`, and judge it; return the figures for a file, too."""
    with staged(_PEER, Servers.none(), folder / "soak") as stage:
        rate, done, acknowledged = uvloop.run(soak(stage, minutes, rate))
        database = stage.folder / _STORE
        uvloop.run(settle(database, len(acknowledged)))
        found = verdict(done, states(database), missing(database, acknowledged))
        return figures(rate, len(acknowledged), done, found), found


if __name__ == "__main__":
    main()
