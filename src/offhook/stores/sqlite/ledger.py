"""Write and claim sends, and settle them. Every function runs within the writer's transaction."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from offhook.core.lifecycle import (
    LIVE,
    Delivery,
    SendState,
    SendTrigger,
    State,
    later_delivery,
    reported_trigger,
    send_sources,
    send_target,
)
from offhook.core.loop_detection import LoopRule
from offhook.core.messages import Send
from offhook.core.reasons import Cause, stored
from offhook.core.texts import well_formed
from offhook.stores.api import Draft, SendClaim, SendOutcome
from offhook.stores.rows import (
    SEND_COLUMNS,
    SLOW_NOTICE,
    as_send,
    as_send_claim,
    draft_columns,
)
from offhook.stores.sql import SENDS
from offhook.stores.sqlite import lanes
from offhook.stores.sqlite.conditions import SQL, before_send
from offhook.stores.sqlite.sorting import tally, touch_lane


def write(
    connection: sqlite3.Connection, now: int, message_id: int, lane: str, draft: Draft
) -> Send | None:
    """Write a send, or return the one that its identity names. None when the lane has had it."""
    identity, *columns = draft_columns(draft, well_formed)
    known = connection.execute(
        f"SELECT {SEND_COLUMNS} FROM sends WHERE message = ? AND identity = ?",
        (message_id, identity),
    ).fetchone()
    if known is not None:
        return as_send(known, repeated=True)
    if draft.once_in and _had(connection, lane, identity, now - int(draft.once_in * 1000)):
        return None
    (id_,) = connection.execute(
        SQL["write_send"], (identity, *columns, message_id, lane, now)
    ).fetchone()
    tally(connection, "sends", 1)
    touch_lane(connection, SENDS, lane, now)
    _, _, to, body, *_ = columns
    return Send(id_, identity, SendState.PENDING, body, to)


def of_message(connection: sqlite3.Connection, message_id: int) -> tuple[Send, ...]:
    """Return a message's sends, the oldest first."""
    rows = connection.execute(
        f"SELECT {SEND_COLUMNS} FROM sends WHERE message = ? ORDER BY id",
        (message_id,),
    )
    return tuple(as_send(row) for row in rows.fetchall())


def notify(
    connection: sqlite3.Connection, now: int, message_id: int, draft: Draft, *, settled: bool
) -> Send | None:
    """Write a notice. See `api.Ledger.notify`."""
    row = connection.execute(
        "SELECT state, lane FROM messages WHERE id = ?", (message_id,)
    ).fetchone()
    if row is None or (State(row[0]) not in LIVE and not settled):
        return None
    if draft.identity == SLOW_NOTICE:
        connection.execute("UPDATE messages SET notice_due = NULL WHERE id = ?", (message_id,))
    send = write(connection, now, message_id, row[1], draft)
    return None if send is None or send.repeated else send


def cancel_slow_notice(
    connection: sqlite3.Connection, now: int, lane: str, message_id: int
) -> None:
    """Cancel the slow notice if it is still pending: the message has settled in time."""
    canceled = _cancel(connection, "message = ? AND identity = ?", (message_id, SLOW_NOTICE))
    if canceled:  # it may have been postponed, and what stood behind it may go now
        lanes.refresh(connection, SENDS, lane, now)


def cancel_lane(connection: sqlite3.Connection, lane: str) -> None:
    """Cancel the pending sends of a person who has opted out."""
    _cancel(connection, "lane = ?", (lane,))


def claim(
    connection: sqlite3.Connection, now: int, *, limit: int, lease: float, owner: str
) -> Sequence[SendClaim]:
    """Claim the heads of lanes that are due. See `api.Ledger.claim_sends`."""
    claims: list[SendClaim] = []
    until = now + int(lease * 1000)
    for lane, leased in lanes.due_lanes(connection, SENDS, now, limit):
        if leased:
            _lose_crashed(connection, lane, now)
        row = connection.execute(SQL["head_of_sends"], (lane,)).fetchone()
        if row is None or row[-1] > now:
            lanes.advance(connection, SENDS, lane, now)
            continue
        token = lanes.take(connection, SENDS, lane, until=until, owner=owner)
        connection.execute(
            f"UPDATE sends SET state = ?, token = ?, tries = tries + 1 "
            f"WHERE id = ? AND {before_send(SendTrigger.CLAIM)}",
            (send_target(SendTrigger.CLAIM), token, row[0]),
        )
        claims.append(as_send_claim(row[:-1], token))
    return claims


def hand_back(connection: sqlite3.Connection, now: int, owner: str, held: Collection[int]) -> int:
    """End leases whose claim its owner never received. See `api.Ledger.hand_back_sends`."""
    leases = lanes.unheld(connection, SENDS, owner, held)
    for lane, token in leases:
        connection.execute(SQL["hand_back_send"], (now, lane, token))
        lanes.advance(connection, SENDS, lane, now)
    return len(leases)


def settle(
    connection: sqlite3.Connection, now: int, claim: SendClaim, outcome: SendOutcome
) -> None:
    """Record the outcome of a send. See `api.Ledger.settle_send`."""
    row = connection.execute(
        "SELECT state, token, lane, sid FROM sends WHERE id = ?", (claim.id,)
    ).fetchone()
    if row is None or row[1] != claim.token:
        return
    state, _, lane, sid = row
    if SendState(state) in send_sources(outcome.trigger):
        connection.execute(
            SQL["settle_send"],
            (
                send_target(outcome.trigger),
                now + int(outcome.delay * 1000),
                None if outcome.trigger is SendTrigger.POSTPONE else now,
                well_formed(outcome.sid) or sid,
                well_formed(outcome.error_code),
                well_formed(outcome.error),
                well_formed(outcome.status),
                claim.id,
            ),
        )
    if lanes.holds(connection, SENDS, lane, claim.token):
        lanes.advance(connection, SENDS, lane, now)


def record_delivery(
    connection: sqlite3.Connection,
    now: int,
    send_id: int | None,
    sid: str,
    reported: Delivery,
    *,
    account_sid: str,
) -> bool:
    """Apply a status callback. See `api.Ledger.record_delivery`."""
    sid = well_formed(sid)
    row = connection.execute(
        "SELECT id, state, sid, delivery, error_code, lane, token FROM sends WHERE "
        + ("id = ?" if send_id is not None else "sid = ? AND sid <> ''")
        + " AND account_sid = ?",
        (sid if send_id is None else send_id, well_formed(account_sid)),
    ).fetchone()
    if row is None or (row[2] and row[2] != sid):
        return False
    id_, state, _, delivery, error_code, lane, token = row
    kept = later_delivery(Delivery(delivery, error_code) if delivery else None, reported)
    trigger = reported_trigger(kept)
    if SendState(state) in send_sources(trigger):
        connection.execute(
            "UPDATE sends SET state = ?, settled = ?, error = '' WHERE id = ?",
            (send_target(trigger), now, id_),
        )
        # Twilio has it: what follows need not wait for the REST answer, which a dead worker's
        # lease would hold up for its whole time.
        if lanes.holds(connection, SENDS, lane, token):
            lanes.advance(connection, SENDS, lane, now)
    connection.execute(
        "UPDATE sends SET sid = ?, delivery = ?, error_code = ? WHERE id = ?",
        (sid, well_formed(kept.status), well_formed(kept.error_code), id_),
    )
    return True


def turns(
    connection: sqlite3.Connection,
    now: int,
    loop: LoopRule,
    *,
    lane: str,
    sender: str,
    received: int,
) -> int:
    """Return how many replies to the sender of a message were answered at a program's pace.

    Args:
        connection: within the writer's transaction.
        now: in milliseconds.
        loop: which count.
        lane: the message's.
        sender: of the message.
        received: when, in milliseconds.
    """
    values = {
        "now": now, "pace": int(loop.pace * 1000), "since": now - int(loop.within * 1000),
        "lane": lane, "sender": sender, "received": received,
    }  # fmt: skip
    (count,) = connection.execute(SQL["turns"], values).fetchone()
    return int(count)


def forget_unsent(connection: sqlite3.Connection, message_id: int) -> None:
    """Free the identities of sends that never arrived, so that a replay may write them again."""
    connection.execute(SQL["free_unsent"], (message_id,))


def _had(connection: sqlite3.Connection, lane: str, identity: str, since: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM sends WHERE lane = ? AND created > ? AND identity = ? AND state <> ?",
        (lane, since, identity, SendState.CANCELED),
    ).fetchone()
    return row is not None


def _cancel(connection: sqlite3.Connection, which: str, values: tuple[Any, ...]) -> int:
    return connection.execute(
        f"UPDATE sends SET state = ? WHERE {which} AND {before_send(SendTrigger.CANCEL)}",
        (send_target(SendTrigger.CANCEL), *values),
    ).rowcount


def _lose_crashed(connection: sqlite3.Connection, lane: str, now: int) -> None:
    """Mark what was being sent when its worker died: it may have left, so it is not repeated."""
    connection.execute(SQL["lose_sends"], (now, stored(Cause.SEND_LOST()), lane))
