"""Begin write transactions, at once or within a second."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from offhook.errors import StoreBroken, StoreUnavailable
from offhook.stores.sqlite.connection import BUSY_TIMEOUT
from offhook.stores.sqlite.files import FileMoved, Files, Opened
from offhook.stores.sqlite.lock import WriterLock

_STEP: Final = 0.0005
# Instructions of SQLite's machine, some 0.1 ms, between two looks at whether to go on migrating.
_LOOK_AFTER: Final = 10_000
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def failure(doing: str, path: Path, error: Exception) -> StoreUnavailable:
    """Return the error that callers see, in place of one of SQLite or of the system."""
    if isinstance(error, FileMoved):
        refusal: StoreUnavailable = StoreBroken(str(error))
    else:
        known = isinstance(error, OSError | sqlite3.Error)  # others' words may quote people
        text = f"cannot {doing} {path}: {error if known else type(error).__name__}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        refusal = StoreBroken(text) if code in _DAMAGED else StoreUnavailable(text)
    refusal.__cause__ = error
    return refusal


class BatchInProgressError(RuntimeError):
    """A batch began while another is being committed: a mistake of the caller's."""


class Writer:
    """The connection that writes, opened anew after a failure, whatever state it was in.

    Two threads use it, one at a time: from `begin` to `commit` or `fail` it belongs to one batch.
    Its methods raise `sqlite3.Error` or `OSError`; `fail` makes the error of them that callers see.
    """

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._lock = WriterLock(path)
        self._opened: Opened | None = None
        self._abandoned = False
        self._in_use = threading.Lock()  # by a batch; never waited for

    def prepare(self, migrate: Callable[[sqlite3.Connection], None]) -> None:
        """Create the file if need be, and bring its schema up to date."""
        self._files.look()
        self._lock.open()
        self._lock.take()
        try:
            self._opened = self._files.open_first(self._lock.path)
            connection = self._opened.connection
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
            connection.set_progress_handler(lambda: self._abandoned, _LOOK_AFTER)
            migrate(connection)
            connection.set_progress_handler(None, 0)
            connection.execute("PRAGMA busy_timeout = 0")
            self._files.settle_on(self._opened)
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Have `prepare`, which runs on another thread, fail soon, and undo what it has begun."""
        self._abandoned = True

    def try_begin(self) -> sqlite3.Connection | None:
        """Begin a transaction if no other process is writing; never blocks."""
        if not self._lock.try_take():
            return None
        try:
            return self._begin()
        except sqlite3.OperationalError as error:
            self._lock.release()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return None
            raise

    def begin(self) -> sqlite3.Connection:
        """Begin a transaction when the others have finished theirs; blocks for a second at most."""
        self._lock.take()
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                return self._begin()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_STEP)

    def commit(self) -> None:
        """Commit, and let the next one write. Blocks for an fsync.

        Raises `FileMoved` after the commit, too: in a file that is out of reach it does not count.
        """
        if self._opened is not None:
            self._opened.connection.execute("COMMIT")
            self._opened.check()
        self._lock.release()
        self._in_use.release()

    def fail(self, error: Exception) -> StoreUnavailable:
        """Undo what was begun, and return the error for those who waited for it."""
        if isinstance(error, BatchInProgressError):  # the other batch goes on
            return failure("write", self._path, error)
        self.disconnect()  # rolls back
        self._lock.release()
        if self._in_use.locked():
            self._in_use.release()
        return failure("write", self._path, error)

    def look(self) -> None:
        """Close the connection if its file is not the store any more. Not within a transaction."""
        if self._opened is not None:
            try:
                self._opened.check()
            except OSError:
                self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next transaction opens another."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def close(self) -> None:
        """Close the file."""
        self.disconnect()
        self._lock.close()

    def _begin(self) -> sqlite3.Connection:
        if not self._in_use.acquire(blocking=False):
            raise BatchInProgressError("a batch began before the last one was committed")
        try:
            if self._opened is None:
                self._opened = self._files.open_again()
            self._opened.check_database()
            self._opened.connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._in_use.release()
            raise
        return self._opened.connection
