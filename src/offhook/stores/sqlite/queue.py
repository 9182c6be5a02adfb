"""Claim and settle messages. Every function runs within the writer's transaction."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from offhook.core.keys import Kind
from offhook.core.lifecycle import (
    CRASHES_UNTIL_ALONE,
    CRASHES_UNTIL_DEAD,
    SETTLED,
    Trigger,
    after_crash,
    sources,
    target,
)
from offhook.core.loop_detection import LoopRule
from offhook.core.reasons import Cause, stored
from offhook.stores.api import (
    Claim,
    Claimed,
    Overdue,
    SavedState,
)
from offhook.stores.sql import MESSAGES
from offhook.stores.sqlite import aliases, lanes, ledger
from offhook.stores.sqlite.conditions import SQL, before
from offhook.stores.sqlite.sequences import next_values

_CLAIMABLE: Final = frozenset(state.value for state in sources(Trigger.CLAIM))


class _Head(NamedTuple):
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
    version: int | None
    value: bytes | None
    used: int | None


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
        claims += _claim_due(connection, terms, limit)
    return Claimed(
        claims=tuple(claims),
        next_due=lanes.next_due(connection, MESSAGES, now),
        suspects=bool(lanes.due_lanes(connection, MESSAGES, now, 1, suspect=True)),
        buried=tuple(terms.buried),
    )


def _claim_due(connection: sqlite3.Connection, terms: _Terms, limit: int) -> Sequence[Claim]:
    """Lease the lanes that are due: by few statements where nothing has crashed."""
    since = terms.now if terms.loop is None else terms.now - int(terms.loop.within * 1000)
    values = {"now": terms.now, "limit": limit, "since": since}
    rows = connection.execute(SQL["due"], values).fetchall()
    if joined := [(lane, leased) for is_joined, lane, leased, *_ in rows if is_joined]:
        _gather(connection, joined, terms)
        rows = connection.execute(SQL["due"], values).fetchall()
    claims: list[Claim] = []
    ready: list[tuple[str, _Head, bool]] = []
    for is_joined, lane, leased, answered, *columns in rows:
        if is_joined:
            continue
        head = _Head._make(columns)
        if leased or head.state not in _CLAIMABLE or _is_suspect(head) or head.due > terms.now:
            claims += _claim_lane(connection, lane, terms, leased=bool(leased))
        else:
            ready.append((lane, head, bool(answered)))
    return [*claims, *_take(connection, ready, terms)]


def _gather(
    connection: sqlite3.Connection, joined: Sequence[tuple[str, bool]], terms: _Terms
) -> None:
    """Look at lanes of which one leads to another: what ran there has ended, or crashed."""
    for lane, leased in joined:
        if leased and (row := connection.execute(SQL["crashed"], (lane,)).fetchone()) is not None:
            _crash(connection, _Head(*row), terms)
        connection.execute(
            "UPDATE lanes SET token = 0, until = NULL, owner = NULL, due = ? "
            "WHERE queue = ? AND lane = ?",
            (terms.now, MESSAGES, lane),
        )
    for lane in sorted({aliases.target_of(connection, lane) for lane, _ in joined}):
        aliases.gather(connection, terms.now, lane)


def _claim_lane(
    connection: sqlite3.Connection, lane: str, terms: _Terms, *, leased: bool
) -> Sequence[Claim]:
    """Lease a lane for its head. What still runs there is a message whose worker has crashed."""
    if leased and (row := connection.execute(SQL["crashed"], (lane,)).fetchone()) is not None:
        _crash(connection, _Head(*row), terms)
    while True:
        row = connection.execute(SQL["head"], (lane, terms.now)).fetchone()
        if row is None or row[7] > terms.now:
            lanes.advance(connection, MESSAGES, lane, terms.now)
            return ()
        head = _Head(*row)
        if head.state in _CLAIMABLE:
            break
        _crash(connection, head, terms)
    if _is_suspect(head) and not terms.alone:
        connection.execute(
            "UPDATE lanes SET suspect = 1, token = 0, until = NULL, owner = NULL, due = ? "
            "WHERE queue = ? AND lane = ?",
            (terms.now, MESSAGES, lane),
        )
        return ()
    return _take(connection, [(lane, head, True)], terms)


def _is_suspect(head: _Head) -> bool:
    return head.crashes >= CRASHES_UNTIL_ALONE


def _take(
    connection: sqlite3.Connection, ready: Sequence[tuple[str, _Head, bool]], terms: _Terms
) -> Sequence[Claim]:
    """Lease lanes for their heads. Each comes with whether we may have written to it of late."""
    if not ready:
        return ()
    first = next_values(connection, "token", len(ready))
    claims = [
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
            turns=_turns(connection, lane, head, terms) if answered else 0,
            replayed=bool(head.replayed),
            state=None if head.version is None else _saved(head, terms.now),
        )
        for token, (lane, head, answered) in enumerate(ready, first)
    ]
    connection.executemany(
        SQL["lease"], [(one.token, terms.until, terms.owner, one.lane) for one in claims]
    )
    connection.executemany(SQL["claim"], [(one.token, terms.now, one.id) for one in claims])
    return claims


def _saved(head: _Head, now: int) -> SavedState:
    return SavedState(head.value or b"", head.version or 0, (now - (head.used or now)) / 1000)


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
    record(connection, head.id, head.attempts + 1, head.started, terms.now, trigger, error)
    if settled is not None and Kind(head.kind) is Kind.MESSAGE:
        terms.buried.append(Overdue(head.id, head.account_sid, head.sender, head.recipient))


def hand_back(connection: sqlite3.Connection, now: int, owner: str, held: Collection[int]) -> int:
    """End leases whose claim its owner never received. See `api.Queue.hand_back`."""
    leases = lanes.unheld(connection, MESSAGES, owner, held)
    lost = stored(Cause.CLAIM_LOST())
    for lane, token in leases:
        for id_, number, started in connection.execute(
            SQL["hand_back"], (now, lane, token)
        ).fetchall():
            record(connection, id_, number, started, now, Trigger.INTERRUPT, lost)
        lanes.advance(connection, MESSAGES, lane, now)
    return len(leases)


def overdue(connection: sqlite3.Connection, now: int, limit: int) -> Sequence[Overdue]:
    """Return the messages whose notice is due. Reads only."""
    rows = connection.execute(
        "SELECT id, account_sid, sender, recipient FROM messages "
        "WHERE notice_due <= ? ORDER BY notice_due LIMIT ?",
        (now, limit),
    )
    return [Overdue(*row) for row in rows.fetchall()]


def record(connection: sqlite3.Connection, *values: Any) -> None:
    """Keep a run that did not complete: message, number, started, ended, trigger, error."""
    connection.execute(
        'INSERT INTO attempts (message, number, started, ended, "trigger", error) '
        "VALUES (?, ?, ?, ?, ?, ?)",
        values,
    )
