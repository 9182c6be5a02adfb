"""How much memory a process has, and by how much it has grown."""

import os
from pathlib import Path

GROWTH: int = 128 * 1024 * 1024
"""Bytes by which a process may grow while its caches fill. Full, after some 200,000 different
requests, they take 84 MiB."""

FULL = 300_000
"""Requests after which they are full."""

STEADY: int = 8 * 1024 * 1024
"""Bytes by which a process may grow from then on, whatever comes."""


def resident(pid: int | str = "self") -> int:
    """Return the bytes of memory that a process has."""
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


class Growth:
    """The growth of a process from now on, and its bound in bytes."""

    def __init__(self, pid: int | str = "self", bound: int = GROWTH) -> None:
        self._pid = pid
        self._bound = bound
        self._first = resident(pid)
        self.most = 0

    def look(self) -> None:
        """Look at it, and check it against the bound."""
        self.most = max(self.most, resident(self._pid) - self._first)
        assert self.most <= self._bound, str(self)

    def __str__(self) -> str:
        return f"{self.most / 2**20:.1f} MiB grown, of {self._bound / 2**20:.0f} at most"
