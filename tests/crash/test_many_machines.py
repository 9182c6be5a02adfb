"""Three ingress and three worker machines on one PostgreSQL, everything killed at random moments.

The invariants are those of test_one_machine.py, though each webhook is delivered one to three
times, to different ingresses, and the database server is stopped in the middle of it. Besides, its
log must tell of no deadlock.
"""

import os
from pathlib import Path

import pytest

from testing.commands import Home
from testing.postgres import PostgresServer, postgres
from tests.crash.bystander import PostgresDatabase
from tests.crash.drill import Drill, seed
from tests.crash.fleet import Fleet, many_machines
from tests.crash.plan import Load

pytestmark = pytest.mark.usefixtures("quiet_server")

COPIES = (1, 2, 3)


def survive(directory: Path, load: Load) -> None:
    with postgres() as server:

        def fleet(home: Home) -> Fleet:
            return many_machines(home, server)

        url, database = server.create_database("crash"), PostgresDatabase(server, "crash")
        drill = Drill(directory, load, seed(), url, database, fleet, lambda: deadlocks(server))
        assert not drill.verdict("3 ingresses, 3 workers, PostgreSQL").violations


def deadlocks(server: PostgresServer) -> list[str]:
    """Return the lines of the server's log that tell of a deadlock."""
    return [line for line in server.log_text().splitlines() if "deadlock" in line]


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice_on_many_machines(tmp_path: Path) -> None:
    load = Load(
        messages=300,
        conversations=40,
        seconds=8,
        kills=4,
        machine_kills=1,
        store_stops=1,
        copies=COPIES,
    )
    survive(tmp_path, load)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_nothing_is_lost_or_done_twice_on_many_machines_in_a_long_run(tmp_path: Path) -> None:
    kills = int(os.environ.get("CRASH_KILLS", "100"))
    survive(tmp_path, Load.of(kills, pace=12.0, store_stops=kills // 25, copies=COPIES))
