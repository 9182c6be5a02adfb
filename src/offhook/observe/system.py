"""Snapshots of a machine: its processes, their counters, the store's counts, CPU, memory, disks."""

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
    """A running process.

    Attributes:
        name: `ingress-1`, `worker-2`, `admin-1`.
        cpu: CPU time in seconds.
        memory: resident bytes, shared ones included.
    """

    name: str
    pid: int
    cpu: float
    memory: int

    @property
    def role(self) -> str:
        """`ingress`, `worker` or `admin`."""
        return self.name.partition("-")[0]


def running_processes(counters: Mapping[str, mmap.mmap], *, own: str = "") -> tuple[Process, ...]:
    """Return the running processes that write counters.

    Args:
        counters: by the names of the processes.
        own: a name for this process, to include it if it writes none.
    """
    this = tuple(_look(own, os.getpid(), math.inf)) if own else ()
    return this + tuple(
        process
        for name, memory in counters.items()
        if (signed := read(memory).get(PROCESS))
        for process in _look(name, int(signed[0]), signed[1])
    )


def _look(name: str, pid: int, since: float) -> Iterator[Process]:
    """Yield the process if its id still belongs to the one that wrote it, not to a successor."""
    try:
        found = psutil.Process(pid)
        with found.oneshot():
            # Both change when the clock is set; their difference does not.
            boot = psutil.boot_time()
            if found.create_time() - boot <= since + 1 and found.status() != psutil.STATUS_ZOMBIE:
                times = found.cpu_times()
                yield Process(name, pid, times.user + times.system, found.memory_info().rss)
    except psutil.Error:
        return  # it has ended


@dataclass(frozen=True, slots=True)
class Host:
    """A machine's resources at one moment.

    Attributes:
        cpu_busy: used CPU time in seconds, since boot.
        cpu_all: available CPU time in seconds, since boot.
        memory: the used share of memory, from 0 to 1.
        disks: the used share of disks, by their contents.
    """

    cpu_busy: float = 0.0
    cpu_all: float = 0.0
    memory: float = 0.0
    disks: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def now(cls, disks: Mapping[str, Path]) -> Self:
        """Return the current usage.

        Args:
            disks: directories by their contents; missing ones are left out.
        """
        times = psutil.cpu_times()._asdict()
        # Guests' time is included in `user` and `nice`.
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
    # As `df` does: blocks reserved for root are not free.
    return usage.used / (usage.used + usage.free) if usage.used + usage.free else None


T = TypeVar("T")

# Seconds for a query; Prometheus' default timeout for a whole scrape is 10.
_QUERY_TIMEOUT: Final = 3.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A machine at one moment.

    Attributes:
        at: seconds of `clock.steady`, comparable between snapshots.
        rows: the counters of this machine's processes; see `shared_counters.totals`.
        processes: the running ones of this machine.
        counts: the store's; None if it could not be read.
        host: the machine's resources.
        spooled: webhooks in this machine's spool; None without one, or if it could not be read.
    """

    at: float
    rows: Mapping[str, tuple[float, ...]]
    processes: tuple[Process, ...]
    counts: Counts | None
    host: Host = field(default_factory=Host)
    spooled: int | None = None


class SystemMonitor:
    """Takes snapshots of this machine.

    Args:
        counters: of its processes, by their names.
        count: counts the store's messages.
        own: a name for this process, if it is none of those.
        disks: directories on the disks to measure, by their contents.
        spooled: counts the spool's webhooks, if there is one.
    """

    def __init__(
        self,
        counters: Mapping[str, mmap.mmap],
        count: Callable[[], Awaitable[Counts]],
        *,
        own: str = "",
        disks: Mapping[str, Path] = MappingProxyType({}),
        spooled: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._counters = counters
        self._count = count
        self._own = own
        self._disks = disks
        self._spooled = spooled

    async def snapshot(self) -> Snapshot:
        """Take a snapshot. An unavailable or slow store is not an error."""
        counts = await _within_timeout(self._count)
        spooled = None if self._spooled is None else await _within_timeout(self._spooled)
        processes = running_processes(self._counters, own=self._own)
        rows = totals(self._counters.values())
        return Snapshot(steady(), rows, processes, counts, Host.now(self._disks), spooled)


async def _within_timeout(ask: Callable[[], Awaitable[T]]) -> T | None:
    try:
        async with asyncio.timeout(_QUERY_TIMEOUT):
            return await ask()
    except (StoreError, TimeoutError):
        return None
