"""The file of an arrivals log: an SQLite database with a row for each commit.

Logs are beside a store in a file, or beside the path of a spool: their home. One process appends to
each, and the sorter, or the forwarder, reads them all; SQLite makes sure that each row is there as
a whole or not at all, and that a reader needs no lock that a writer would wait for
(docs/decisions/0032-the-arrivals-log.md).
"""

import fcntl
import glob
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, Self
from weakref import WeakSet

from offhook.errors import SchemaTooNew
from offhook.events import Problem, Topic
from offhook.stores.sqlite.connection import BUSY_TIMEOUT, connect
from offhook.stores.sqlite.files import FileMoved, Opened, beside

_VERSION: Final = 1
_SCHEMA: Final = f"""
    BEGIN IMMEDIATE;
    -- Its name, by which the store knows how far it has been sorted; how far it was trimmed; and
    -- what `check` writes.
    CREATE TABLE log (name BLOB NOT NULL, trimmed INTEGER NOT NULL, probe BLOB);
    INSERT INTO log VALUES (randomblob(16), 0, NULL);
    CREATE TABLE arrivals (
        id INTEGER PRIMARY KEY,
        newest INTEGER NOT NULL,
        number INTEGER NOT NULL,
        batch BLOB NOT NULL
    );
    -- What can't be sorted, for people to look into.
    CREATE TABLE unsorted (id INTEGER PRIMARY KEY, reason TEXT NOT NULL, batch BLOB NOT NULL);
    PRAGMA user_version = {_VERSION};
    COMMIT;
"""

_FREE: Final = 16_384  # pages, 64 MB: a log that is as good as always empty needs some dozens
# Rows are written and read once, one after another.
_CACHE_KIB: Final = 2048
_COPIED: Final = 256  # rows that are copied with one commit
_STEP: Final = 0.0005  # seconds between two attempts to write: the one who appends is quick
_INFIX: Final = "-arrivals-"
_ASIDE: Final = "-unreadable-"
# The last is what a query gets of a database that has other tables.
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


class Row(NamedTuple):
    """One commit of a log.

    Attributes:
        id: its place in the log.
        newest: when the last of its arrivals was received, in nanoseconds of the store's clock.
        number: of its arrivals.
        batch: see `record.unpack`.
    """

    id: int
    newest: int
    number: int
    batch: bytes


class Waiting(NamedTuple):
    """What a log, or several, hold that is yet to be sorted.

    Attributes:
        number: of arrivals.
        since: when the first commit of them was received, in nanoseconds of the store's clock;
            None if there is none.
    """

    number: int
    since: int | None


class LogFile:
    """A log that is open. Its methods block, and raise `sqlite3.Error` or `OSError`.

    Attributes:
        path: of the database.
        name: of the log, in the store; another file has another one, whatever its path.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # What people wrote is overwritten when it is trimmed.
        connection.execute("PRAGMA secure_delete = ON")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise SchemaTooNew(f"a newer offhook has written {path}: start that one")
        if not version:  # it was being made when its process died
            raise FileNotFoundError(f"{path} is empty")
        (name,) = connection.execute("SELECT name FROM log").fetchone()
        self.name: bytes = name
        self._trimmed = 0
        self._last = 0
        try:
            self._last = self.end()
        except sqlite3.DatabaseError as error:
            if not is_unreadable(error):
                raise  # else what can be read of it is copied
        self._opened = Opened(path, connection)
        self._name = str(path)
        self._size = 0
        self._shrinks = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a log that exists."""
        return cls._of(path, connect(path))

    @classmethod
    def _of(cls, path: Path, connection: sqlite3.Connection) -> Self:
        try:
            return cls(path, connection)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def make(cls, path: Path, made_like: Path) -> Self:
        """Open a log, making it if need be.

        Args:
            path: of the database.
            made_like: has the mode that a new file is to have.
        """
        connection = connect(path, made_like=made_like)
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if not version:
                connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return cls._of(path, connection)

    def append(self, batch: bytes, newest: int, number: int) -> int:
        """Commit a row durably; return its place.

        Places go by the time: a log that comes from a backup, older than what the store has read of
        it, does not give them again to what would then count as read.
        """
        place = max(self._last + 1, newest)
        self._connection.execute(
            "INSERT INTO arrivals VALUES (?, ?, ?, ?)", (place, newest, number, batch)
        )
        self._last = place
        return place

    def set_aside(self, batch: bytes, reason: str) -> None:
        """Keep a batch that can't be sorted, whatever is trimmed; once, though it is read again."""
        self._connection.execute(
            "INSERT INTO unsorted (reason, batch) SELECT ?1, ?2 "
            "WHERE NOT EXISTS (SELECT 1 FROM unsorted WHERE batch = ?2)",
            (reason, batch),
        )

    def all_set_aside(self) -> list[tuple[int, bytes]]:
        """Return the batches that were set aside, and where they are."""
        return self._connection.execute("SELECT id, batch FROM unsorted ORDER BY id").fetchall()

    def erase_set_aside(self, id_: int, rest: bytes | None) -> None:
        """Leave the rest of a batch that was set aside, or nothing of it; overwrite what goes."""
        if rest is None:
            self._connection.execute("DELETE FROM unsorted WHERE id = ?", (id_,))
        else:
            self._connection.execute("UPDATE unsorted SET batch = ? WHERE id = ?", (rest, id_))

    def end(self) -> int:
        """Return the place of the last row; that of what was trimmed, if there is none."""
        last: int | None
        trimmed: int
        last, trimmed = self._connection.execute(
            "SELECT (SELECT max(id) FROM arrivals), trimmed FROM log"
        ).fetchone()
        return max(last or 0, trimmed)

    def waiting(self, after: int, at_most: int | None = None) -> Waiting:
        """Return what is behind a place; once that is `at_most` arrivals, the rest may be left out.

        All are counted by reading the whole log: half a second for a million.
        """
        found = self._connection.execute(
            "SELECT coalesce(sum(number), 0), min(newest) FROM "
            "(SELECT number, newest FROM arrivals WHERE id > ? ORDER BY id LIMIT ?)",
            (after, -1 if at_most is None else at_most),
        )
        return Waiting(*found.fetchone())

    def read(self, after: int, limit: int) -> list[Row]:
        """Return rows behind a place, up to that with which they hold so many arrivals."""
        rows: list[Row] = []
        number = 0
        cursor = self._connection.execute(
            "SELECT id, newest, number, batch FROM arrivals WHERE id > ? ORDER BY id", (after,)
        )
        with closing(cursor):
            try:
                for found in cursor:
                    rows.append(Row(*found))
                    number += rows[-1].number
                    if number >= limit:
                        break
            except sqlite3.DatabaseError as error:
                if not (rows and is_unreadable(error)):
                    raise  # else the next read begins where it is damaged
        return rows

    def _beyond(self, after: int) -> int | None:
        """Return the place behind which more may be read, where what follows `after` can't be."""
        first: int | None = None
        query = "SELECT id FROM arrivals WHERE id > ? ORDER BY id DESC"
        try:
            with closing(self._connection.execute(query, (after,))) as cursor:
                for (found,) in cursor:
                    first = found
        except sqlite3.DatabaseError:  # it is the page before that of `first` which is damaged
            return None if first is None else max(first - 1, after + 1)
        return first

    def copy_to(self, other: "LogFile") -> tuple[int, Exception | None]:
        """Append all rows that can be read to another log.

        Returns:
            How many they are, and why others can't be read.
        """
        copied, damage = 0, None
        after: int | None = 0
        while after is not None:
            try:
                rows = self.read(after, _COPIED)
            except sqlite3.DatabaseError as error:
                if not is_unreadable(error):
                    raise
                after, damage = self._beyond(after), error
                continue
            if not rows:
                break
            other.append_all(rows)
            copied, after = copied + len(rows), rows[-1].id
        return copied, damage

    def append_all(self, rows: Sequence[Row]) -> None:
        """Append rows of another log with one commit."""
        last = self._last
        try:
            with self._transaction():
                for row in rows:
                    self.append(row.batch, row.newest, row.number)
        except BaseException:
            self._last = last
            raise

    def tidy(self, position: int) -> None:
        """Remove all rows up to a place, and what they took of the disk; look at what follows.

        Raises:
            sqlite3.DatabaseError: what is appended behind a damaged page can't be read.
        """
        self.trim(position)
        self.checkpoint()
        self._shrink()
        self.read(position, 1)

    def trim(self, position: int) -> None:
        """Remove all rows up to a place. Whoever reads the log may do so as well."""
        if position <= self._trimmed:
            return
        with self._transaction():
            self._connection.execute("UPDATE log SET trimmed = max(trimmed, ?)", (position,))
            self._connection.execute("DELETE FROM arrivals WHERE id <= ?", (position,))
        self._trimmed = position

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._begin()
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _begin(self) -> None:
        """Begin to write, within a second: between two commits of the process that appends."""
        deadline = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_STEP)
            else:
                return

    def is_empty(self) -> bool:
        """Return whether all that was appended has been trimmed."""
        (held,) = self._connection.execute("SELECT EXISTS (SELECT 1 FROM arrivals)").fetchone()
        return not held

    def _shrink(self) -> None:
        """Give back what a long backlog took of the disk, once it is empty."""
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        if free > _FREE and self.is_empty():
            self._connection.execute("VACUUM")
            self._shrinks = True  # with the checkpoint that no reader holds up
            self.checkpoint()

    def checkpoint(self) -> None:
        """Move what its write-ahead log holds into the database, as far as no reader needs it."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def probe(self) -> None:
        """Write as much as a webhook can take; see `stores.sqlite.sorting.touch`."""
        self._connection.execute("UPDATE log SET probe = randomblob(65536)")

    def check(self) -> None:
        """Look whether the names of its files still lead to them, and it is whole.

        Raises:
            FileMoved: one does not, or it was cut: only `shrink` makes it shorter.
        """
        self._opened.check()
        known, self._size = self._size, os.stat(self._name).st_size  # noqa: PTH116 - once a commit
        if self._size < known and self._shrinks:
            self._shrinks = False
        elif self._size < known:
            raise FileMoved(f"{self.path} was cut while it was in use")

    def close(self) -> None:
        """Close it."""
        self._opened.close()


class Slot:
    """The right to write one of the logs, which ends with the process that has it.

    Not with its children: a forked one, such as a process pool of a handler's, may live on.

    Attributes:
        path: of the log.
        lock: of the lock's file.
    """

    def __init__(self, path: Path, lock: Path, descriptor: int) -> None:
        self.path = path
        self.lock = lock
        self._lock_name = str(lock)
        self._descriptor = descriptor
        own = os.fstat(descriptor)
        self._identity = own.st_dev, own.st_ino
        _held.add(self)

    @classmethod
    def take(cls, home: Path) -> Self:
        """Take the first that no process has; that of a process that has died comes with its log.

        Args:
            home: the path that the logs are beside.

        Raises:
            OSError: no file can be made there.
        """
        for number in count(1):
            if (slot := cls.try_take(path_of(home, number), home)) is not None:
                return slot
        raise AssertionError

    @classmethod
    def try_take(cls, path: Path, home: Path) -> Self | None:
        """Take the one of a log, or of whatever else has such a path; None if a process has it."""
        lock = path.with_name(path.name + "-lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _give_to_owner(descriptor, home)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return cls(path, lock, descriptor)

    def check(self, home: Path) -> None:
        """Look whether its log is where others look for it.

        Raises:
            FileMoved: it is not: the store is a link, which leads to another one.
        """
        real = _real(home)
        found = real.parent == self.path.parent and self.path.name.startswith(real.name + _INFIX)
        if not found and real.exists():
            raise FileMoved(f"{home} leads to {real} now, not to what {self.path} is beside")

    def is_held(self) -> bool:
        """Return whether the lock's name still leads to it: if not, others can take it too."""
        try:
            found = os.stat(self._lock_name)  # noqa: PTH116 - once a commit
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def open(self) -> LogFile:
        """Open its log, making it if need be."""
        if os.geteuid() == 0:
            self._make_for_owner()
        return LogFile.make(self.path, self.lock)

    def _make_for_owner(self) -> None:
        """Make a file for the owner of the lock: sorting needs all logs, and root's would stop it.

        SQLite makes a database as the one who runs it, and its log and index as the database.
        """
        with suppress(FileExistsError):
            descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            try:
                owner = self.lock.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            finally:
                os.close(descriptor)

    def put_aside(self, error: Exception) -> Problem:
        """Rename a log that can't be read, so that another can be begun; return what to report."""
        aside = self.path.with_name(f"{self.path.name}{_ASIDE}{secrets.token_hex(4)}")
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        text = f"{self.path} can't be read ({error}): it was renamed {aside.name}"
        return Problem(Topic.ARRIVALS, text)

    def move(self, file: LogFile, to: LogFile, error: Exception) -> Problem:
        """Copy what its log holds to another one, as far as it can be read, and close it.

        Args:
            file: its log.
            to: another one.
            error: why. A log that is damaged is put aside as well.

        Returns:
            What to report.
        """
        copied, damage = file.copy_to(to)
        if is_unreadable(error):
            damage = damage or error
        text = f"what could be read of it ({copied} commits) was copied to {to.path}"
        if damage is not None:
            text = f"{text}; {self.put_aside(damage).text}"
        file.close()
        return Problem(Topic.ARRIVALS, f"{error}: {text}")

    def release(self) -> None:
        """Let another process have it. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_held: Final = WeakSet[Slot]()


def _forget_in_child() -> None:
    for slot in list(_held):
        slot.release()


os.register_at_fork(after_in_child=_forget_in_child)


def _give_to_owner(descriptor: int, home: Path) -> None:
    """Let the owner of the store use a file, where root runs a command that makes it first.

    A spool has no file of its own: the directory's owner is taken for its owner.
    """
    if os.geteuid() == 0:
        with suppress(OSError):
            owner = home.stat() if home.exists() else home.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def path_of(home: Path, number: int) -> Path:
    """Return the path of a log."""
    return beside(home, f"{_INFIX}{number}")


def _real(home: Path) -> Path:
    return Path(os.path.realpath(home))


def logs_of(home: Path) -> Iterator[Path]:
    """Yield the paths of all logs beside a path, whoever writes them."""
    first = path_of(home, 1)
    prefix = first.name.removesuffix("1")
    with suppress(FileNotFoundError), os.scandir(first.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name[len(prefix) :].isdecimal():
                yield Path(entry.path)


def put_aside(home: Path) -> Iterator[Path]:
    """Yield the paths of the logs beside a path that could not be read."""
    real = _real(home)
    for path in real.parent.glob(f"{glob.escape(real.name)}{_INFIX}*{_ASIDE}*"):
        if not path.name.endswith(("-wal", "-shm")):
            yield path


def is_unreadable(error: Exception) -> bool:
    """Return whether an error says that a log will never be read, and not only not now."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _BROKEN
