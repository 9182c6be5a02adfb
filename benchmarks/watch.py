"""What others made the processors do while we measured.

The system counts the work of all, and of each process that there is. What is not our own, nor of a
process that came from us, is others'. The kernel hands orphans of ours to us, not to the first
process, so that those whose parents were killed are still counted.
"""

import ctypes
import os
import time
from pathlib import Path
from typing import Final

from benchmarks.processes import cpu_seconds, family

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h; see prctl(2)


class Watch:
    """Watches from when it is made."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        self._began = time.monotonic()
        self._work, self._own = _work(), _own()

    def others(self) -> float:
        """Return the share of the processors that others have used."""
        seconds = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, (_work() - self._work - self.own()) / seconds)

    def own(self) -> float:
        """Return the CPU time that we and all that came from us have used, in seconds."""
        return _own() - self._own


def _own() -> float:
    return cpu_seconds(family(os.getpid()))


def _work() -> float:
    """Return the CPU time of all processes since the start of the system.

    Not the interrupts': under load they are the packets and writes of what is measured. But that
    in which the host gave the processor to another machine.
    """
    first = Path("/proc/stat").read_text("ascii").partition("\n")[0]
    user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + steal) / _TICKS
