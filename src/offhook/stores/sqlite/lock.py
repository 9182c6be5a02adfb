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

    A second file says whether a writer waits that the others should let go first: it is locked for
    as long as one does, and so no longer than its process lives
    (docs/decisions/0018-webhooks-write-first.md).

    Attributes:
        path: the lock's file.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + "-lock")
        self._line = _Flock(self.path)
        self._urgent = _Flock(database.with_name(database.name + "-urgent"))

    def open(self) -> None:
        """Open the lock's files, readable by their owner alone."""
        self._line.open()
        self._urgent.open()

    def close(self) -> None:
        """Close the files, and so release the lock."""
        self._line.close()
        self._urgent.close()

    def try_take(self) -> bool:
        """Take the lock if it is free."""
        return self._line.try_take(fcntl.LOCK_EX)

    def take(self, *, urgent: bool = False) -> None:
        """Take the lock, or give up waiting for it. Blocks.

        Args:
            urgent: tell the other writers that this one should go first.
        """
        deadline = time.monotonic() + _TIMEOUT
        claimed = False
        try:
            while not self.try_take() and time.monotonic() < deadline:
                # Not free if another urgent writer has it, or if a writer just looks at it.
                claimed = claimed or (urgent and self._urgent.try_take(fcntl.LOCK_EX))
                time.sleep(_STEP)
        finally:
            if claimed:
                self._urgent.release()

    def is_wanted(self) -> bool:
        """Return whether an urgent writer waits. Never blocks."""
        if not self._urgent.try_take(fcntl.LOCK_SH):
            return True
        self._urgent.release()
        return False

    def release(self) -> None:
        """Release the lock. Harmless when it was not taken."""
        self._line.release()


class _Flock:
    """A file that exists to be locked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def open(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def try_take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
