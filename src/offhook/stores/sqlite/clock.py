"""The time of a store in a file: it moves on evenly, however the wall clock is set.

It is the machine's elapsed time plus a distance that the file holds, so that all processes agree.
The distance is measured anew after each start of the machine, and never sets the time back
(docs/decisions/0027-a-time-of-the-stores-own.md).
"""

import sqlite3
import time
from typing import Final

from offhook.clock import NS_OF_MS, boot, elapsed_ms, elapsed_ns

STEP: Final = 1000
"""Milliseconds: by how much the wall clock must have been set to be worth a word. Less than that
is corrected by running it faster or slower, which elapsed time follows."""

_NAME: Final = "clock of boot "


class StoreClock:
    """A store's time, in milliseconds. It is anchored when the file is opened."""

    def __init__(self) -> None:
        self._distance = 0
        self._ahead = 0

    def anchor(self, connection: sqlite3.Connection) -> None:
        """Agree with the file's other processes. Not within a transaction.

        It writes once a start of the machine: else a store could not be opened, not even to be read
        from, while another process is stopped within a transaction.
        """
        distance = _known(connection)
        self._distance = _agreed(connection) if distance is None else distance
        self._ahead = self._measured()

    def now(self) -> int:
        """Return the store's time."""
        return elapsed_ms() + self._distance

    def now_ns(self) -> int:
        """Return the store's time in nanoseconds, for what comes within one millisecond."""
        return elapsed_ns() + self._distance * NS_OF_MS

    def ahead(self) -> int:
        """Return how far the wall clock is ahead of the store's time: add it for people.

        A difference too small to come from setting the clock counts as 0.
        """
        measured = self._measured()
        return measured if abs(measured) >= STEP else 0

    def step(self) -> float:
        """Return the seconds by which the wall clock was set since this was last asked."""
        before, self._ahead = self._ahead, self._measured()
        change = self._ahead - before
        return change / 1000 if abs(change) >= STEP else 0.0

    def _measured(self) -> int:
        return _wall() - self.now()


def _known(connection: sqlite3.Connection) -> int | None:
    """Return the distance that the file holds; None where it holds none that will do."""
    known = connection.execute("SELECT value FROM sequences WHERE name = ?", (_name(),)).fetchone()
    if known is None or elapsed_ms() + known[0] < _newest(connection):
        return None
    return int(known[0])


def _agreed(connection: sqlite3.Connection) -> int:
    """Write the distance down, unless another process has done so meanwhile; return it."""
    # The writers' lock is not waited for for ever: two may come here at once.
    connection.execute("BEGIN IMMEDIATE")
    try:
        distance = _known(connection)
        if distance is None:
            distance = max(_wall(), _newest(connection)) - elapsed_ms()
            connection.execute("DELETE FROM sequences WHERE name LIKE ?", (f"{_NAME}%",))
            connection.execute("INSERT INTO sequences VALUES (?, ?)", (_name(), distance))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return distance


def _name() -> str:
    return f"{_NAME}{boot()}"


def _newest(connection: sqlite3.Connection) -> int:
    """Return when the newest webhook was stored, by the store's time; 0 for none."""
    (newest,) = connection.execute("SELECT max(received) FROM dedupe_keys").fetchone()
    return newest or 0


def _wall() -> int:
    return time.time_ns() // 1_000_000
