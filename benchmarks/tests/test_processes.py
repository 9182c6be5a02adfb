"""Processes under measurement end with all that they have started."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.processes import Process
from testing.commands import is_alive, until

PARENT = """
import subprocess, sys, time
while time.process_time() < 0.05:  # the kernel counts in steps of 10 ms
    pass
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "w") as file:
    file.write(str(child.pid))
time.sleep(600)
"""


@pytest.mark.parametrize("end", [Process.kill, Process.stop])
def test_children_end_too(tmp_path: Path, end: Callable[[Process], None]) -> None:
    told = tmp_path / "child"
    process = Process([sys.executable, "-c", PARENT, str(told)], os.environ, tmp_path / "log")
    until(lambda: told.exists() and bool(told.read_text()), process.explain)
    child = int(told.read_text())
    assert process.memory() > 2**20
    assert process.cpu_seconds() >= 0.03
    end(process)
    assert process.has_ended
    until(lambda: not is_alive(child))
