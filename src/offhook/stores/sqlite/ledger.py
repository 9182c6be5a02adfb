"""Write and claim sends, and settle them. Every function runs within the writer's transaction."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from offhook.core.cost import UNKNOWN
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
from offhook.core.whatsapp_window import CLOSED
from offhook.stores.api import ClaimedSends, Draft
from offhook.stores.rows import (
    SEND_COLUMNS,
    SLOW_NOTICE,
    Settled,
    as_send,
    as_send_claim,
    draft_columns,
)
from offhook.stores.sql import SENDS
from offhook.stores.sqlite import fallbacks, lanes, send_requests
from offhook.stores.sqlite.conditions import SQL, before_send
from offhook.stores.sqlite.sequences import tally

_SETTLE: Final[Mapping[SendTrigger, str]] = {
    trigger: SQL.filled(
        "settle_send",
        target=send_target(trigger),
        settled="NULL" if trigger is SendTrigger.POSTPONE else "?2",
        may_happen=before_send(trigger),
    )
    for trigger in (SendTrigger.ACCEPT, SendTrigger.REFUSE, SendTrigger.POSTPONE, SendTrigger.LOSE)
}


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
    lanes.touch(connection, SENDS, lane, now)
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
    which, values = "message = ? AND identity = ?", (message_id, SLOW_NOTICE)
    if _cancel(connection, now, which, values):
        # It may have been postponed, and what stood behind it may go now.
        lanes.refresh(connection, SENDS, lane, now)


def cancel_lane(connection: sqlite3.Connection, now: int, lane: str) -> None:
    """Cancel the sends to a person who has opted out: the pending and the scheduled ones."""
    canceled = _cancel(connection, now, "lane = ?", (lane,))
    send_requests.ended(connection, now, canceled)
    connection.execute(SQL["not_wanted"], (lane,))


def claim(
    connection: sqlite3.Connection, now: int, *, limit: int, lease: float, owner: str
) -> ClaimedSends:
    """Claim the heads of lanes that are due. See `api.Ledger.claim_sends`."""
    rows = _due_heads(connection, now, limit)
    if leased := [lane for lane, is_leased, *_ in rows if is_leased]:
        for lane in leased:
            _lose_crashed(connection, lane, now)
        rows = _due_heads(connection, now, limit)
    rows = _fall_back(connection, now, limit, rows)
    heads: list[tuple[str, Sequence[Any]]] = []
    for lane, _, *head, _, due in rows:
        if due is None or due > now:
            lanes.advance(connection, SENDS, lane, now)
        else:
            heads.append((lane, head))
    tokens = lanes.take_all(
        connection,
        SENDS,
        [lane for lane, _ in heads],
        until=now + int(lease * 1000),
        owner=owner,
    )
    claims = [as_send_claim(head, token) for (_, head), token in zip(heads, tokens, strict=True)]
    connection.executemany(SQL["claim_send"], [(one.token, one.id) for one in claims])
    return ClaimedSends(claims, lanes.next_due(connection, SENDS, now))


def hand_back(connection: sqlite3.Connection, now: int, owner: str, held: Collection[int]) -> int:
    """End leases whose claim its owner never received. See `api.Ledger.hand_back_sends`."""
    leases = lanes.unheld(connection, SENDS, owner, held)
    for lane, token in leases:
        handed_back = connection.execute(SQL["hand_back_send"], (now, lane, token)).fetchall()
        _cancel_unwanted(connection, now, [id_ for (id_,) in handed_back])
        lanes.advance(connection, SENDS, lane, now)
    return len(leases)


def settle(connection: sqlite3.Connection, batch: Sequence[Settled], now: int) -> list[None]:
    """Record the outcomes of sends. See `api.Ledger.settle_send`."""
    for trigger, settle_sends in _SETTLE.items():
        values = [_outcome(one, now) for one in batch if one.outcome.trigger is trigger]
        if values and connection.executemany(settle_sends, values).rowcount < len(values):
            # A status callback came first: what it costs is still missing.
            costs = [_cost(one) for one in batch if one.outcome.cost != UNKNOWN]
            connection.executemany(SQL["write_cost"], costs)
    postponed = [one for one in batch if one.outcome.trigger is SendTrigger.POSTPONE]
    _cancel_unwanted(connection, now, [one.claim.id for one in postponed])
    for claim, outcome in batch:
        if outcome.error_code in CLOSED:
            fallbacks.after_refusal(connection, now, claim.id)
    leases = [(one.claim.id, one.claim.token) for one in batch]
    emptied = connection.executemany(SQL["empty_lane_of_sends"], leases).rowcount
    if emptied < len(leases):
        connection.executemany(
            SQL["advance_lane_of_sends"], [(now, id_, token) for id_, token in leases]
        )
    return [None] * len(batch)


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
        _go_on(connection, lane, token, now)
    connection.execute(
        "UPDATE sends SET sid = ?, delivery = ?, error_code = ? WHERE id = ?",
        (sid, well_formed(kept.status), well_formed(kept.error_code), id_),
    )
    if kept.error_code in CLOSED:
        fallbacks.after_refusal(connection, now, id_)
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


def _outcome(settled: Settled, now: int) -> tuple[Any, ...]:
    claim, outcome = settled
    return (
        now + int(outcome.delay * 1000), now, well_formed(outcome.sid),
        well_formed(outcome.error_code), well_formed(outcome.error), well_formed(outcome.status),
        claim.id, claim.token, *_cost(settled)[:3],
    )  # fmt: skip


def _cost(settled: Settled) -> tuple[Any, ...]:
    claim, cost = settled.claim, settled.outcome.cost
    return cost.segments, cost.price, cost.currency, claim.id, claim.token


def _due_heads(connection: sqlite3.Connection, now: int, limit: int) -> Sequence[Sequence[Any]]:
    return connection.execute(SQL["heads_of_sends"], (now, limit)).fetchall()


def _fall_back(
    connection: sqlite3.Connection, now: int, limit: int, rows: Sequence[Sequence[Any]]
) -> Sequence[Sequence[Any]]:
    """Return the heads once templates have taken the place of those whose window is closed."""
    looked_at: set[int] = set()
    while undecided := {row[2] for row in rows if row[-2]} - looked_at:
        looked_at |= undecided
        closed = [id_ for id_ in undecided if fallbacks.at_claim(connection, now, id_)]
        if closed:
            rows = _due_heads(connection, now, limit)
    return rows


def _go_on(connection: sqlite3.Connection, lane: str, token: int, now: int) -> None:
    """Let what follows a send go, if nothing else of its lane is being sent."""
    if lanes.holds(connection, SENDS, lane, token):
        lanes.advance(connection, SENDS, lane, now)
    else:
        lanes.refresh(connection, SENDS, lane, now)


def _had(connection: sqlite3.Connection, lane: str, identity: str, since: int) -> bool:
    row = connection.execute(
        "SELECT 1 FROM sends WHERE lane = ? AND created > ? AND identity = ? AND state <> ?",
        (lane, since, identity, SendState.CANCELED),
    ).fetchone()
    return row is not None


def _cancel(
    connection: sqlite3.Connection, now: int, which: str, values: tuple[Any, ...]
) -> Sequence[int]:
    """Cancel sends; return the `message` of each."""
    rows = connection.execute(
        f"UPDATE sends SET state = ?, settled = ? WHERE {which} "
        f"AND {before_send(SendTrigger.CANCEL)} RETURNING message",
        (send_target(SendTrigger.CANCEL), now, *values),
    )
    return [message for (message,) in rows.fetchall()]


def _cancel_unwanted(connection: sqlite3.Connection, now: int, ids: Sequence[int]) -> None:
    why = stored(Cause.OPTED_OUT())
    connection.executemany(SQL["cancel_unwanted"], [(now, why, id_) for id_ in ids])


def _lose_crashed(connection: sqlite3.Connection, lane: str, now: int) -> None:
    """Mark what was being sent when its worker died: it may have left, so it is not repeated."""
    connection.execute(SQL["lose_sends"], (now, stored(Cause.SEND_LOST()), lane))
