"""One cell of the matrix: a way of running, and what else opens the store meanwhile."""

import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from offhook.core.lifecycle import LIVE
from testing.commands import until
from tests.crash.crowd import Crowd
from tests.crash.services import Service, Way
from tests.crash.visits import Visit

_SETTLING: Final = 60.0  # seconds; thirty leases
_OPENING: Final = 10.0  # seconds; a lock that was dropped does not come back

HEADING: Final = (
    f"{'way':<21}{'beside it':<27}{'acked':>8}{'refused':>8}{'lost':>8}{'stuck':>8}  what else"
)


@dataclass(slots=True)
class Cell:
    """What was seen.

    Attributes:
        acknowledged: how many messages were answered 200.
        refused: how many were answered otherwise.
        lost: how many of the acknowledged are not in the store.
        stuck: how many of the acknowledged are not settled after a restart.
        faults: what else went wrong, each with its kind before a colon.
    """

    way: str
    visit: str
    acknowledged: int = 0
    refused: int = 0
    lost: int = 0
    stuck: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return not (self.lost or self.stuck or self.faults)

    def __str__(self) -> str:
        kinds = dict.fromkeys(fault.partition(":")[0] for fault in self.faults)
        counts = (self.acknowledged, self.refused, self.lost, self.stuck)
        numbers = "".join(f"{count:>8}" for count in counts)
        return f"{self.way:<21}{self.visit:<27}{numbers}  {', '.join(kinds) or 'ok'}"

    def explain(self) -> str:
        """Return all that is known of it."""
        return "\n".join(["", HEADING, str(self), *self.faults])


def examine(way: Way, visits: Sequence[Visit], directory: Path) -> Cell:
    """Run a service, have it visited while people write, kill it with SIGKILL, and look.

    Then start it again: all that was acknowledged has to be settled. The database is looked at
    after each kill.
    """
    cell = Cell(way.name, ", ".join(dict.fromkeys(visit.name for visit in visits)))
    service = Service(way, directory)
    try:
        service.start()
        acknowledged = _serve(visits, service, cell)
        _look(service, cell)
        service.sort()
        stored = service.states()
        cell.lost = sum(sid not in stored for sid in acknowledged)
        service.start()
        cell.stuck = _stuck(service, [sid for sid in acknowledged if sid in stored])
        service.kill()
        _look(service, cell)
    except (AssertionError, subprocess.TimeoutExpired, sqlite3.Error) as error:
        cell.faults.append(f"{type(error).__name__}: {error}")
    finally:
        service.kill()
    cell.faults += [f"opened by hand: {line}" for line in service.opened().splitlines()]
    return cell


def total(cells: Sequence[Cell]) -> str:
    """Return the last line of a table: the sums."""
    sound = sum(cell.is_sound for cell in cells)
    names = ("acknowledged", "refused", "lost", "stuck")
    sums = [sum(getattr(cell, name) for cell in cells) for name in names]
    return str(Cell("", f"{sound} of {len(cells)} are sound", *sums))


def _serve(visits: Sequence[Visit], service: Service, cell: Cell) -> Sequence[str]:
    """Have it visited while people write, and kill it; return what it has acknowledged."""
    with Crowd(service.webhook, lambda: service.credentials) as crowd:
        try:
            for visit in visits:
                crowd.until_more()
                _receive(visit, service, cell)
            crowd.until_more()
        finally:
            service.kill()
            crowd.stop()
            cell.acknowledged, cell.refused = len(crowd.acknowledged), crowd.refused
    return crowd.acknowledged


def _receive(visit: Visit, service: Service, cell: Cell) -> None:
    """Let a visit happen, and look at the log and the locks from outside."""
    if wrong := visit.pay(service):
        cell.faults.append(f"complaint: {visit.name}: {wrong}")
    cell.faults += [f"deleted log: {visit.name}: {name}" for name in service.deleted()]
    try:  # a connection that opens just now has no lock yet
        until(lambda: not service.unlocked(), patience=_OPENING)
    except AssertionError:
        cell.faults += [f"no lock: {visit.name}: process {pid}" for pid in service.unlocked()]


def _look(service: Service, cell: Cell) -> None:
    if (said := service.quick_check()) != "ok":
        cell.faults.append(f"malformed: {said}")


def _stuck(service: Service, sids: Sequence[str]) -> int:
    """Return how many of some messages are not settled in time."""

    def left() -> int:
        states = service.states()
        return sum(states.get(sid) in LIVE for sid in sids)

    with suppress(AssertionError):
        until(lambda: left() == 0, patience=_SETTLING)
    return left()
