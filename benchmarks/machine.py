"""Which machine it was, and how fast its disk: figures mean nothing without."""

import os
import platform
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

_BUSY: Final = 0.1
"""A share of the processors beyond this, before a run or in it, makes its times another's."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run was made; times in seconds.

    Attributes:
        made: the day.
        busy: the share of its processors that others used just before.
        others: the share that others used during the run.
    """

    processor: str
    cores: int
    system: str
    python: str
    fsync_p50: float
    fsync_p99: float
    busy: float
    others: float = 0.0
    made: str = field(default_factory=lambda: time.strftime("%Y-%m-%d", time.gmtime()))

    @classmethod
    def here(cls, folder: Path) -> "Machine":
        """Return this machine, with the disk that has a folder."""
        p50, p99 = fsync_times(folder)
        return cls(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            fsync_p50=p50,
            fsync_p99=p99,
            busy=_busy(),
        )

    @property
    def is_quiet(self) -> bool:
        """Whether it had nothing else to do."""
        return max(self.busy, self.others) < _BUSY

    def sentence(self) -> str:
        """Return it in words."""
        busy = "" if self.is_quiet else f"; NOT QUIET, {self.busy:.0%} busy"
        return (
            f"{self.processor}, {self.cores} cores, {self.system}, Python {self.python}; fsync of "
            f"4 KiB p50 {self.fsync_p50 * 1000:.2f} ms, p99 {self.fsync_p99 * 1000:.2f} ms{busy}"
        )

    def as_object(self) -> dict[str, Any]:
        """Return it for a file."""
        return {**asdict(self), "quiet": self.is_quiet}


def fsync_times(folder: Path, count: int = 200) -> tuple[float, float]:
    """Return p50 and p99 of writing and syncing 4 KiB, in seconds: what the disk allows."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(count):
            file.write(random.randbytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times), sorted(times)[int(count * 0.99)]


def _busy(seconds: float = 1.0) -> float:
    """Return the share of all processors that is in use while we wait."""
    before = _jiffies()
    time.sleep(seconds)
    total, unused = (after - first for after, first in zip(_jiffies(), before, strict=True))
    return 1 - unused / max(1, total)


def _jiffies() -> tuple[int, int]:
    """Return the time of all processors since the start, and that in which they had no work."""
    first = Path("/proc/stat").read_text("ascii").partition("\n")[0]
    times = [int(field) for field in first.split()[1:9]]
    return sum(times), times[3] + times[4]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
