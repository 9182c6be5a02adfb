"""Delete old messages, the texts of settled ones, and all that belongs to one person.

Every function but `of_person` runs within the writer's transaction, and is called with few rows at
a time.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from offhook.core.lifecycle import State
from offhook.core.privacy import essentials
from offhook.core.unknown_sends import TEXT_NEEDED
from offhook.stores.api import Erasure, Retention
from offhook.stores.rows import RowsOfPerson
from offhook.stores.sql import MESSAGES, SENDS, SETTLED_WELL, one_of
from offhook.stores.sqlite import aliases, lanes, send_requests, states
from offhook.stores.sqlite.conditions import SQL
from offhook.stores.sqlite.sequences import tally


def prune(connection: sqlite3.Connection, now: int, retention: Retention, limit: int) -> int:
    """Delete what is over. See `api.Inbox.prune`."""
    old = _expired(connection, SETTLED_WELL, now - _ms(retention.settled), limit)
    old += _expired(connection, {State.DEAD}, now - _ms(retention.dead), limit - len(old))
    old += _expired(connection, {State.PARKED}, now - _ms(retention.parked), limit - len(old))
    _delete(connection, old)
    requests = send_requests.expired(connection, now - _ms(retention.settled), limit)
    _delete_from(connection, "sends", "message", [-number for number in requests])
    send_requests.forget(connection, requests)
    before = now - _ms(retention.keys)
    keys = connection.execute(SQL["prune_keys"], (before, limit)).rowcount
    keys += send_requests.prune(connection, before, limit)
    keys += aliases.prune(connection, before, limit)
    unused = states.prune(connection, now - _ms(retention.states), limit)
    return len(old) + len(requests) + unused + keys


def reduce(connection: sqlite3.Connection, now: int, limit: int) -> int:
    """Take the texts out of what is settled. See `api.Inbox.reduce`."""
    rows = connection.execute(SQL["reducible"], (now - _ms(TEXT_NEEDED), limit)).fetchall()
    requests = send_requests.reducible(connection, now, limit)
    if not (rows or requests):
        return 0
    _secure(connection, on=True)
    connection.executemany(
        "UPDATE messages SET form = ?, error = '', reduced = 1 WHERE id = ?",
        [(essentials(form), id_) for id_, form in rows],
    )
    ids = [id_ for id_, _ in rows]
    _in(connection, "empty_attempts", ids)
    _in(connection, "empty_sends", [*ids, *(-number for number in requests)])
    _secure(connection, on=False)
    return len(ids) + len(requests)


def of_person(connection: sqlite3.Connection, addresses: Sequence[str], limit: int) -> RowsOfPerson:
    """Find what there is of a person. Reads all; takes a second a million rows."""
    among = _marks(addresses)
    messages = connection.execute(
        SQL.filled("messages_of_person", addresses=among), (*addresses, *addresses, limit)
    )
    sends = connection.execute(
        f"SELECT id FROM sends WHERE recipient IN {among} LIMIT ?", (*addresses, limit)
    )
    return RowsOfPerson(
        [id_ for (id_,) in messages.fetchall()],
        [id_ for (id_,) in sends.fetchall()],
        states.of_person(connection, addresses, limit),
    )


def erase(connection: sqlite3.Connection, now: int, found: RowsOfPerson) -> Erasure:
    """Delete what was found, except for what is running or being sent. See `api.Inbox.erase`."""
    messages = _in(connection, "erasable_messages", found.messages)
    going = {id_ for id_, _ in messages}
    at_rest = _in(connection, "erasable_sends", found.sends)
    sends = [(id_, lane) for id_, lane, message, live in at_rest if message in going or not live]
    requests = {-message for _, _, message, _ in at_rest if message < 0}
    erased = len(messages) + len(sends)
    busy = len(found.messages) + len(found.sends) - erased
    if not (erased or found.states):
        return Erasure(0, busy)
    _secure(connection, on=True)
    erased += states.erase(connection, {*found.states, *(lane for _, lane in messages)})
    lanes_left = {lane for _, lane in (*messages, *sends)}
    _delete_from(connection, "sends", "id", [id_ for id_, _ in sends])
    send_requests.forget(connection, requests)
    _delete(connection, list(going))
    for lane in lanes_left:
        lanes.refresh(connection, MESSAGES, lane, now)
        lanes.refresh(connection, SENDS, lane, now)
    _secure(connection, on=False)
    return Erasure(erased, busy)


def _expired(
    connection: sqlite3.Connection, states: Iterable[State], before: int, limit: int
) -> list[int]:
    rows = connection.execute(SQL.filled("expired", states=one_of(states)), (before, limit))
    return [id_ for (id_,) in rows.fetchall()]


def _delete(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Delete messages with their attempts and sends."""
    _in(connection, "delete_attempts", ids)
    _delete_from(connection, "sends", "message", ids)
    _delete_from(connection, "messages", "id", ids)


def _delete_from(
    connection: sqlite3.Connection, table: str, column: str, ids: Sequence[int]
) -> None:
    """Delete rows of a table whose rows are tallied."""
    if ids:
        where = f"{column} IN {_marks(ids)}"
        gone = connection.execute(f"DELETE FROM {table} WHERE {where}", ids).rowcount
        tally(connection, table, -gone)


def _secure(connection: sqlite3.Connection, *, on: bool) -> None:
    """Have SQLite overwrite what it deletes: else it would stay in the file until reused."""
    connection.execute(f"PRAGMA secure_delete = {'ON' if on else 'OFF'}")


def _in(connection: sqlite3.Connection, statement: str, ids: Sequence[int]) -> list[Any]:
    if not ids:
        return []
    return connection.execute(SQL.filled(statement, ids=_marks(ids)), ids).fetchall()


def _marks(values: Sequence[object]) -> str:
    return f"({','.join('?' * len(values))})"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
