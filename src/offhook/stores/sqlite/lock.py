"""A queue for the writers of one database file, over all processes."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

_STEP: Final = 0.0003  # seconds between two looks at a lock that another process holds
# Whoever holds the lock for longer than this is stopped, or its handler does not let Python's
# global lock go. SQLite's own lock is free then, and that is the one which counts.
_PATIENCE: Final = 0.05


class WriterLock:
    """An advisory `flock` on a file beside the database, asked for before each transaction.

    SQLite's own busy handler sleeps for longer and longer: between three processes, commits took
    34-107 ms at p99.9. The lock only makes those who write take turns; one that cannot be had
    within 50 ms is done without (docs/decisions/0003-sqlite-between-processes.md).
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-lock")
        self._fd = -1

    def open(self) -> None:
        """Open the lock's file, readable by its owner alone."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file, and so release the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def try_take(self) -> bool:
        """Take the lock if nobody has it."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take(self) -> None:
        """Take the lock, or give up waiting for it. Blocks."""
        deadline = time.monotonic() + _PATIENCE
        while not self.try_take() and time.monotonic() < deadline:
            time.sleep(_STEP)

    def release(self) -> None:
        """Let the next one have it. Harmless when it was not taken."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
