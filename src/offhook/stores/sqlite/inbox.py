"""Show messages to operators, and carry out their decisions."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from offhook.core.keys import Kind
from offhook.core.lifecycle import State, Trigger, sources
from offhook.core.reasons import Cause, stored
from offhook.core.search import Phrase
from offhook.core.texts import well_formed
from offhook.stores.api import (
    Ahead,
    Filter,
    Found,
    History,
    Record,
)
from offhook.stores.rows import as_attempt, as_record, moment_of, moments
from offhook.stores.sql import MESSAGES
from offhook.stores.sqlite import counts, lanes, ledger
from offhook.stores.sqlite.conditions import IS_LIVE, IS_MESSAGE, IS_SET_ASIDE, IS_WAITING, SQL
from offhook.stores.sqlite.sequences import next_values

_COLUMNS: Final = (
    "id, kind, state, sid, account_sid, sender, recipient, lane, attempts, crashes, "
    "received, started, settled, due, error, form, spooled, reduced"
)
_FEW: Final = 10_000  # are sorted in 10 ms
_LEASED: Final = f"SELECT lane FROM lanes WHERE until IS NOT NULL AND queue = {MESSAGES}"


def find(connection: sqlite3.Connection, wanted: Filter, ahead: int) -> Sequence[Record]:
    """Return the messages that fit, newest first. The wall clock is `ahead` of the store's time."""
    fitting, values = _fitting(connection, wanted, ahead)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM {fitting} ORDER BY id DESC LIMIT ?", (*values, wanted.limit)
    )
    return [as_record(row, moments(ahead)) for row in rows.fetchall()]


def search(
    connection: sqlite3.Connection, wanted: Filter, phrase: Phrase, within: int, ahead: int
) -> Found:
    """Look for words, row by row. Reads only; a thousand rows take some 3 ms."""
    fitting, values = _fitting(connection, wanted, ahead)
    rows = connection.execute(
        f"SELECT id, form FROM {fitting} ORDER BY id DESC LIMIT ?", (*values, within)
    )
    ids: list[int] = []
    looked, last = 0, None
    for last, form in rows:
        looked += 1
        if phrase.is_in(form):
            ids.append(last)
            if len(ids) == wanted.limit:
                break
    rows.close()
    ended = looked < within and len(ids) < wanted.limit
    return Found(_records(connection, ids, ahead), None if ended else last)


def show(connection: sqlite3.Connection, message_id: int, now: int, ahead: int) -> History | None:
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
    record = as_record(row, moments(ahead))
    return History(
        record=record,
        attempts=tuple(as_attempt(row, moments(ahead)) for row in attempts),
        sends=ledger.of_message(connection, message_id),
        behind=_behind(connection, record, now, ahead),
    )


def _behind(connection: sqlite3.Connection, record: Record, now: int, ahead: int) -> Ahead | None:
    if record.state not in sources(Trigger.CLAIM):
        return None
    row = connection.execute(SQL["ahead"], (record.lane, record.id, now)).fetchone()
    return None if row is None else Ahead(row[0], State(row[1]), (row[2] + ahead) / 1000)


def replay(connection: sqlite3.Connection, now: int, message_id: int) -> bool:
    """Put a message at the tail of its lane, or have it due at once. See `api.Inbox.replay`."""
    lane = _decide(connection, now, message_id, Trigger.REPLAY)
    if lane is None:
        return False
    ledger.forget_unsent(connection, message_id)
    lanes.touch(connection, MESSAGES, lane, now)
    return True


def drop(connection: sqlite3.Connection, now: int, message_id: int) -> bool:
    """Discard a message that is not running. See `api.Inbox.drop`."""
    lane = _decide(connection, now, message_id, Trigger.DROP)
    if lane is None:
        return False
    lanes.refresh(connection, MESSAGES, lane, now)  # what stood behind it may go now
    return True


def _decide(
    connection: sqlite3.Connection, now: int, message_id: int, trigger: Trigger
) -> str | None:
    """Carry out an operator's trigger and keep it in the history; return the lane."""
    place = next_values(connection, "message", 1)
    # `sql/inbox.sql` has a statement for each, of its name.
    row = connection.execute(
        SQL[trigger], {"now": now, "place": place, "id": message_id}
    ).fetchone()
    if row is None:
        return None
    connection.execute(
        'INSERT INTO attempts (message, number, ended, "trigger", error) VALUES (?, ?, ?, ?, ?)',
        (message_id, row[1], now, trigger, stored(Cause.OPERATOR())),
    )
    return str(row[0])


def _fitting(
    connection: sqlite3.Connection, wanted: Filter, ahead: int
) -> tuple[str, Sequence[Any]]:
    """Return where to look and what must hold there, as SQL with its values."""
    since, until = moment_of(wanted.since, ahead), moment_of(wanted.until, ahead)
    conditions: dict[str, Any] = {
        "state = ?": wanted.state,
        "kind = ?": wanted.kind,
        "sender = ?": well_formed(wanted.sender) or None,
        "sid = ?": well_formed(wanted.sid) or None,
        "received >= ?": since,
        "id >= ?": _first_stored(connection, since),
        "received < ?": until,
        "id < ?": wanted.before_id,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    return " AND ".join((_among(connection, wanted), *given)), tuple(given.values())


def _among(connection: sqlite3.Connection, wanted: Filter) -> str:
    """Return where to look: an index of few, where what is wanted is rare.

    Of a million that are done, or open, the newest are found without one. SQLite, which knows
    nothing of their number, would choose otherwise.
    """
    match wanted.state:
        case _ if wanted.sid:
            among = "messages INDEXED BY messages_sid WHERE true"
        case _ if wanted.sender and wanted.kind is Kind.MESSAGE:
            among = f"messages INDEXED BY messages_sender WHERE {IS_MESSAGE}"
        case State.RUNNING:
            among = f"messages INDEXED BY messages_live WHERE {IS_LIVE} AND lane IN ({_LEASED})"
        case State.WAITING:
            among = f"messages INDEXED BY messages_waiting WHERE {IS_WAITING}"
        case State.OPEN if counts.backlog(connection, _FEW) < _FEW:
            among = f"messages INDEXED BY messages_oldest WHERE {IS_LIVE}"
        case None | State.DONE | State.OPEN:
            among = "messages WHERE true"
        case _:
            among = f"messages INDEXED BY messages_set_aside WHERE {IS_SET_ASIDE}"
    return among


def _first_stored(connection: sqlite3.Connection, since: int | None) -> int | None:
    """Return an id below which nothing was stored at or after `since`, nor received then."""
    if since is None:
        return None
    (first,) = connection.execute(
        "SELECT min(message) FROM dedupe_keys WHERE received = "
        "(SELECT min(received) FROM dedupe_keys WHERE received >= ?)",
        (since,),
    ).fetchone()
    return None if first is None else int(first)


def _records(connection: sqlite3.Connection, ids: Sequence[int], ahead: int) -> Sequence[Record]:
    """Return messages by their numbers, the newest first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM messages WHERE id IN ({','.join('?' * len(ids))}) "
        f"ORDER BY id DESC",
        ids,
    )
    return [as_record(row, moments(ahead)) for row in rows.fetchall()]
