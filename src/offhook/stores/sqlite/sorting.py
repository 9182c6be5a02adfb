"""Store webhooks: a batch of an arrivals log, or what a process accepts itself.

Each statement that SQLite steps through releases Python's global lock and has to win it back from
the event loop. So a batch is written by few statements of many rows, not by many of one row
(docs/decisions/0003-sqlite-between-processes.md).
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeVar

from offhook.clock import NS_OF_MS
from offhook.core.inbound import Inbound
from offhook.core.lifecycle import State
from offhook.stores.api import Overtaken
from offhook.stores.sql import MESSAGES
from offhook.stores.sqlite import aliases, lanes, send_requests
from offhook.stores.sqlite.sequences import next_values, tally

T = TypeVar("T")

_CHUNK: Final = 64  # rows in one statement: 64 rows x 13 values stay far below SQLite's limit

_KEY: Final = "INSERT OR IGNORE INTO dedupe_keys (key, message, received) VALUES"
_KEY_ROW: Final = "(?, ?, ?)"
_LANE: Final = "INSERT INTO lanes (queue, lane, due) VALUES"
_LANE_ROW: Final = f"({MESSAGES}, ?, ?)"
_POSITION: Final = """
    INSERT INTO arrival_logs (name, position) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)
"""
_MESSAGE: Final = """
    INSERT INTO messages (
        id, place, kind, state, lane, account_sid, sid, sender, recipient, form,
        received, due, notice_due, spooled
    ) VALUES
"""
_MESSAGE_ROW: Final = f"(?, ?, ?, '{State.OPEN}', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def accept(connection: sqlite3.Connection, batch: Sequence[Inbound], now: int) -> Sequence[bool]:
    """Store the webhooks whose keys are new, in the order given; return for each whether it was."""
    first = next_values(connection, "message", len(batch))
    new = _claim_keys(connection, batch, first, now)
    fresh = [(first + n, inbound) for n, inbound in enumerate(batch) if new[n]]
    if any(inbound.alias for _, inbound in fresh):
        lanes_found = aliases.resolved(connection, now, [inbound for _, inbound in fresh])
        fresh = [(id_, inbound) for (id_, _), inbound in zip(fresh, lanes_found, strict=True)]
    if fresh:
        _insert(
            connection, _MESSAGE, _MESSAGE_ROW, "", [_message(id_, one, now) for id_, one in fresh]
        )
        tally(connection, "messages", len(fresh))
        touched = dict.fromkeys(inbound.lane for _, inbound in fresh)
        _insert(connection, _LANE, _LANE_ROW, lanes.TOUCH, [(lane, now) for lane in touched])
        send_requests.cancel_answered(connection, now, [inbound for _, inbound in fresh])
    return new


def sort(
    connection: sqlite3.Connection,
    now: int,
    arrived: Sequence[tuple[Inbound, int]],
    positions: Mapping[bytes, int],
    before: Mapping[bytes, int],
) -> Sequence[bool]:
    """Store webhooks of arrivals logs, and how far the logs have been read. See `api.Sorting`."""
    stored = read_positions(connection)
    if any(stored.get(name, 0) != before.get(name, 0) for name in positions):
        raise Overtaken("another process has sorted meanwhile")
    batch = [
        inbound._replace(age=max(0, now - received // NS_OF_MS) / 1000)
        for inbound, received in arrived
    ]
    new = accept(connection, batch, now) if batch else ()
    connection.executemany(_POSITION, list(positions.items()))
    return new


def read_positions(connection: sqlite3.Connection) -> dict[bytes, int]:
    """Return how far the logs have been read, by their names."""
    return dict(connection.execute("SELECT name, position FROM arrival_logs").fetchall())


def touch(connection: sqlite3.Connection, _now: int) -> None:
    """Write as much as a webhook can take, and change nothing by it.

    A full disk has room for less, in the pages that are there already. What is random is another
    value each time: SQLite writes no page that stays as it is.
    """
    connection.execute(
        "INSERT INTO sequences (name, value) VALUES ('check', randomblob(65536)) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )


def knows(connection: sqlite3.Connection, key: bytes) -> bool:
    """Return whether a key is known. Reads only."""
    row = connection.execute("SELECT 1 FROM dedupe_keys WHERE key = ?", (key,)).fetchone()
    return row is not None


def _claim_keys(
    connection: sqlite3.Connection, batch: Sequence[Inbound], first: int, now: int
) -> Sequence[bool]:
    rows = [(inbound.key, first + n, now) for n, inbound in enumerate(batch)]
    if _insert(connection, _KEY, _KEY_ROW, "", rows) == len(batch):
        return [True] * len(batch)
    owner: dict[bytes, int] = {}
    for part in chunks(rows):
        marks = ",".join("?" * len(part))
        owner.update(
            connection.execute(
                f"SELECT key, message FROM dedupe_keys WHERE key IN ({marks})",
                [key for key, _, _ in part],
            )
        )
    return [owner[key] == id_ for key, id_, _ in rows]


def _message(id_: int, inbound: Inbound, now: int) -> tuple[Any, ...]:
    # Plain types only: sqlite3 asks twice whether anybody adapts another one, a bool too.
    wait = inbound.notice_after
    received = now - round(inbound.age * 1000)
    return (
        id_, id_, inbound.kind.value, inbound.lane, inbound.account_sid, inbound.sid,
        inbound.sender, inbound.recipient, inbound.form, received, now,
        None if wait is None else received + round(wait * 1000), int(inbound.spooled),
    )  # fmt: skip


def _insert(
    connection: sqlite3.Connection,
    head: str,
    row: str,
    tail: str,
    rows: Sequence[tuple[Any, ...]],
) -> int:
    """Insert rows by few statements; return how many were inserted."""
    inserted = 0
    for part in chunks(rows):
        statement = _statement(head, row, tail, len(part))
        inserted += connection.execute(statement, tuple(chain.from_iterable(part))).rowcount
    return inserted


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into powers of two: few sizes, so that every statement is prepared once."""
    start, size = 0, _CHUNK
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


@lru_cache(maxsize=64)
def _statement(head: str, row: str, tail: str, count: int) -> str:
    # "WHERE true" and the like are not needed: ON CONFLICT behind VALUES is not ambiguous.
    return f"{head} {','.join([row] * count)} {tail}"
