"""What the processes that share a spool agree on: whether it is empty, and the time."""

import fcntl
import mmap
import os
import secrets
import time
from pathlib import Path
from typing import Final

from offhook.clock import boot, elapsed_ns
from offhook.errors import StoreUnavailable

_MARK_BYTES: Final = 8


class Mark:
    """A few bytes beside the spool that are never the same again once something was kept.

    A process that found the spool empty while the mark was X knows that it is still empty as long
    as the mark is X. It is read from memory (0.1 us): SQLite would take locks, and even a
    system call gives Python's global lock away. It is written by a system call, which says so when
    the disk is full, where writing to memory would kill the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._map: mmap.mmap | None = None

    def open(self) -> None:
        """Open the file, readable by its owner alone."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < _MARK_BYTES:
            os.ftruncate(self._fd, _MARK_BYTES)
        self._map = mmap.mmap(self._fd, _MARK_BYTES, prot=mmap.PROT_READ)

    def read(self) -> bytes:
        """Return the mark."""
        if self._map is None:
            raise StoreUnavailable("the spool is closed")
        return self._map[:]

    def change(self) -> None:
        """Make it one that never was. Random, so that processes need not agree on the next."""
        os.pwrite(self._fd, secrets.token_bytes(_MARK_BYTES), 0)

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SharedClock:
    """A clock on which all processes agree that name the same file.

    It goes on evenly, however the wall clock is set meanwhile: the file has its distance to the
    machine's elapsed time, measured once after each start of the machine.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._distance = 0

    def open(self) -> None:
        """Read the distance, or measure it and write it down.

        Raises:
            OSError: the file can't be read or written.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            start, _, known = os.pread(fd, 1024, 0).decode("ascii", "replace").partition(" ")
            if start == boot() and known.strip().isdecimal():
                self._distance = int(known)
            else:
                self._distance = time.time_ns() - elapsed_ns()
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{boot()} {self._distance}\n".encode(), 0)
        finally:
            os.close(fd)

    def now(self) -> int:
        """Return nanoseconds."""
        return elapsed_ns() + self._distance
