"""What is used of a machine: CPU, memory, disks."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class Host:
    """A machine at a moment.

    Attributes:
        cpu_busy: seconds of CPU that were used, since the machine was started.
        cpu_all: those that there were.
        memory: the share of memory that is in use, from 0 to 1.
        disks: the shares of disks, by what is on them.
    """

    cpu_busy: float = 0.0
    cpu_all: float = 0.0
    memory: float = 0.0
    disks: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def now(cls, disks: Mapping[str, Path]) -> Self:
        """Return what is used now.

        Args:
            disks: directories by what is in them; those that are not there are left out.
        """
        times = psutil.cpu_times()._asdict()
        # What guests have used is in `user` and `nice` already.
        parts = {name: seconds for name, seconds in times.items() if not name.startswith("guest")}
        idle = parts["idle"] + parts.get("iowait", 0.0)
        shares = {what: _used(directory) for what, directory in disks.items()}
        return cls(
            sum(parts.values()) - idle,
            sum(parts.values()),
            psutil.virtual_memory().percent / 100,
            {what: share for what, share in shares.items() if share is not None},
        )


def _used(directory: Path) -> float | None:
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return None
    # As `df` counts it: what only root may write is not free.
    return usage.used / (usage.used + usage.free) if usage.used + usage.free else None
