"""Leases on lanes, the same for messages and for sends."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from offhook.stores.sql import MESSAGES
from offhook.stores.sqlite.conditions import SQL
from offhook.stores.sqlite.sequences import next_values

# The index has nothing but leases, of which there are no more than workers are at work on.
_LEASED: Final = "lanes INDEXED BY lanes_token WHERE until IS NOT NULL"

# A leased lane is looked at when its lease ends. One that waits for a retry which does not hold it
# is due now; of one that is held, the claim finds out at little cost.
TOUCH: Final = """
    ON CONFLICT (queue, lane) DO UPDATE SET due = excluded.due
    WHERE until IS NULL AND due > excluded.due
"""


def due_lanes(
    connection: sqlite3.Connection, queue: int, now: int, limit: int, *, suspect: bool = False
) -> Sequence[tuple[str, bool]]:
    """Return the lanes that are due, and whether a lease of theirs has run out.

    Those that have been due for longest come first.
    """
    rows = connection.execute(
        "SELECT lane, until IS NOT NULL FROM lanes "
        "WHERE queue = ? AND suspect = ? AND due <= ? ORDER BY due LIMIT ?",
        (queue, suspect, now, limit),
    )
    return [(lane, bool(leased)) for lane, leased in rows.fetchall()]


def next_due(connection: sqlite3.Connection, queue: int, now: int) -> float | None:
    """Return the seconds until a lane falls due, None when none waits. Reads only."""
    (due,) = connection.execute(
        "SELECT min(due) FROM lanes WHERE queue = ? AND suspect = 0", (queue,)
    ).fetchone()
    return None if due is None else max(0, due - now) / 1000


def touch(connection: sqlite3.Connection, queue: int, lane: str, due: int) -> None:
    """Have a lane looked at when `due`, unless it is leased or due before."""
    connection.execute(
        f"INSERT INTO lanes (queue, lane, due) VALUES (?, ?, ?) {TOUCH}", (queue, lane, due)
    )


def take(connection: sqlite3.Connection, queue: int, lane: str, *, until: int, owner: str) -> int:
    """Lease a lane; return the token."""
    token = next_values(connection, "token", 1)
    connection.execute(
        "UPDATE lanes SET token = ?, until = ?, due = ?, owner = ? WHERE queue = ? AND lane = ?",
        (token, until, until, owner, queue, lane),
    )
    return token


def take_all(
    connection: sqlite3.Connection, queue: int, taken: Sequence[str], *, until: int, owner: str
) -> Sequence[int]:
    """Lease lanes; return their tokens."""
    if not taken:
        return ()
    first = next_values(connection, "token", len(taken))
    tokens = range(first, first + len(taken))
    connection.executemany(
        "UPDATE lanes SET token = ?, until = ?, due = ?, owner = ? WHERE queue = ? AND lane = ?",
        [
            (token, until, until, owner, queue, lane)
            for token, lane in zip(tokens, taken, strict=True)
        ],
    )
    return tokens


def holds(connection: sqlite3.Connection, queue: int, lane: str, token: int) -> bool:
    """Return whether the lease is (still) on the lane, run out or not."""
    row = connection.execute(
        "SELECT token FROM lanes WHERE queue = ? AND lane = ?", (queue, lane)
    ).fetchone()
    return row is not None and row[0] == token


def advance(connection: sqlite3.Connection, queue: int, lane: str, now: int) -> bool:
    """End the lane's lease, if any; return whether something in it is due at once.

    A lane that waits for nothing has no row, unless it is joined: a claim is to look at it.
    """
    query = "next_message" if queue == MESSAGES else "next_send"
    row = connection.execute(SQL[query], (now, lane)).fetchone()
    due = None if row is None else row[0]
    if due is None:
        gone = connection.execute(
            "DELETE FROM lanes WHERE queue = ? AND lane = ? AND joined = 0", (queue, lane)
        )
        if gone.rowcount:
            return False
        due = now
    connection.execute(
        "UPDATE lanes SET token = 0, until = NULL, owner = NULL, suspect = 0, "
        "due = CASE WHEN joined THEN ? ELSE ? END WHERE queue = ? AND lane = ?",
        (now, due, queue, lane),
    )
    return int(due) <= now


def refresh(connection: sqlite3.Connection, queue: int, lane: str, now: int) -> None:
    """Let a lane that is not leased wait for what there is in it now."""
    leased = connection.execute(
        "SELECT 1 FROM lanes WHERE queue = ? AND lane = ? AND until IS NOT NULL", (queue, lane)
    ).fetchone()
    if leased is None:
        advance(connection, queue, lane, now)


def renew(
    connection: sqlite3.Connection, now: int, tokens: Sequence[int], lease: float
) -> frozenset[int]:
    """Prolong leases, of messages and of sends; return those that are gone."""
    until = now + int(lease * 1000)
    lost = set()
    for token in tokens:
        updated = connection.execute(
            "UPDATE lanes SET until = ?, due = ? WHERE token = ? AND until IS NOT NULL",
            (until, until, token),
        )
        if not updated.rowcount:
            lost.add(token)
    return frozenset(lost)


def unheld(
    connection: sqlite3.Connection, queue: int, owner: str, held: Collection[int]
) -> Sequence[tuple[str, int]]:
    """Return the lanes, with their tokens, that `owner` has leased and does not hold."""
    rows = connection.execute(
        f"SELECT lane, token FROM {_LEASED} AND queue = ? AND owner = ?",
        (queue, owner),
    )
    return [(lane, token) for lane, token in rows.fetchall() if token not in held]


def release(connection: sqlite3.Connection, now: int, owner: str) -> int:
    """Let a dead worker's leases run out now."""
    held = connection.execute(f"SELECT queue, lane FROM {_LEASED} AND owner = ?", (owner,))
    leases = held.fetchall()
    connection.executemany(
        "UPDATE lanes SET due = ?, until = ? WHERE queue = ? AND lane = ?",
        [(now, now, queue, lane) for queue, lane in leases],
    )
    return len(leases)
