"""`offhook run` under load, its processes killed with SIGKILL at random moments.

Invariants, each counted by witnesses that do not know the store (the people who send, the bot's
own journal, the REST side), and looked up in it:

* every message acknowledged with 200 is settled, once: done, or discarded or dead as the bot
  intends;
* completions <= messages + runs in flight at each kill, and so for each message on its own;
* each conversation's messages were handled, and replied to, in the order of sending;
* REST requests <= 1 for each row of the ledger, except after 429 or when never connected;
* what is sent, Twilio has accepted exactly once; and once its message list was asked for what is
  unknown, so it has everything;
* no webhook was refused but with 503.

All the while an operator looks into the store with commands, and backs it up: none of that ends in
a traceback or finds the store damaged, and `PRAGMA quick_check` finds nothing after each kill.
"""

import os
from pathlib import Path

import pytest

from tests.crash.bystander import SqliteFile
from tests.crash.drill import Drill, seed
from tests.crash.fleet import one_machine
from tests.crash.plan import Load

pytestmark = pytest.mark.usefixtures("quiet_server")


def survive(directory: Path, load: Load) -> None:
    file = directory / "offhook.db"
    drill = Drill(
        directory,
        load,
        seed(),
        f"sqlite:///{file}",
        SqliteFile(file),
        one_machine,
    )
    assert not drill.verdict("offhook run").violations


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_done_twice_when_processes_are_killed(tmp_path: Path) -> None:
    load = Load(messages=200, conversations=40, seconds=5, kills=2, group_kills=1, machine_kills=1)
    survive(tmp_path, load)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_nothing_is_lost_or_done_twice_in_a_long_run(tmp_path: Path) -> None:
    kills = int(os.environ.get("CRASH_KILLS", "200"))
    survive(tmp_path, Load.of(kills, pace=4.0, group_kills=kills // 4))
