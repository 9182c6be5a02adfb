"""Claim and settle messages. Every function runs within the writer's transaction."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from offhook.core.keys import Kind
from offhook.core.lifecycle import (
    CRASHES_UNTIL_ALONE,
    CRASHES_UNTIL_DEAD,
    LIVE,
    SETTLED,
    State,
    Trigger,
    after_crash,
    sources,
    target,
)
from offhook.core.loop_detection import LoopRule
from offhook.core.messages import Send
from offhook.core.reasons import Cause, stored
from offhook.core.texts import well_formed
from offhook.stores.api import (
    Claim,
    Claimed,
    Draft,
    Overdue,
    Settlement,
)
from offhook.stores.rows import COUNTED, passed_on, settled_already
from offhook.stores.sql import MESSAGES
from offhook.stores.sqlite import lanes, ledger
from offhook.stores.sqlite.conditions import SQL, before


@dataclass(slots=True)
class _Head:
    id: int
    state: str
    kind: str
    sid: str
    attempts: int
    crashes: int
    received: int
    due: int
    started: int | None
    form: bytes
    account_sid: str
    sender: str
    recipient: str
    replayed: int


@dataclass(slots=True)
class _Terms:
    """The arguments that all claims of one call share."""

    now: int
    until: int
    owner: str
    loop: LoopRule | None
    alone: bool
    ahead: int
    buried: list[Overdue] = field(default_factory=list)


def claim(
    connection: sqlite3.Connection,
    now: int,
    *,
    limit: int,
    lease: float,
    owner: str,
    alone: bool,
    loop: LoopRule | None,
    ahead: int,
) -> Claimed:
    """Claim the heads of lanes that are due. See `api.Queue.claim`.

    The wall clock is `ahead` of the store's time.
    """
    terms = _Terms(now, now + int(lease * 1000), owner, loop, alone, ahead)
    claims: list[Claim] = []
    if alone:
        for lane, leased in lanes.due_lanes(connection, MESSAGES, now, 1, suspect=True):
            claims += _claim_lane(connection, lane, terms, leased=leased)
    if not claims:
        terms.alone = False
        for lane, leased in lanes.due_lanes(connection, MESSAGES, now, limit):
            claims += _claim_lane(connection, lane, terms, leased=leased)
    return Claimed(
        claims=tuple(claims),
        next_due=lanes.next_due(connection, MESSAGES, now),
        suspects=bool(lanes.due_lanes(connection, MESSAGES, now, 1, suspect=True)),
        buried=tuple(terms.buried),
    )


def _claim_lane(
    connection: sqlite3.Connection, lane: str, terms: _Terms, *, leased: bool
) -> Sequence[Claim]:
    """Lease a lane for its head. What still runs there is a message whose worker has crashed."""
    if leased and (row := connection.execute(SQL["running"], (lane,)).fetchone()) is not None:
        _crash(connection, _Head(*row), terms)
    while True:
        row = connection.execute(SQL["head"], (lane, terms.now)).fetchone()
        if row is None or row[7] > terms.now:
            lanes.advance(connection, MESSAGES, lane, terms.now)
            return ()
        head = _Head(*row)
        if State(head.state) in sources(Trigger.CLAIM):
            break
        _crash(connection, head, terms)
    if head.crashes >= CRASHES_UNTIL_ALONE and not terms.alone:
        connection.execute(
            "UPDATE lanes SET suspect = 1, token = 0, until = NULL, owner = NULL, due = ? "
            "WHERE queue = ? AND lane = ?",
            (terms.now, MESSAGES, lane),
        )
        return ()
    token = lanes.take(connection, MESSAGES, lane, until=terms.until, owner=terms.owner)
    connection.execute(
        f"UPDATE messages SET state = ?, token = ?, started = ? WHERE id = ? "
        f"AND {before(Trigger.CLAIM)}",
        (target(Trigger.CLAIM), token, terms.now, head.id),
    )
    return (
        Claim(
            id=head.id,
            token=token,
            kind=Kind(head.kind),
            lane=lane,
            sid=head.sid,
            attempt=head.attempts + 1,
            crashes=head.crashes,
            received=(head.received + terms.ahead) / 1000,
            form=head.form,
            turns=_turns(connection, lane, head, terms),
            replayed=bool(head.replayed),
        ),
    )


def _turns(connection: sqlite3.Connection, lane: str, head: _Head, terms: _Terms) -> int:
    if terms.loop is None or head.kind != Kind.MESSAGE:
        return 0
    return ledger.turns(
        connection, terms.now, terms.loop, lane=lane, sender=head.sender, received=head.received
    )


def _crash(connection: sqlite3.Connection, head: _Head, terms: _Terms) -> None:
    crashes = head.crashes + 1
    trigger = after_crash(crashes)
    state = target(trigger)
    settled = terms.now if state in SETTLED else None
    error = stored(Cause.WORKER_DIED(crashes, CRASHES_UNTIL_DEAD))
    connection.execute(
        f"{SQL['crash']} AND {before(trigger)}",
        {
            "state": state, "crashes": crashes, "now": terms.now, "settled": settled,
            "error": error, "id": head.id,
        },
    )  # fmt: skip
    _record(connection, head.id, head.attempts + 1, head.started, terms.now, trigger, error)
    if settled is not None and Kind(head.kind) is Kind.MESSAGE:
        terms.buried.append(Overdue(head.id, head.account_sid, head.sender, head.recipient))


def settle(
    connection: sqlite3.Connection, now: int, claim: Claim, settlement: Settlement
) -> tuple[Send, ...]:
    """End a run. See `api.Queue.settle`."""
    row = running(connection, claim)
    if row is None:
        return ()  # settled before with this token: the answer was lost, the settling was not
    attempts, started, notified = row
    trigger, state = settlement.trigger, target(settlement.trigger)
    error = well_formed(stored(settlement.error))
    attempts += trigger in COUNTED
    live = state in LIVE
    connection.execute(
        f"{SQL['settle']} AND {before(trigger)}",
        {
            "state": state, "attempts": attempts, "due": now + int(settlement.delay * 1000),
            "holds": settlement.holds_lane, "settled": None if live else now, "error": error,
            "id": claim.id,
        },
    )  # fmt: skip
    if trigger is not Trigger.COMPLETE:
        _record(connection, claim.id, claim.attempt, started, now, trigger, error)
    if settlement.cancel_lane:
        ledger.cancel_lane(connection, now, claim.lane)
    elif notified and not live:
        ledger.cancel_slow_notice(connection, now, claim.lane, claim.id)
    written = _write_all(connection, now, claim, settlement.drafts)
    if lanes.holds(connection, MESSAGES, claim.lane, claim.token):
        lanes.advance(connection, MESSAGES, claim.lane, now)
    return written


def hand_back(connection: sqlite3.Connection, now: int, owner: str, held: Collection[int]) -> int:
    """End leases whose claim its owner never received. See `api.Queue.hand_back`."""
    leases = lanes.unheld(connection, MESSAGES, owner, held)
    lost = stored(Cause.CLAIM_LOST())
    for lane, token in leases:
        for id_, number, started in connection.execute(
            SQL["hand_back"], (now, lane, token)
        ).fetchall():
            _record(connection, id_, number, started, now, Trigger.INTERRUPT, lost)
        lanes.advance(connection, MESSAGES, lane, now)
    return len(leases)


def running(connection: sqlite3.Connection, claim: Claim) -> tuple[int, int, bool] | None:
    """Return (attempts, started, notified) of a run that may still write; None when it has settled.

    Raises:
        LeaseLost: another run has the message.
    """
    row = connection.execute(
        "SELECT state, token, attempts, started, notice_due IS NULL FROM messages WHERE id = ?",
        (claim.id,),
    ).fetchone()
    if row is None or row[1] != claim.token:
        raise passed_on(claim)
    if row[0] != target(Trigger.CLAIM):
        return None
    return row[2], row[3], bool(row[4])


def write(
    connection: sqlite3.Connection, now: int, claim: Claim, drafts: Sequence[Draft]
) -> tuple[Send, ...]:
    """Write sends of a running message. See `api.Ledger.write`."""
    if running(connection, claim) is None:
        raise settled_already(claim)
    return _write_all(connection, now, claim, drafts)


def overdue(connection: sqlite3.Connection, now: int, limit: int) -> Sequence[Overdue]:
    """Return the messages whose notice is due. Reads only."""
    rows = connection.execute(
        "SELECT id, account_sid, sender, recipient FROM messages "
        "WHERE notice_due <= ? ORDER BY notice_due LIMIT ?",
        (now, limit),
    )
    return [Overdue(*row) for row in rows.fetchall()]


def _write_all(
    connection: sqlite3.Connection, now: int, claim: Claim, drafts: Sequence[Draft]
) -> tuple[Send, ...]:
    written = (ledger.write(connection, now, claim.id, claim.lane, draft) for draft in drafts)
    return tuple(send for send in written if send is not None)


def _record(connection: sqlite3.Connection, *values: Any) -> None:
    connection.execute(
        'INSERT INTO attempts (message, number, started, ended, "trigger", error) '
        "VALUES (?, ?, ?, ?, ?, ?)",
        values,
    )
