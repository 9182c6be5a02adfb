"""Read the logs of a store, in the order in which their arrivals were received.

Two webhooks of one conversation may be in two logs. The second was received after the first had
been acknowledged, and so after it was durable; yet a reader that has seen one log before the first
came, and the other after the second did, would sort the second alone. So a round reads nothing that
was received after it began: all processes of a machine go by one clock (`StoreClock`).
"""

import sqlite3
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from offhook.arrivals.file import LogFile, Row, is_unreadable, logs_of
from offhook.arrivals.record import Arrival, unpack
from offhook.stores.sqlite.files import FileMoved


class Round(NamedTuple):
    """What is to be sorted next.

    Attributes:
        arrivals: of all logs, in the order in which they were received.
        positions: how far that is, by the names of the logs; those of which nothing is read are
            left out.
        more: whether as much was left as was read, or more.
    """

    arrivals: list[Arrival]
    positions: dict[bytes, int]
    more: bool


class LogReader:
    """The logs of a store, open for reading. Its methods block, on one thread at a time.

    Args:
        store: the path of the store's file.
        unreadable: called with a log that will never be read, and why.
    """

    def __init__(self, store: Path, unreadable: Callable[[Path, Exception], None]) -> None:
        self._store = store
        self._unreadable = unreadable
        self._files: dict[Path, LogFile] = {}

    def read(self, positions: Mapping[bytes, int], before: int, limit: int) -> Round:
        """Return what was received before a moment, and is behind the positions.

        Args:
            positions: of logs that were read before, by their names.
            before: nanoseconds of the store's clock, taken before this call.
            limit: rows of each log.

        Raises:
            sqlite3.Error, OSError: a log can't be read at present. What one holds must not be
                sorted without what the others do.
        """
        rows = {
            file.name: file.read(positions.get(file.name, 0), limit) for file in self._refreshed()
        }
        # Of a log that goes on behind what was read, the rest may be older than what others hold.
        full = [found[-1].newest for found in rows.values() if len(found) == limit]
        until = min([before - 1, *full])
        taken = {name: _until(found, until) for name, found in rows.items()}
        arrivals = [
            arrival for found in taken.values() for row in found for arrival in unpack(row.batch)
        ]
        arrivals.sort(key=attrgetter("received"))
        places = {name: found[-1].id for name, found in taken.items() if found}
        return Round(arrivals, places, more=bool(full))

    def close(self) -> None:
        """Close them."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _refreshed(self) -> list[LogFile]:
        """Return the files that are there now, each opened once."""
        found = set(logs_of(self._store))
        for path in self._files.keys() - found:
            self._files.pop(path).close()
        for path in found:
            try:
                self._reopen_if_moved(path)
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


def _until(rows: list[Row], newest: int) -> list[Row]:
    """Return the first rows, up to one that holds what was received later."""
    for number, row in enumerate(rows):
        if row.newest > newest:
            return rows[:number]
    return rows
