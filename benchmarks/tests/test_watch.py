"""What others do is told from what is ours, whether it was waited for, or killed and orphaned."""

import os
import subprocess
import sys
import time

from benchmarks.processes import ROOT

BURNT = 0.5
BURN = f"while time.process_time() < {BURNT}: pass"

OURS = """
import subprocess, sys
from benchmarks.watch import Watch

burn = sys.argv[1]
parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
watch = Watch()
subprocess.run([sys.executable, "-c", parent, f"import time\\n{burn}"], check=True)
orphan = f"import time\\nprint(flush=True)\\n{burn}"
with subprocess.Popen([sys.executable, "-c", parent, orphan], stdout=subprocess.PIPE) as killed:
    killed.stdout.readline()
    killed.kill()
    killed.stdout.read()  # ends when the orphan does
print(watch.own())
"""

THEIRS = """
from benchmarks.watch import Watch

watch = Watch()
print("watching")
input()
print(watch.others())
"""


def started(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_grandchildren_that_were_killed_or_waited_for_are_ours() -> None:
    with started(OURS, BURN) as process:
        told, _ = process.communicate()
    assert float(told) >= 2 * BURNT


def test_what_is_not_ours_is_counted() -> None:
    began = time.monotonic()
    with started(THEIRS) as process:
        assert process.stdout is not None
        process.stdout.readline()
        until = time.process_time() + BURNT
        while time.process_time() < until:
            pass
        told, _ = process.communicate("\n")
    seconds = (time.monotonic() - began) * (os.cpu_count() or 1)
    assert float(told) * seconds > 0.9 * BURNT  # the system counts in steps
