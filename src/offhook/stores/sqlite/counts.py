"""How much there is of everything. Reads only.

Nothing here grows with what is done: the whole number of rows is kept up to date by
every write and deletion, and all others are counted by partial indexes. Where an index's condition
is the very question, SQLite does not look at the rows: 1,000,000 live messages take 70 ms to count,
not 650.
"""

import sqlite3
from typing import Final

from offhook.core.lifecycle import SETTLED, SendState, State
from offhook.stores.api import Counts
from offhook.stores.sql import MESSAGES, SENDS, one_of
from offhook.stores.sqlite import sends
from offhook.stores.sqlite.conditions import (
    IS_LIVE,
    IS_SET_ASIDE,
    IS_WAITING,
    SEND_IS_LIVE,
    SEND_IS_UNSETTLED,
)

_RECENT: Final = 60_000  # ms; the window of the rates
_DAY: Final = 86_400_000  # ms; what is unresolved for longer stays so


def backlog(connection: sqlite3.Connection, at_most: int) -> int:
    """Count the live messages, as far as `at_most`."""
    return _count(
        connection,
        f"SELECT 1 FROM messages INDEXED BY messages_oldest WHERE {IS_LIVE} LIMIT ?",
        at_most,
    )


def glance(connection: sqlite3.Connection, now: int, *, unresolved_after: int) -> Counts:
    """Return the store at a glance, of one moment."""
    connection.execute("BEGIN")
    try:
        oldest_send, shortfalls = sends.shortfalls(connection, now)
        return Counts(
            messages=_messages(connection),
            sends=_sends(connection),
            oldest=_oldest(connection, now),
            received=_count(
                connection, "SELECT 1 FROM dedupe_keys WHERE received > ?", now - _RECENT
            ),
            settled=_count(
                connection,
                f"SELECT 1 FROM messages INDEXED BY messages_settled "
                f"WHERE state IN {one_of(SETTLED)} AND reduced IN (0, 1) AND settled > ?",
                now - _RECENT,
            ),
            unresolved=_count(
                connection,
                f"SELECT 1 FROM sends INDEXED BY sends_unsettled "
                f"WHERE state = '{SendState.UNKNOWN}' AND {SEND_IS_UNSETTLED} "
                f"AND settled > ? AND settled <= ?",
                now - _DAY,
                now - unresolved_after,
            ),
            parked=_parked(connection, now),
            oldest_send=oldest_send,
            shortfalls=shortfalls,
            unanswered=sends.unanswered(connection),
        )
    finally:
        connection.execute("ROLLBACK")


def _messages(connection: sqlite3.Connection) -> dict[State, int]:
    """Count by the small indexes; what is in none of them is done."""
    found = dict.fromkeys(State, 0)
    rows = connection.execute(
        f"SELECT state, count(*) FROM messages INDEXED BY messages_set_aside "
        f"WHERE {IS_SET_ASIDE} GROUP BY state"
    )
    found.update({State(state): count for state, count in rows.fetchall()})
    live = _count(connection, f"SELECT 1 FROM messages INDEXED BY messages_oldest WHERE {IS_LIVE}")
    found[State.DONE] = _rows(connection, "messages") - live - sum(found.values())
    found[State.RUNNING] = _leased(connection, MESSAGES)
    found[State.WAITING] = _count(connection, f"SELECT 1 FROM messages WHERE {IS_WAITING}")
    found[State.OPEN] = live - found[State.RUNNING] - found[State.WAITING]
    return found


def _sends(connection: sqlite3.Connection) -> dict[SendState, int]:
    found = dict.fromkeys(SendState, 0)
    rows = connection.execute(
        f"SELECT state, count(*) FROM sends INDEXED BY sends_unsettled "
        f"WHERE {SEND_IS_UNSETTLED} GROUP BY state"
    )
    found.update({SendState(state): count for state, count in rows.fetchall()})
    live = _count(connection, f"SELECT 1 FROM sends INDEXED BY sends_live WHERE {SEND_IS_LIVE}")
    found[SendState.SENT] = _rows(connection, "sends") - live - sum(found.values())
    found[SendState.SENDING] = _leased(connection, SENDS)
    found[SendState.PENDING] = live - found[SendState.SENDING]
    return found


def _rows(connection: sqlite3.Connection, table: str) -> int:
    (value,) = connection.execute(
        "SELECT value FROM sequences WHERE name = ?", (f"rows of {table}",)
    ).fetchone()
    return int(value)


def _leased(connection: sqlite3.Connection, queue: int) -> int:
    """Count what is at work: of a lane that is leased, it is one."""
    return _count(connection, "SELECT 1 FROM lanes WHERE until IS NOT NULL AND queue = ?", queue)


def _oldest(connection: sqlite3.Connection, now: int) -> float | None:
    (received,) = connection.execute(
        f"SELECT min(received) FROM messages INDEXED BY messages_oldest WHERE {IS_LIVE}"
    ).fetchone()
    return None if received is None else max(0, now - received) / 1000


def _parked(connection: sqlite3.Connection, now: int) -> float | None:
    (since,) = connection.execute(
        f"SELECT min(settled) FROM messages INDEXED BY messages_settled "
        f"WHERE state = '{State.PARKED}' AND reduced = 0 AND settled IS NOT NULL"
    ).fetchone()
    return None if since is None else max(0, now - since) / 1000


def _count(connection: sqlite3.Connection, rows: str, *values: int) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM ({rows})", values).fetchone()
    return int(count)
