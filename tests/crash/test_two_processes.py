"""Several processes on one SQLite file: whatever comes and goes, nothing acknowledged is lost.

Every way of running a bot, beside everything else that may open its store: each command, a second
start, a restart or a kill of each part, what an operator does with the sqlite3 shell, a copy of the
files. People write all the while; then all processes are killed, and started again. Invariants:

* every message that was answered 200 is in the store after the kill, and settled after the restart;
* no process has a deleted log open, and each that has the database open has its lock on it;
* nobody but SQLite opens the database's file;
* `PRAGMA quick_check` finds nothing, after each kill;
* the commands say nothing of a store that is not there, or malformed.
"""

import sys
from pathlib import Path

import pytest

from tests.crash.cells import HEADING, examine, total
from tests.crash.services import WAYS, Way
from tests.crash.visits import COMMANDS, SERVICES, STRANGERS, Visit, commands, visits

# What comes, looks and goes is one kind, whichever program it is: the way in which one process has
# most stores open meets one of each sort (to read, to write, to migrate, to look at the file). The
# other ways meet one, and what only they have. What is mounted is what uvicorn runs.
_SHORT = {
    "uvicorn": [
        *("offhook stats", "offhook messages replay", "offhook migrate", "offhook doctor"),
        *("a look", ".backup", "VACUUM", "a copy of the files"),
    ],
    "uvicorn --workers 2": ["offhook stats", "kill of its spawn_main"],
    "dev": ["offhook stats", "reload"],
    "run": ["second start of it", "kill of its worker", "offhook stats"],
    "ingress + worker": ["restart of ingress", "offhook stats"],
}


def chosen(way: Way) -> list[Visit]:
    return [visit for visit in visits(way) if visit.name in _SHORT[way.name]]


def test_every_command_is_in_the_matrix() -> None:
    assert {*COMMANDS, *SERVICES, *STRANGERS} == {*commands()}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "way", [way for way in WAYS if way.name in _SHORT], ids=lambda way: way.name
)
def test_nothing_is_lost_whatever_else_opens_the_store(way: Way, tmp_path: Path) -> None:
    beside = chosen(way)
    assert len(beside) == len(_SHORT[way.name])
    cell = examine(way, beside, tmp_path / "bot")
    assert cell.acknowledged > 0
    assert cell.is_sound, cell.explain()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_nothing_is_lost_in_any_cell_of_the_matrix(tmp_path: Path) -> None:
    pairs = [(way, visit) for way in WAYS for visit in visits(way)]
    sys.stdout.write(f"\n{HEADING}\n")
    cells = []
    for number, (way, visit) in enumerate(pairs):
        cells.append(examine(way, [visit] * visit.rounds, tmp_path / str(number)))
        sys.stdout.write(f"{cells[-1]}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{total(cells)}\n")
    wrong = [cell.explain() for cell in cells if not cell.is_sound]
    assert not wrong, "\n".join(wrong)
