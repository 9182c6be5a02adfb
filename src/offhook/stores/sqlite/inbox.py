"""What operators see and do."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, State, Trigger, target
from offhook.ports import Attempt, Counts, Filter, History, Record
from offhook.stores.sqlite import sends
from offhook.stores.sqlite.accept import MESSAGES, next_values, touch_lane
from offhook.stores.sqlite.sql import IS_LIVE, IS_SET_ASIDE, before

_COLUMNS: Final = (
    "id, kind, state, sid, account_sid, sender, recipient, lane, attempts, crashes, "
    "received, started, settled, due, error, form"
)
_RECENT: Final = 60_000  # ms; the window of the rates
_SETTLED_WITHIN: Final = 3_600_000  # ms; what was received before that is not looked at for rates


def find(connection: sqlite3.Connection, wanted: Filter) -> Sequence[Record]:
    """Return the messages that fit, newest first."""
    conditions: dict[str, Any] = {
        "state = ?": wanted.state,
        "kind = ?": wanted.kind,
        "sender = ?": wanted.sender or None,
        "sid = ?": wanted.sid or None,
        "received >= ?": _milliseconds(wanted.since),
        "received < ?": _milliseconds(wanted.until),
        "id < ?": wanted.before_id,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    where = " AND ".join(given) or "true"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE {where} ORDER BY id DESC LIMIT ?",
        (*given.values(), wanted.limit),
    )
    return [_record(row) for row in rows.fetchall()]


def show(connection: sqlite3.Connection, message_id: int) -> History | None:
    """Return a message with its attempts and sends."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE id = ?",
        (message_id,),
    ).fetchone()
    if row is None:
        return None
    attempts = connection.execute(
        'SELECT number, started, ended, "trigger", error FROM attempts '
        "WHERE message = ? ORDER BY rowid",
        (message_id,),
    ).fetchall()
    return History(
        record=_record(row),
        attempts=tuple(
            Attempt(number, _seconds(started), ended / 1000, Trigger(trigger), error)
            for number, started, ended, trigger, error in attempts
        ),
        sends=sends.of_message(connection, message_id),
    )


def replay(connection: sqlite3.Connection, now: int, message_id: int) -> bool:
    """Put a message at the tail of its lane. See `ports.Inbox.replay`."""
    lane = _move(
        connection,
        now,
        message_id,
        Trigger.REPLAY,
        "place = :place, due = :now, holds = 1, attempts = 0, crashes = 0, "
        "settled = NULL, error = ''",
    )
    if lane is None:
        return False
    sends.forget_unsent(connection, message_id)
    touch_lane(connection, MESSAGES, lane, now)
    return True


def drop(connection: sqlite3.Connection, now: int, message_id: int) -> bool:
    """Discard a message that is not running. See `ports.Inbox.drop`."""
    lane = _move(connection, now, message_id, Trigger.DROP, "settled = :now, notice_due = NULL")
    if lane is None:
        return False
    touch_lane(connection, MESSAGES, lane, now)  # what stood behind it may go now
    return True


def counts(connection: sqlite3.Connection, now: int) -> Counts:
    """Return the store at a glance. No part of it grows with what is done."""
    recent = _first_since(connection, now - _RECENT)
    (received,) = connection.execute(
        "SELECT count(*) FROM messages WHERE id >= ?", (recent,)
    ).fetchone()
    (settled,) = connection.execute(
        "SELECT count(*) FROM messages WHERE id >= ? AND settled > ?",
        (_first_since(connection, now - _SETTLED_WITHIN), now - _RECENT),
    ).fetchone()
    (oldest,) = connection.execute(
        f"SELECT min(received) FROM messages INDEXED BY messages_live WHERE {IS_LIVE}"
    ).fetchone()
    return Counts(
        messages=_by_state(connection),
        sends=_sends_by_state(connection),
        oldest=None if oldest is None else max(0, now - oldest) / 1000,
        received=received,
        settled=settled,
    )


def _move(
    connection: sqlite3.Connection, now: int, message_id: int, trigger: Trigger, changes: str
) -> str | None:
    """Carry out an operator's trigger and keep it in the history; return the lane."""
    place = next_values(connection, "message", 1)
    row = connection.execute(
        f"UPDATE messages SET state = :state, {changes} "
        f"WHERE id = :id AND {before(trigger)} RETURNING lane, attempts",
        {"state": target(trigger), "now": now, "place": place, "id": message_id},
    ).fetchone()
    if row is None:
        return None
    connection.execute(
        'INSERT INTO attempts (message, number, ended, "trigger", error) VALUES (?, ?, ?, ?, ?)',
        (message_id, row[1], now, trigger, "by an operator"),
    )
    return str(row[0])


def _by_state(connection: sqlite3.Connection) -> dict[State, int]:
    """Count by the small partial indexes; what is in none of them is done."""
    (total,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    found = dict.fromkeys(State, 0)
    for index, condition in (("messages_live", IS_LIVE), ("messages_set_aside", IS_SET_ASIDE)):
        rows = connection.execute(
            f"SELECT state, count(*) FROM messages INDEXED BY {index} "
            f"WHERE {condition} GROUP BY state"
        )
        found.update({State(state): count for state, count in rows.fetchall()})
    found[State.DONE] = total - sum(found.values())
    return found


def _sends_by_state(connection: sqlite3.Connection) -> dict[SendState, int]:
    found = dict.fromkeys(SendState, 0)
    rows = connection.execute("SELECT state, count(*) FROM sends GROUP BY state")
    found.update({SendState(state): count for state, count in rows.fetchall()})
    return found


def _first_since(connection: sqlite3.Connection, since: int) -> int:
    """Return the first id received at or after `since`, by bisection: ids grow with time."""
    low, high = connection.execute(
        "SELECT coalesce(min(id), 1), coalesce(max(id), 0) + 1 FROM messages"
    ).fetchone()
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT id, received FROM messages WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if row is None or row[1] >= since:
            high = middle
        else:
            low = row[0] + 1
    return int(low)


def _record(row: Sequence[Any]) -> Record:
    (id_, kind, state, sid, account, sender, recipient, lane, attempts, crashes,
     received, started, settled, due, error, form) = row  # fmt: skip
    return Record(
        id=id_,
        kind=Kind(kind),
        state=State(state),
        sid=sid,
        account_sid=account,
        sender=sender,
        recipient=recipient,
        lane=lane,
        attempts=attempts,
        crashes=crashes,
        received=received / 1000,
        started=_seconds(started),
        settled=_seconds(settled),
        due=_seconds(due),
        error=error,
        form=form,
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
