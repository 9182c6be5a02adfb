"""Read the logs of a machine, in the order in which their arrivals were received.

Two webhooks of one conversation may be in two logs. The second was received after the first had
been acknowledged, and so after it was durable; yet a reader that has seen one log before the first
came, and the other after the second did, would sort the second alone. So a round reads nothing that
was received after it began: all processes of a machine go by one clock.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from offhook.arrivals.file import LogFile, Row, Waiting, is_unreadable, logs_of
from offhook.arrivals.record import Arrival, pack, unpack
from offhook.errors import SchemaTooNew
from offhook.stores.sqlite.files import FileMoved

P = ParamSpec("P")
T = TypeVar("T")


class Round(NamedTuple):
    """What is to be sorted next.

    Attributes:
        arrivals: of all logs, in the order in which they were received.
        positions: how far that is, by the names of the logs; those of which nothing is read are
            left out.
        more: whether a log may hold more than was read of it.
    """

    arrivals: list[Arrival]
    positions: dict[bytes, int]
    more: bool


class LogReader:
    """The logs beside a path, open for reading. Its methods block, on one thread at a time.

    Args:
        home: the path: of a store's file, or of a spool.
        clock: returns nanoseconds of the clock by which arrivals are received.
        unreadable: called with a log that will never be read, or a part of it, and why.
    """

    def __init__(
        self,
        home: Path,
        clock: Callable[[], int],
        unreadable: Callable[[Path, Exception], None],
    ) -> None:
        self._home = home
        self._clock = clock
        self._unreadable = unreadable
        self._files: dict[Path, LogFile] = {}

    def read(self, positions: Mapping[bytes, int], limit: int) -> Round:
        """Return what was received before this call, and is behind the positions.

        Args:
            positions: of logs that were read before, by their names.
            limit: arrivals of each log, after which no other row is begun.

        Raises:
            sqlite3.Error, OSError: a log can't be read at present. What one holds must not be
                sorted without what the others do.
        """
        before = self._clock()
        rows = {
            file: self._try([], file, file.read, positions.get(file.name, 0), limit)
            for file in self._refreshed()
        }
        # What is later than now is older than all: the clock went on from an earlier moment, since
        # the machine was started with a wrong one, or another store is in the place of the first.
        now = self._clock()

        # Of a log that goes on behind what was read, the rest may be older than what others hold.
        def age(received: int) -> tuple[bool, int]:
            return received <= now, received

        full = [age(found[-1].newest) for found in rows.values() if _number(found) >= limit]
        until = min([(True, before - 1), *full])
        taken = {
            file: list(takewhile(lambda row: age(row.newest) <= until, found))
            for file, found in rows.items()
        }
        arrivals = [
            arrival
            for file, found in taken.items()
            for row in found
            for arrival in self._unpack(file, row)
        ]
        arrivals.sort(key=lambda arrival: age(arrival.received))
        places = {file.name: found[-1].id for file, found in taken.items() if found}
        return Round(arrivals, places, more=bool(full))

    def set_aside(self, arrivals: Sequence[Arrival], reason: str) -> Path:
        """Keep arrivals that can't be sorted in one of the logs; return which.

        Raises:
            sqlite3.Error: it can't be written at present.
        """
        path, file = next(iter(self._files.items()))
        file.set_aside(pack(arrivals), reason)
        return path

    def waiting(self, positions: Mapping[bytes, int], at_most: int | None = None) -> Waiting:
        """Return what all logs hold behind the positions, as `LogFile.waiting` does of each.

        Raises:
            sqlite3.Error, OSError: see `read`.
        """
        found = [
            self._try(Waiting(0, None), file, file.waiting, positions.get(file.name, 0), at_most)
            for file in self._refreshed()
        ]
        since = [waiting.since for waiting in found if waiting.since is not None]
        return Waiting(sum(waiting.number for waiting in found), min(since, default=None))

    def trim(self, positions: Mapping[bytes, int]) -> None:
        """Remove what is up to the positions, whoever writes the logs. Raises as `read` does."""
        for file in self._files.values():
            self._try(None, file, file.trim, positions.get(file.name, 0))

    def ends(self) -> dict[bytes, int]:
        """Return the place of each log's last row. Raises as `read` does."""
        return {file.name: self._try(0, file, file.end) for file in self._refreshed()}

    def close(self) -> None:
        """Close them."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _try(
        self, otherwise: T, file: LogFile, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read something of a log; of one that is damaged, its owner copies what can be read."""
        try:
            return read(*args, **kwargs)
        except sqlite3.DatabaseError as error:
            if not is_unreadable(error):
                raise
            self._unreadable(file.path, error)
            return otherwise

    def _unpack(self, file: LogFile, row: Row) -> list[Arrival]:
        try:
            return list(unpack(row.batch))
        except ValueError as error:
            file.set_aside(row.batch, str(error))
            self._unreadable(file.path, error)
            return []

    def _refreshed(self) -> list[LogFile]:
        """Return the files that are there now, each opened once."""
        found = set(logs_of(self._home))
        for path in self._files.keys() - found:
            self._files.pop(path).close()
        for path in found:
            try:
                self._reopen_if_moved(path)
            except FileNotFoundError:  # nothing has been appended to it yet
                continue
            except SchemaTooNew as error:  # a worker of that version sorts it
                self._unreadable(path, error)
            except sqlite3.DatabaseError as error:
                if not is_unreadable(error):
                    raise
                self._unreadable(path, error)
        return list(self._files.values())

    def _reopen_if_moved(self, path: Path) -> None:
        file = self._files.get(path)
        if file is not None:
            try:
                file.check()
            except FileMoved:
                self._files.pop(path).close()
            else:
                return
        self._files[path] = LogFile.open(path)


def _number(rows: list[Row]) -> int:
    return sum(row.number for row in rows)
