"""Empty the spool of an earlier version, which was a file with the schema of a store.

Processes of that version may still write to it, until the last of them has ended.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final

from offhook.arrivals.file import LogFile, Slot, is_unreadable, path_of
from offhook.arrivals.record import Arrival, pack
from offhook.clock import NS_OF_MS
from offhook.core.inbound import Webhook
from offhook.core.keys import Kind
from offhook.events import Observer, Problem, Topic
from offhook.stores.sqlite.clock import StoreClock
from offhook.stores.sqlite.conditions import IS_LIVE
from offhook.stores.sqlite.connection import BUSY_TIMEOUT, connect

_BATCH: Final = 256  # webhooks that are moved with one commit
_TRY_EVERY: Final = 1.0  # seconds between two attempts to rename it: each locks it for a moment


class OldSpool:
    """A file that may be there, and hold webhooks. Its methods block.

    Args:
        path: of the file.
        observer: called when it can't be read.
    """

    def __init__(self, path: Path, observer: Observer) -> None:
        self._path = path
        self._observer = observer
        self._unreadable = False
        self._next_try = 0.0

    def exists(self) -> bool:
        """Return whether there is one."""
        return not self._unreadable and self._path.exists()

    def count(self) -> int:
        """Return how many webhooks it holds."""
        return self._use(_count) if self.exists() else 0

    def move(self, home: Path, now: Callable[[], int]) -> None:
        """Move what it holds to a log, in order; rename the file, unless a process has it open.

        A death in between moves some of it twice, which makes the second a repeat.

        Args:
            home: the path that the log is beside.
            now: the time by which that goes, in nanoseconds.
        """
        if self.exists():
            self._use(lambda connection: self._move(connection, home, now))

    def _use(self, work: Callable[[sqlite3.Connection], int]) -> int:
        try:
            with closing(connect(self._path)) as connection:
                connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
                # What people wrote is overwritten when it is deleted.
                connection.execute("PRAGMA secure_delete = ON")
                return work(connection) if _is_made(connection) else 0
        except sqlite3.Error as error:
            if not is_unreadable(error):
                raise
            self._unreadable = True
            text = f"{self._path} can't be read ({error}), and may hold acknowledged webhooks"
            self._observer(Problem(Topic.ARRIVALS, text))
            return 0

    def _move(self, connection: sqlite3.Connection, home: Path, now: Callable[[], int]) -> int:
        moved = 0
        if _count(connection):
            clock = StoreClock()
            clock.anchor(connection)
            distance = now() - clock.now_ns()
            slot, file = _empty_log(home)
            try:
                while some := _move_some(connection, file, distance):
                    moved += some
            finally:
                file.close()
                slot.release()
        if time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + _TRY_EVERY
            self._rename(connection)
        return moved

    def _rename(self, connection: sqlite3.Connection) -> None:
        """Rename the file, if this is the only connection, and nothing has come meanwhile."""
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:  # another process has it open
            return
        if not _count(connection):
            self._path.rename(f"{self._path}-emptied")


def _empty_log(home: Path) -> tuple[Slot, LogFile]:
    """Open a log that holds nothing: rows of a log are read one after another, the oldest first."""
    for number in count(1):
        slot = Slot.try_take(path_of(home, number), home)
        if slot is None:
            continue
        file = slot.open()
        if file.is_empty():
            return slot, file
        file.close()
        slot.release()
    raise AssertionError


def _is_made(connection: sqlite3.Connection) -> bool:
    """Return whether there is something to move from. If not, it may be being made just now."""
    query = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'messages')"
    (made,) = connection.execute(query).fetchone()
    return bool(made)


def _count(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute(f"SELECT count(*) FROM messages WHERE {IS_LIVE}").fetchone()
    return int(number)


def _move_some(connection: sqlite3.Connection, file: LogFile, distance: int) -> int:
    """Move a batch, and return how many that were."""
    connection.execute("BEGIN IMMEDIATE")
    rows = connection.execute(
        "SELECT id, kind, form, received, notice_due FROM messages NOT INDEXED "
        f"WHERE {IS_LIVE} ORDER BY id LIMIT {_BATCH}"
    ).fetchall()
    if rows:
        arrivals = [_arrival(row, distance) for row in rows]
        newest = max(arrival.received for arrival in arrivals)
        file.append(pack(arrivals), newest, len(arrivals))
        connection.executemany("DELETE FROM messages WHERE id = ?", [row[:1] for row in rows])
    connection.execute("COMMIT")
    return len(rows)


def _arrival(row: Sequence[Any], distance: int) -> Arrival:
    _, kind, form, received, due = row
    notice_after = None if due is None else (due - received) / 1000
    return Arrival(Webhook(Kind(kind), form, notice_after), received * NS_OF_MS + distance)
