"""The processes of a machine: which are at work, and what they use."""

import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil

from offhook.observe.prometheus import PROCESS
from offhook.observe.sheet import read


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


def at_work(sheets: Mapping[str, mmap.mmap], *, own: str = "") -> tuple[Process, ...]:
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
