"""What is lost when everything of a peer's own is killed in mid-load, and started again."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.processes import until_quiet
from benchmarks.stage import Stage
from offhook.bench.load import Load
from offhook.bench.results import Results

RATE: Final = 100.0  # webhooks a second
_SECONDS: Final = 4.0
_KILL_AFTER: Final = 3.0
HANDLER_SECONDS: Final = 0.2
QUIET: Final = 40.0
"""Seconds without a handled message after which no more are waited for: beyond offhook's lease."""

_LONGEST: Final = 120.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of acknowledged messages."""

    acknowledged: int
    missing: int
    twice: int


async def kill_in_mid_load(stage: Stage) -> Loss:
    """Load a peer, kill it, start it again, and count what it had acknowledged but not handled."""
    stage.start_ingress(handler_seconds=HANDLER_SECONDS)
    await stage.until_up()
    stage.start_worker(handler_seconds=HANDLER_SECONDS)
    tally = Results(keep=True)
    load = Load(stage.target, stage.supply(), tally, connections=16)
    await load.open(RATE, 1.0)
    await asyncio.to_thread(_until_handling, stage)  # what has not begun can't lose what it does
    loading = asyncio.create_task(load.open(RATE, _SECONDS))
    await asyncio.sleep(_KILL_AFTER)
    stage.kill()
    await loading
    stage.start_ingress(handler_seconds=HANDLER_SECONDS)
    await stage.until_up()
    stage.start_worker(handler_seconds=HANDLER_SECONDS)
    sids = set(tally.acknowledged or ())
    await asyncio.to_thread(
        until_quiet, stage.handled, expected=len(sids), quiet=QUIET, longest=_LONGEST
    )
    await asyncio.sleep(0.5)  # those that are handled a second time
    return compare(sids, stage.handled)


def compare(acknowledged: set[str], handled: Path) -> Loss:
    """Count what is missing in the file of handled SIDs, and what is there more than once."""
    counts = Counter(handled.read_text("ascii").split()) if handled.exists() else Counter()
    return Loss(
        acknowledged=len(acknowledged),
        missing=len(acknowledged - counts.keys()),
        twice=sum(1 for count in counts.values() if count > 1),
    )


def drain_rate(stage: Stage, seconds: float) -> float:
    """Start the worker on what has piled up; return how many a second it handles.

    Raises:
        RuntimeError: it handles none.
    """
    piled = stage.accepted
    stage.start_worker()
    _until_handling(stage)
    first, since = stage.handled_count(), time.monotonic()
    while time.monotonic() - since < seconds and stage.handled_count() < piled:
        time.sleep(0.01)
    return (stage.handled_count() - first) / (time.monotonic() - since)


def _until_handling(stage: Stage) -> None:
    began = time.monotonic()
    while not stage.handled_count():
        if time.monotonic() - began > 30.0:
            raise RuntimeError(f"{stage.peer.title} handles nothing:\n{stage.explain()}")
        time.sleep(0.01)
