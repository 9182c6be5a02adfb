"""Ingress and worker machines on one PostgreSQL, everything killed at random moments.

There are two of each, in a long run three. The invariants are those of test_one_machine.py, though
each webhook is delivered once or several times, to different ingresses, and the database server is
stopped in the middle of it. Besides, its log must tell of no deadlock.
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


def survive(directory: Path, load: Load, each: int = 3) -> None:
    with postgres() as server:

        def fleet(home: Home) -> Fleet:
            return many_machines(home, server, ingresses=each, workers=each)

        drill = Drill(
            directory,
            load,
            seed(),
            server.create_database("crash"),
            PostgresDatabase(server, "crash"),
            fleet,
            lambda: deadlocks(server),
        )
        assert not drill.verdict(f"{each} ingresses, {each} workers, PostgreSQL").violations


def deadlocks(server: PostgresServer) -> list[str]:
    """Return the lines of the server's log that tell of a deadlock."""
    return [line for line in server.log_text().splitlines() if "deadlock" in line]


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice_on_many_machines(tmp_path: Path) -> None:
    load = Load(
        messages=200,
        conversations=40,
        seconds=6,
        kills=2,
        machine_kills=1,
        store_stops=1,
        copies=(1, 2),
    )
    survive(tmp_path, load, each=2)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_nothing_is_lost_or_done_twice_on_many_machines_in_a_long_run(tmp_path: Path) -> None:
    kills = int(os.environ.get("CRASH_KILLS", "100"))
    survive(tmp_path, Load.of(kills, pace=12.0, store_stops=kills // 25, copies=(1, 2, 3)))
