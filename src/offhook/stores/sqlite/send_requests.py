"""Write sends that answer no message, and have them join their lanes when they fall due.

Every function but `next_due` and `sent_as` runs within the writer's transaction.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from offhook.core.inbound import Inbound
from offhook.core.keys import Kind, person_of, request_key
from offhook.core.lifecycle import SendState, SendTrigger, send_target
from offhook.core.messages import Send
from offhook.core.reasons import Cause, stored
from offhook.core.texts import well_formed
from offhook.core.unknown_sends import TEXT_NEEDED
from offhook.stores.api import SendRequest
from offhook.stores.rows import SEND_COLUMNS, Stage, as_send, deleted_send, draft_columns
from offhook.stores.sql import SENDS
from offhook.stores.sqlite import aliases, lanes
from offhook.stores.sqlite.conditions import SQL
from offhook.stores.sqlite.sequences import tally


def write(connection: sqlite3.Connection, now: int, request: SendRequest) -> tuple[Send, ...]:
    """Write the sends of a request, or return those of its key. See `api.Requests.request`."""
    first = request.drafts[0]
    key = request_key(first.account_sid, request.key) if request.key else None
    if key is not None and (known := _known(connection, key, request)):
        return known
    due = now + max(0, int(request.delay * 1000))
    lane = aliases.target_of(connection, request.lane)
    stage, state = Stage.WRITTEN, SendState.PENDING
    if due > now:
        stage, state = Stage.SCHEDULED, SendState.SCHEDULED
    recipient = ""
    if request.unless_reply:
        recipient = person_of(lane) if lane != request.lane else well_formed(first.to)
    (number,) = connection.execute(
        SQL["write_request"], (key, stage.value, due, recipient)
    ).fetchone()
    written = []
    for draft in request.drafts:
        columns = draft_columns(draft, well_formed)
        (id_,) = connection.execute(
            SQL["write_requested_send"], (*columns, -number, lane, state, now, due)
        ).fetchone()
        identity, _, _, to, body, *_ = columns
        written.append(Send(id_, identity, state, body, to))
    tally(connection, "sends", len(written))
    if state is SendState.PENDING:
        lanes.touch(connection, SENDS, lane, now)
    return tuple(written)


def _known(
    connection: sqlite3.Connection, key: bytes, request: SendRequest
) -> tuple[Send, ...] | None:
    row = connection.execute("SELECT id FROM send_requests WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    rows = connection.execute(
        f"SELECT {SEND_COLUMNS} FROM sends WHERE message = ? ORDER BY id", (-row[0],)
    )
    sends = tuple(as_send(row, repeated=True) for row in rows.fetchall())
    return sends or (deleted_send(request.drafts[0].identity, request.drafts[0].to),)


def next_due(connection: sqlite3.Connection, now: int) -> float | None:
    """Return the seconds until a scheduled send falls due. Reads only."""
    (due,) = connection.execute(SQL["next_request_due"]).fetchone()
    return None if due is None else max(0, due - now) / 1000


def start_due(
    connection: sqlite3.Connection, now: int, limit: int, sorted_until: int | None
) -> int:
    """Have scheduled sends join their lanes. See `api.Requests.start_due`; in milliseconds."""
    until = now if sorted_until is None else min(now, sorted_until)
    due = connection.execute(SQL["due_requests"], (now, until, limit)).fetchall()
    for (number,) in due:
        _join(connection, now, number)
    connection.executemany(
        "UPDATE send_requests SET stage = ? WHERE id = ?",
        [(Stage.WRITTEN.value, number) for (number,) in due],
    )
    connection.execute(SQL["forget_recipients"])
    return len(due)


def _join(connection: sqlite3.Connection, now: int, number: int) -> None:
    """Have the sends of a request join their lane, behind what waits there."""
    rows = connection.execute(SQL["scheduled_sends"], (-number,)).fetchall()
    if not rows:
        return  # they have been cancelled, or erased
    ids = [id_ for id_, _, _ in rows]
    _, lane, busy = rows[0]
    joined = ids
    if busy:
        (last,) = connection.execute(SQL["next_send_ids"], (len(ids),)).fetchone()
        joined = list(range(last - len(ids) + 1, last + 1))
    connection.executemany(
        "UPDATE sends SET id = ?, state = ?, due = ? WHERE id = ?",
        [
            (new, send_target(SendTrigger.FALL_DUE), now, old)
            for new, old in zip(joined, ids, strict=True)
        ],
    )
    lanes.touch(connection, SENDS, lane, now)


def cancel_parts(connection: sqlite3.Connection, now: int, message: int) -> None:
    """Withdraw all that has not left of a request; `message` is that of its sends."""
    connection.execute(SQL["cancel_requested"], (now, message))
    connection.execute(SQL["requested_not_wanted"], (message,))
    ended(connection, now, [message])


def cancel_answered(connection: sqlite3.Connection, now: int, new: Iterable[Inbound]) -> None:
    """Cancel what was to leave unless these new messages' senders wrote first."""
    open_ = connection.execute(
        "SELECT 1 FROM send_requests INDEXED BY send_requests_unless_reply "
        "WHERE recipient <> '' LIMIT 1"
    ).fetchone()
    if open_ is None:
        return
    people: dict[str, list[Inbound]] = {}
    for inbound in new:
        if inbound.kind is Kind.MESSAGE:
            for address in {inbound.sender, *map(person_of, _lanes_of(inbound))}:
                people.setdefault(address, []).append(inbound)
    found = connection.execute(SQL["unless_reply_of"], (json.dumps(list(people)),)).fetchall()
    why = stored(Cause.ANSWERED())
    for number, person in found:
        for inbound in people[person]:
            rows = connection.execute(
                SQL["cancel_answered"],
                (
                    now,
                    why,
                    -number,
                    inbound.account_sid,
                    inbound.lane,
                    inbound.recipient,
                ),
            ).fetchall()
            connection.execute(
                SQL["answered_meanwhile"],
                (-number, inbound.account_sid, inbound.lane, inbound.recipient),
            )
            if rows:
                ended(connection, now, [-number])
            for (lane,) in set(rows):
                lanes.refresh(connection, SENDS, lane, now)


def _lanes_of(inbound: Inbound) -> tuple[str, ...]:
    return (inbound.alias, inbound.lane) if inbound.alias else ()


def ended(connection: sqlite3.Connection, now: int, messages: Iterable[int]) -> None:
    """Note that sends have been cancelled: what `message` they have, be it a request's or not."""
    numbers = sorted({-message for message in messages if message < 0})
    if numbers:
        connection.execute(SQL["end_requests"], (now, json.dumps(numbers)))


def sent_as(connection: sqlite3.Connection, sid: str, account_sid: str) -> Send | None:
    """Return the send that has a MessageSid. Reads only."""
    row = connection.execute(
        f"SELECT {SEND_COLUMNS} FROM sends WHERE sid = ? AND sid <> '' AND account_sid = ?",
        (well_formed(sid), well_formed(account_sid)),
    ).fetchone()
    return None if row is None else as_send(row)


def expired(connection: sqlite3.Connection, before: int, limit: int) -> Sequence[int]:
    """Return the requests whose time is over."""
    rows = connection.execute(SQL["expired_requests"], (before, limit))
    return [number for (number,) in rows.fetchall()]


def reducible(connection: sqlite3.Connection, now: int, limit: int) -> Sequence[int]:
    """Return the requests whose texts are not needed any more, and note that they are gone."""
    rows = connection.execute(
        SQL["reducible_requests"], (now, now - int(TEXT_NEEDED * 1000), limit)
    ).fetchall()
    connection.executemany(
        "UPDATE send_requests SET stage = ? WHERE id = ?",
        [(Stage.REDUCED.value, number) for (number,) in rows],
    )
    return [number for (number,) in rows]


def forget(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Keep no more than the keys of requests, if all their sends have been deleted."""
    given = json.dumps(list(numbers))
    connection.execute(SQL["forget_requests"], (given,))
    connection.execute(SQL["delete_requests"], (given,))


def prune(connection: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete the keys that are over."""
    connection.execute(SQL["forget_recipients"])
    return connection.execute(SQL["prune_requests"], (before, limit)).rowcount
