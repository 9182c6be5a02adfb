"""Run the tests again and again while something else keeps one core busy.

    .venv/bin/python -m tools.steady [--runs 10] [--fail-fast] [pytest's arguments]

A test whose outcome depends on which process is faster passes on an idle machine and fails on a
busy one. Exit status 1 if a run fails; the tests that failed are printed at the end, and how often.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_BUSY = "while True: pass"
_FAILED = ("FAILED ", "ERROR ")
_PATIENCE = 30.0  # seconds for pytest to stop its servers once it is interrupted


@dataclass(frozen=True)
class Run:
    """One run of the tests, as its output describes it."""

    summary: str
    failed: tuple[str, ...]
    status: int
    output: str

    @classmethod
    def of(cls, output: str, status: int) -> "Run":
        """Read the tests that failed and pytest's last line from its output."""
        lines = output.splitlines()
        failed = [
            line.removeprefix(mark).partition(" - ")[0]
            for line in lines
            for mark in _FAILED
            if line.startswith(mark)
        ]
        summary = next((line for line in reversed(lines) if line.strip()), "no output")
        if status < 0:
            summary = f"pytest was killed by signal {-status}"
        return cls(summary.strip("= "), tuple(failed), status, output)


@contextmanager
def busy() -> Iterator[None]:
    """Keep one core busy."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run(arguments: Sequence[str]) -> Run:
    """Run the tests once; on Ctrl-C, let pytest end by itself before going on with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        output, _ = process.communicate()
    except KeyboardInterrupt:
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise
    return Run.of(output, process.returncode)


def report(runs: Sequence[Run]) -> str:
    """Return how many runs passed, and the tests that failed with how often they did."""
    passed = sum(not one.status for one in runs)
    failures = Counter(test for one in runs for test in one.failed)
    lines = [f"{count} x {test}" for test, count in failures.most_common()]
    return "\n".join([*lines, f"{passed} of {len(runs)} passed"])


def main() -> int:
    """Parse the arguments, run, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--fail-fast", action="store_true", help="end with the first that fails")
    given, arguments = parser.parse_known_args()
    runs: list[Run] = []
    try:
        with busy():
            for number in range(1, given.runs + 1):
                began = time.monotonic()
                one = run(arguments)
                runs.append(one)
                took = time.monotonic() - began
                print(f"run {number} of {given.runs}: {one.summary} ({took:.0f} s)", flush=True)
                if one.status:
                    print(one.output, flush=True)
                    if given.fail_fast:
                        break
    except KeyboardInterrupt:
        print("interrupted")
        print(report(runs))
        return 130
    print(report(runs))
    return int(any(one.status for one in runs))


if __name__ == "__main__":
    sys.exit(main())
