"""Ctrl-C while a process loads its modules."""

import signal
import subprocess
import sys

PROGRAM = """
import os, signal
from offhook.process import loading
{setup}
loading.begin()
{then}
os.kill(os.getpid(), signal.SIGINT)
print("went on")
"""


# As a shell starts it. Behind `make test &`, it would inherit that SIGINT is ignored.
DEFAULT = "signal.signal(signal.SIGINT, signal.default_int_handler)"


def ended(*, setup: str = DEFAULT, then: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(setup=setup, then=then)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_it_ends_without_a_traceback_and_only_while_it_loads() -> None:
    loading = ended()
    assert (loading.returncode, loading.stdout, loading.stderr) == (-signal.SIGINT, "", "")
    assert "KeyboardInterrupt" in ended(then="loading.end()").stderr


def test_what_ignores_it_goes_on_ignoring_it() -> None:
    ignoring = ended(setup="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert ignoring.stdout == "went on\n"
