"""Make the writers of one database file take turns, over all processes."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

_STEP: Final = 0.0003  # seconds between two looks at a lock that another process holds
# A process that holds the lock for longer than this is stopped, or its handler does not release
# Python's global lock. SQLite's own lock is free then, and that is the one which counts.
_TIMEOUT: Final = 0.05


class WriterLock:
    """An advisory `flock` on a file beside the database, asked for before each transaction.

    SQLite's own busy handler sleeps for longer and longer: between three processes, commits took
    34-107 ms at p99.9. The lock only makes writers take turns; one that is not free within
    50 ms is done without (docs/decisions/0003-sqlite-between-processes.md).

    Attributes:
        path: the lock's file.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + "-lock")
        self._fd = -1

    def open(self) -> None:
        """Open the lock's file, readable by its owner alone."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file, and so release the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def try_take(self) -> bool:
        """Take the lock if it is free."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take(self) -> None:
        """Take the lock, or give up waiting for it. Blocks."""
        deadline = time.monotonic() + _TIMEOUT
        while not self.try_take() and time.monotonic() < deadline:
            time.sleep(_STEP)

    def release(self) -> None:
        """Release the lock. Harmless when it was not taken."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
