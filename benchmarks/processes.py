"""Processes under measurement: what they and their children use, and how they end."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PATIENCE: Final = 20.0  # seconds, for an end in good order
ROOT: Final = Path(__file__).parent.parent


class Process:
    """A command with all that it starts.

    Args:
        command: and its arguments.
        environment: on top of ours.
        log: a file for all it prints.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, *, nice: int = 0
    ) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                ["nice", "-n", str(nice), *command] if nice else command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def explain(self) -> str:
        """Return the end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes that are alive."""
        return cpu_seconds(self.family())

    def memory(self) -> int:
        """Return the bytes that all its processes hold, shared ones counted once."""
        return memory(self.family())

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what has not ended in time."""
        family = self.family()
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def family(self) -> list[int]:
        """Return all its processes that are alive."""
        return family(self._process.pid)


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run a command until the end of the context."""
    process = Process(command, environment, log)
    try:
        yield process
    finally:
        if not process.has_ended:
            process.stop()


def until_quiet(file: Path, *, expected: int, quiet: float, longest: float) -> None:
    """Wait until so many lines are in a file, or none has come for a while.

    Args:
        file: which SIDs are written to, 34 characters and a newline each.
        expected: lines at the end.
        quiet: seconds without one after which no more are waited for.
        longest: seconds after which they are not waited for in any case.
    """
    began = since = time.monotonic()
    before = -1
    while (count := lines(file)) < expected:
        now = time.monotonic()
        if count != before:
            before, since = count, now
        elif now - since > quiet:
            return
        if now - began > longest:
            return
        time.sleep(0.05)


def lines(file: Path) -> int:
    """Return how many SIDs are in a file, from its size."""
    return file.stat().st_size // 35 if file.exists() else 0


def family(pid: int) -> list[int]:
    """Return a process, and all that came from it and from those."""
    parents = dict(_parents())
    found = [pid]
    for one in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of processes, with that of children of theirs that have ended."""
    return sum(_cpu_seconds(pid) for pid in pids)


def memory(pids: Iterable[int]) -> int:
    """Return the bytes that processes hold; of what several share, each has its part."""
    return sum(_memory(pid) for pid in pids)


def command_line(pid: int) -> str:
    """Return how a process was started; empty if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").replace("\0", " ").strip()
    return ""


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), int(fields[1])


def _stat(pid: int) -> list[str]:
    """Return the fields of a process after its name; none if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return []


def _cpu_seconds(pid: int) -> float:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0  # ended children included


def _memory(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
