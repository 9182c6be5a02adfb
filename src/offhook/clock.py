"""Time that goes by, whatever the wall clock is set to meanwhile."""

import time
from pathlib import Path
from typing import Final

# Linux: since the machine's start, and it counts the time asleep, as leases and retries should.
# Elsewhere the monotonic clock, which all processes of a machine share as well.
_ELAPSED: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
NS_OF_MS: Final = 1_000_000
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def elapsed() -> float:
    """Return the seconds since the machine's start; all its processes agree on them."""
    return time.clock_gettime(_ELAPSED)


def elapsed_ns() -> int:
    """Return `elapsed` in nanoseconds."""
    return time.clock_gettime_ns(_ELAPSED)


def elapsed_ms() -> int:
    """Return `elapsed` in whole milliseconds."""
    return elapsed_ns() // NS_OF_MS


def steady() -> float:
    """Return the seconds since the epoch by the wall clock as it was set when this process began.

    For what compares moments of its own; nothing that is kept or sent goes by it.
    """
    return _BEGAN + elapsed()


def boot() -> str:
    """Return the name of this start of the machine; empty where the system has none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


_BEGAN: Final = time.time() - elapsed()
