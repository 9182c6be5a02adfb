"""Imported by every Python whose PYTHONPATH leads here: its wall clock is off by what a file says.

The operating system's other clocks, which nobody can set, are left alone.
"""

import mmap
import os
import struct
import time
from pathlib import Path


def _shift(path: Path) -> None:
    with path.open("rb") as file:
        off = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    seconds, nanoseconds = time.time, time.time_ns

    def read() -> int:
        (value,) = struct.unpack("=q", off[:8])
        return int(value)

    time.time = lambda: seconds() + read() / 1e9
    time.time_ns = lambda: nanoseconds() + read()


if named := os.environ.get("STEPPED_CLOCK"):
    _shift(Path(named))
