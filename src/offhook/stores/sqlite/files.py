"""Which files a store is made of, and whether their names still lead to those that are open.

A file that was removed, or renamed, goes on working for processes that have it open: what they
commit is durable, and can't be found (docs/decisions/0021-a-store-that-is-broken.md).
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from offhook.stores.sqlite.connection import connect

_Identity = tuple[int, int]  # device and inode

_CREATION_TIMEOUT: Final = 3.0  # seconds; to make a database takes a few milliseconds and fsyncs
_STEP: Final = 0.02  # seconds between two looks


class FileMoved(OSError):  # noqa: N818 - named after what is the case, as all of ours
    """A name leads to another file than the one that is open, or to none."""


class Opened:
    """A connection, and the files behind it.

    Looking them up by name opens none: to close the database's file would drop the process' locks
    on it (`connect`).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._name = str(path)
        self._log = _log_of(path)
        self._known = {name: _identity(name) for name in (self._name, *self._log)}

    @property
    def identity(self) -> _Identity | None:
        """The database's own file."""
        return self._known[self._name]

    def check(self) -> None:
        """Look whether all names still lead to the files that are open.

        Raises:
            FileMoved: one does not. What was committed may be out of reach.
        """
        for name in self._known:
            self._check(name)

    def check_database(self) -> None:
        """Look whether the database's own name still leads to the file that is open.

        Raises:
            FileMoved: it does not. To write to the log, which both share, would damage the other.
        """
        self._check(self._name)

    def _check(self, name: str) -> None:
        known, found = self._known[name], _identity(name)
        if found == known:
            return
        if found is None:
            raise FileMoved(f"{name} is gone: it was removed, or renamed, while it was in use")
        if known is not None:
            raise FileMoved(f"{name} was replaced while it was in use")
        self._known[name] = found  # a new database's log is made by its first transaction

    def close(self) -> None:
        """Close the connection, and undo what it has begun. What a lost log holds is saved first.

        SQLite would save it with the last connection alone, and of two that are closed at once
        neither is the last: usually that is no matter, for the log is found again.
        """
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
        with suppress(sqlite3.Error, OSError):
            try:
                self.check()
            except FileMoved:
                self._save_log()
        self.connection.close()

    def _save_log(self) -> None:
        """Move the log into its database, wherever that is by now, unless there is another log.

        A log whose database has lost its name is removed: another database that is put in its place
        would take it for its own.
        """
        log, index = self._log
        if _identity(log) not in {None, self._known[log]}:
            return
        moving = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        _, logged, moved = moving.fetchone()
        if logged == moved and _identity(self._name) != self.identity:
            for name in (log, index):
                if self._known[name] is not None and _identity(name) == self._known[name]:
                    os.unlink(name)  # noqa: PTH108 - names are strings here


class Files:
    """Opens connections to one store's file, and to no other that takes its name.

    Args:
        path: of the database, absolute.
        create: whether to make it where there is none, when it is opened first.
        follow: whether to go on with a file that has replaced it. What was written before is not
            in that one: a holder of leases must not go on.
        adopt: called with a connection to the file that is gone on with.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool,
        follow: bool,
        adopt: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._path = path
        self._create = create
        self._follow = follow
        self._adopt = adopt
        self._beside = _log_of(path)
        self._identity: _Identity | None = None
        self._logs: set[_Identity | None] = set()
        self._schema = 0
        # Of two threads, one would open the log by the name that the other has just given to
        # another one.
        self._opening = threading.Lock()

    def look(self) -> None:
        """Look whether the store can be opened, before anything is made beside it.

        Raises:
            FileMoved: there is no store, and it may not be made.
        """
        if not self._path.exists():
            if not self._create:
                raise FileMoved(f"there is no {self._path}")
            self._refuse_orphan()

    def open_first(self, made_like: Path) -> Opened:
        """Open the store, whatever file it is.

        Args:
            made_like: has the mode that a new file is to have.
        """
        self._refuse_half(timeout=_CREATION_TIMEOUT)
        made = connect(self._path, made_like=made_like if self._create else None)
        return Opened(self._path, made)

    def settle_on(self, opened: Opened) -> None:
        """Take the file that was opened for the store, with the schema that it has now."""
        self._identity = opened.identity
        (self._schema,) = opened.connection.execute("PRAGMA user_version").fetchone()
        self._note_log()

    def open_again(self) -> Opened:
        """Open another connection.

        Raises:
            FileMoved: the file is gone, or it is another one that can't be gone on with.
        """
        with self._opening:
            return self._open_again()

    def _open_again(self) -> Opened:
        found = _identity(str(self._path))
        if found is None:
            raise FileMoved(
                f"{self._path} is gone: it was removed, or renamed, while it was in use"
            )
        if found != self._identity and not self._follow:
            raise FileMoved(f"{self._path} was replaced while it was in use")
        if found != self._identity:
            self._put_former_log_aside()
        self._refuse_half(timeout=_STEP)  # another connection may be looking, too

        def check() -> None:
            # Or the log, which is the one of `found`, would be applied to its replacement.
            if _identity(str(self._path)) != found:
                raise FileMoved(f"{self._path} was replaced while it was opened")

        opened = Opened(self._path, connect(self._path, check=check))
        try:
            self._accept(opened, found)
        except BaseException:
            opened.connection.close()  # or the next attempt would find the database in use
            raise
        self._note_log()
        return opened

    def _accept(self, opened: Opened, found: _Identity) -> None:
        """Go on with a file that was found under the store's name, or raise `FileMoved`."""
        if opened.identity != found:
            raise FileMoved(f"{self._path} was replaced while it was opened")
        if found == self._identity:
            return
        (schema,) = opened.connection.execute("PRAGMA user_version").fetchone()
        if schema != self._schema:
            raise FileMoved(f"{self._path} was replaced by a file with another schema: {schema}")
        self._adopt(opened.connection)
        self._identity = found

    def _note_log(self) -> None:
        self._logs = {_identity(name) for name in self._beside} - {None}

    def _put_former_log_aside(self) -> None:
        """Take the former file's log from the one that has replaced it, which would be damaged.

        It was left there by a connection that ended before the file was replaced.
        """
        log, index = self._beside
        if _identity(log) in self._logs:
            Path(log).rename(f"{log}-former")
        if _identity(index) in self._logs:
            Path(index).unlink()

    def _refuse_half(self, *, timeout: float) -> None:
        """Refuse a database whose log, or its index, was removed while a process has them open.

        A second log beside one that is still in use destroys the database when both are moved into
        it. Without a log no process should have the database open: that is tried, by locking it.

        Args:
            timeout: seconds for another process that is about to make them.
        """
        deadline = time.monotonic() + timeout
        while not (self._is_whole() or self._is_free()):
            if time.monotonic() >= deadline:
                raise FileMoved(
                    f"the log of {self._path} was removed while it was in use: end the processes "
                    "that have it open (offhook doctor names them), which saves what it holds"
                )
            time.sleep(_STEP)

    def _is_free(self) -> bool:
        """Return whether no process has the database open. A new one, still empty, has no log."""
        if not self._path.exists() or not self._path.stat().st_size:
            return True
        probe = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0
        )
        try:
            probe.execute("PRAGMA locking_mode = EXCLUSIVE")
            probe.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        finally:
            probe.close()
        return True

    def _is_whole(self) -> bool:
        return all(_identity(name) is not None for name in self._beside)

    def _refuse_orphan(self) -> None:
        """Refuse to make a database beside a log that holds something: SQLite would empty it."""
        log = Path(self._beside[0])
        if log.exists() and log.stat().st_size:
            raise FileMoved(
                f"there is no {self._path}, but its log {log}, which may hold messages: put the "
                "file back, or move the log away to begin anew"
            )


def beside(store: Path, suffix: str) -> Path:
    """Return a path beside the file itself: processes may name a store by different links."""
    return Path(f"{os.path.realpath(store)}{suffix}")


def _log_of(path: Path) -> tuple[str, str]:
    """Return the names of the log and its index."""
    return str(beside(path, "-wal")), str(beside(path, "-shm"))


def _identity(name: str) -> _Identity | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - three times a commit
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
