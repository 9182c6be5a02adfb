"""One connection, and transactions that wait for nobody or for a second."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from offhook.errors import StoreUnavailable
from offhook.stores.sqlite.lock import WriterLock

# For programs that write without our lock, such as the sqlite3 shell, or a process that was
# stopped in the middle of a transaction.
_PATIENCE: Final = 1.0
_STEP: Final = 0.0005
# Instructions of SQLite's machine, some 0.1 ms, between two looks at whether to go on migrating.
_LOOK_AFTER: Final = 10_000
# Pages of the write-ahead log after which a commit checkpoints as well. Most of them are in the
# database by then (`Engine`), but only a writer can begin the log anew.
_AUTOCHECKPOINT: Final = 20_000


def connect(path: Path, *, made_like: Path | None = None) -> sqlite3.Connection:
    """Return a connection that commits durably: write-ahead log, one fsync a commit.

    It waits for no lock by itself, and may be used by several threads, one at a time.

    Only SQLite ever opens the file, or its log or index. POSIX locks belong to a process, and
    closing any descriptor of a file drops all that the process has on it: had we opened and closed
    it ourselves, other processes would see no lock, take themselves for the last, and delete the
    log (https://www.sqlite.org/howtocorrupt.html, section 2.2). SQLite knows its own descriptors,
    and closes none while another connection of the process has a lock.

    Args:
        path: absolute.
        made_like: if there is no such file, make it, with the mode of this one from the first
            moment on. SQLite gives its log and index the same mode. Without it a missing file is
            an error, for a new one would be empty.
    """
    # https://www.sqlite.org/uri.html#recognized_query_parameters
    mode = "mode=rw" if made_like is None else f"mode=rwc&modeof={quote(bytes(made_like))}"
    connection = sqlite3.connect(
        f"{path.as_uri()}?{mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=0,
    )
    connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}")
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {_AUTOCHECKPOINT}",
        "cache_size = -65536",  # KiB
        "temp_store = MEMORY",
        "busy_timeout = 0",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


class Writer:
    """The connection that writes, opened anew after a failure: what state it was in, nobody asks.

    Its methods raise `sqlite3.Error` or `OSError`; `fail` makes the error of them that callers see.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = WriterLock(path)
        self._connection: sqlite3.Connection | None = None
        self._abandoned = False
        self._began = 0.0

    def prepare(self, migrate: Callable[[sqlite3.Connection], None]) -> None:
        """Create the file if need be, and bring its schema up to date."""
        self._lock.open()
        self._lock.take()
        try:
            self._connection = connect(self._path, made_like=self._lock.path)
            self._connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}")
            self._connection.set_progress_handler(lambda: self._abandoned, _LOOK_AFTER)
            migrate(self._connection)
            self._connection.set_progress_handler(None, 0)
            self._connection.execute("PRAGMA busy_timeout = 0")
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Have `prepare`, which runs on another thread, fail soon, and undo what it has begun."""
        self._abandoned = True

    def try_begin(self) -> sqlite3.Connection | None:
        """Begin a transaction if nobody else is writing; never blocks."""
        if not self._lock.try_take():
            return None
        try:
            return self._begin()
        except sqlite3.OperationalError as error:
            self._lock.release()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return None
            raise

    def begin(self, *, urgent: bool = False) -> sqlite3.Connection:
        """Begin a transaction when the others have finished theirs; blocks for a second at most.

        Args:
            urgent: somebody is on the phone; whoever else writes should let us go first.
        """
        self._lock.take(urgent=urgent)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._begin()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_STEP)

    def commit(self) -> float:
        """Commit, and let the next one write. Blocks for an fsync.

        Returns:
            For how many seconds the others had to wait for it, when for one of them it is urgent.
        """
        if self._connection is not None:
            self._connection.execute("COMMIT")
        held = time.monotonic() - self._began if self._lock.is_wanted() else 0.0
        self._lock.release()
        return held

    def fail(self, error: Exception) -> StoreUnavailable:
        """Undo what was begun, and return what to tell those who waited for it."""
        if self._connection is not None:
            self._connection.close()  # rolls back
            self._connection = None
        self._lock.release()
        known = isinstance(error, OSError | sqlite3.Error)  # others' words may quote people
        refusal = StoreUnavailable(
            f"cannot write {self._path}: {error if known else type(error).__name__}"
        )
        refusal.__cause__ = error
        return refusal

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._lock.close()

    def _begin(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._path)
        self._connection.execute("BEGIN IMMEDIATE")
        self._began = time.monotonic()
        return self._connection
