"""Show sends to operators, and carry out their decisions."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from offhook.core.cost import Spending
from offhook.core.lifecycle import SendState, SendTrigger, send_sources
from offhook.core.texts import well_formed
from offhook.stores.api import SendFilter, SendRecord
from offhook.stores.rows import as_send_record, as_spending, moment_of, moments, replacement
from offhook.stores.sql import SENDS
from offhook.stores.sqlite import lanes, send_requests
from offhook.stores.sqlite.conditions import SEND_IS_LIVE, SEND_IS_UNSETTLED, SQL
from offhook.stores.sqlite.sequences import tally

_FEW: Final = 10_000  # are sorted in 10 ms


def find(connection: sqlite3.Connection, wanted: SendFilter, ahead: int) -> Sequence[SendRecord]:
    """Return the sends that fit, newest first. The wall clock is `ahead` of the store's time."""
    conditions: dict[str, Any] = {
        "state = ?": wanted.state,
        "delivery = ?": wanted.delivery or None,
        "error_code = ?": wanted.code or None,
        "sender = ?": well_formed(wanted.sender) or None,
        "recipient = ?": well_formed(wanted.to) or None,
        "account_sid = ?": well_formed(wanted.account) or None,
        "created >= ?": moment_of(wanted.since, ahead),
        "created < ?": moment_of(wanted.until, ahead),
        "id < ?": wanted.before_id,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    fitting = " AND ".join((_among(connection, wanted.state), *given))
    rows = connection.execute(
        f"SELECT {SQL['columns_of_sends']} FROM {fitting} ORDER BY id DESC LIMIT ?",
        (*given.values(), wanted.limit),
    )
    return [as_send_record(row, moments(ahead)) for row in rows.fetchall()]


def show(connection: sqlite3.Connection, send_id: int, ahead: int) -> SendRecord | None:
    """Return a send."""
    row = connection.execute(
        f"SELECT {SQL['columns_of_sends']} FROM sends WHERE id = ?", (send_id,)
    ).fetchone()
    return None if row is None else as_send_record(row, moments(ahead))


def spending(connection: sqlite3.Connection, since: float, limit: int, ahead: int) -> Spending:
    """Return what sends cost. See `api.Outbox.spending`."""
    given = {"since": moment_of(since, ahead), "ahead": ahead, "limit": limit}
    days = connection.execute(SQL["spent_by_day"], given).fetchall()
    conversations = connection.execute(SQL["spent_by_conversation"], given).fetchall()
    return as_spending(days, conversations)


def retry(connection: sqlite3.Connection, now: int, send_id: int, *, unknown: bool) -> int | None:
    """Have a send's text sent (again). See `api.Outbox.retry_send`."""
    row = connection.execute(SQL["send_to_retry"], (send_id,)).fetchone()
    if row is None:
        return None
    state, lane = SendState(row[0]), row[1]
    if state in send_sources(SendTrigger.RETRY):
        connection.execute(SQL["retry_send"], {"now": now, "id": send_id})
        retried = send_id
    elif state in send_sources(SendTrigger.REPLACE) and (unknown or state is not SendState.UNKNOWN):
        retried = _replace(connection, now, send_id)
    else:
        return None
    lanes.touch(connection, SENDS, lane, now)
    lanes.refresh(connection, SENDS, lane, now)  # what goes before it may be due later
    return retried


def cancel(connection: sqlite3.Connection, now: int, send_id: int) -> bool:
    """Withdraw a send. See `api.Outbox.cancel_send`."""
    row = connection.execute(SQL["cancel_send"], (now, send_id)).fetchone()
    if row is None:
        return False
    lane, message = row
    if message < 0:
        send_requests.cancel_parts(connection, now, message)
    lanes.refresh(connection, SENDS, lane, now)  # what stood behind it may go now
    return True


def shortfalls(
    connection: sqlite3.Connection, now: int
) -> tuple[float | None, Mapping[tuple[SendState, str], int]]:
    """Return for how long the first has waited, and what has reached nobody. See `api.Counts`."""
    waiting = connection.execute(SQL["waiting_sends"], (now,)).fetchall()
    lost = connection.execute(SQL["lost_sends"]).fetchall()
    oldest = min((created for _, created, _ in waiting), default=None)
    found = {(SendState.PENDING, code): number for code, _, number in waiting if number}
    found.update({(SendState(state), code): number for state, code, number in lost})
    return None if oldest is None else max(0, now - oldest) / 1000, found


def unanswered(connection: sqlite3.Connection) -> int:
    """Return how many people got no reply. See `api.Counts`."""
    (number,) = connection.execute(SQL["unanswered"]).fetchone()
    return int(number)


def _replace(connection: sqlite3.Connection, now: int, send_id: int) -> int:
    values = {"now": now, "id": send_id, "identity": replacement(send_id)}
    (id_,) = connection.execute(SQL["write_replacement"], values).fetchone()
    tally(connection, "sends", 1)
    connection.execute(SQL["replace_send"], (now, send_id))
    return int(id_)


def _among(connection: sqlite3.Connection, state: SendState | None) -> str:
    """Return where to look: an index of few, where what is wanted is rare."""
    match state:
        case SendState.PENDING | SendState.SENDING if _few_are_live(connection):
            return f"sends INDEXED BY sends_live WHERE {SEND_IS_LIVE}"
        case None | SendState.SENT | SendState.PENDING | SendState.SENDING:
            return "sends WHERE true"
        case _:
            return f"sends INDEXED BY sends_unsettled WHERE {SEND_IS_UNSETTLED}"


def _few_are_live(connection: sqlite3.Connection) -> bool:
    (number,) = connection.execute(
        f"SELECT count(*) FROM "
        f"(SELECT 1 FROM sends INDEXED BY sends_live WHERE {SEND_IS_LIVE} LIMIT ?)",
        (_FEW,),
    ).fetchone()
    return int(number) < _FEW
