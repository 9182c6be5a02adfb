"""How a machine does: everything that can be known of it, of one moment."""

import asyncio
import math
import mmap
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self, TypeVar

import psutil

from offhook.clock import steady
from offhook.errors import StoreError
from offhook.observe.prometheus import PROCESS
from offhook.observe.shared_counters import read, totals
from offhook.stores.api import Counts


@dataclass(frozen=True, slots=True)
class Process:
    """A process at work.

    Attributes:
        name: `ingress-1`, `worker-2`, `admin-1`.
        cpu: seconds of CPU that it has used.
        memory: bytes that it holds, those it shares included.
    """

    name: str
    pid: int
    cpu: float
    memory: int

    @property
    def role(self) -> str:
        """`ingress`, `worker` or `admin`."""
        return self.name.partition("-")[0]


def running_processes(sheets: Mapping[str, mmap.mmap], *, own: str = "") -> tuple[Process, ...]:
    """Return the processes that write sheets and live.

    Args:
        sheets: by the names of the processes.
        own: a name for this process, when it is to be among them and is not.
    """
    this = tuple(_look(own, os.getpid(), math.inf)) if own else ()
    return this + tuple(
        process
        for name, memory in sheets.items()
        if (signed := read(memory).get(PROCESS))
        for process in _look(name, int(signed[0]), signed[1])
    )


def _look(name: str, pid: int, since: float) -> Iterator[Process]:
    """Yield the process if it is still the one that has written its id at a time of `elapsed`."""
    try:
        found = psutil.Process(pid)
        with found.oneshot():
            # Both move when the clock is set; their difference does not.
            boot = psutil.boot_time()
            if found.create_time() - boot <= since + 1 and found.status() != psutil.STATUS_ZOMBIE:
                times = found.cpu_times()
                yield Process(name, pid, times.user + times.system, found.memory_info().rss)
    except psutil.Error:
        return  # it has ended


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


T = TypeVar("T")

# Seconds for which the store is waited for; Prometheus waits 10 for all of a scrape by default.
_PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was found.

    Attributes:
        at: when, in seconds of `clock.steady`: it is compared with others.
        rows: what this machine's processes have counted; see `sheet.totals`.
        processes: those of this machine that are at work.
        counts: what the store holds; None when it could not be read.
        host: what is used of the machine itself.
        spooled: webhooks in this machine's spool; None without one, or when it could not be read.
    """

    at: float
    rows: Mapping[str, tuple[float, ...]]
    processes: tuple[Process, ...]
    counts: Counts | None
    host: Host = field(default_factory=Host)
    spooled: int | None = None


class SystemMonitor:
    """Looks at a machine.

    Args:
        sheets: what its processes count in, by their names.
        count: asks the store.
        own: a name for this process, when it is none of those.
        disks: directories whose disks must not be full, by what is on them.
        spooled: asks the spool, if there is one.
    """

    def __init__(
        self,
        sheets: Mapping[str, mmap.mmap],
        count: Callable[[], Awaitable[Counts]],
        *,
        own: str = "",
        disks: Mapping[str, Path] = MappingProxyType({}),
        spooled: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._sheets = sheets
        self._count = count
        self._own = own
        self._disks = disks
        self._spooled = spooled

    async def snapshot(self) -> Snapshot:
        """Return how it does now. A store that is away, or slow, is no error."""
        counts = await _asked(self._count)
        spooled = None if self._spooled is None else await _asked(self._spooled)
        processes = running_processes(self._sheets, own=self._own)
        rows = totals(self._sheets.values())
        return Snapshot(steady(), rows, processes, counts, Host.now(self._disks), spooled)


async def _asked(ask: Callable[[], Awaitable[T]]) -> T | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await ask()
    except (StoreError, TimeoutError):
        return None
