"""End runs and write their sends. Every function runs within the writer's transaction."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from offhook.core.lifecycle import LIVE, Trigger, sources, target
from offhook.core.messages import Send
from offhook.core.reasons import stored
from offhook.core.texts import well_formed
from offhook.errors import OffhookError
from offhook.stores.api import Claim, Draft, Settlement
from offhook.stores.rows import COUNTED, passed_on, settled_already
from offhook.stores.sql import MESSAGES
from offhook.stores.sqlite import lanes, ledger, states
from offhook.stores.sqlite.conditions import SQL, before
from offhook.stores.sqlite.queue import record
from offhook.stores.sqlite.sorting import chunks

Run = tuple[Claim, Settlement]
"""A run, and how it ends."""

_RUNNING: Final = target(Trigger.CLAIM).value
_SETTLE: Final = {
    trigger: f"{SQL['settle']} AND {before(trigger)}"
    for trigger in Trigger
    if target(Trigger.CLAIM) in sources(trigger)
}


class _Found(NamedTuple):
    """A message that a run is to end; `leased` is the token of its lane's lease."""

    id: int
    state: str
    token: int
    attempts: int
    started: int
    notified: int
    leased: int | None


def settle(
    connection: sqlite3.Connection, runs: Sequence[Run], now: int
) -> Sequence[tuple[Send, ...] | OffhookError]:
    """End runs; return for each what it wrote. See `api.Queue.settle`."""
    found = _find(connection, [claim.id for claim, _ in runs])
    ended: dict[int, _Found] = {}  # by the token
    updates: dict[Trigger, list[Mapping[str, object]]] = {}
    results: list[tuple[Send, ...] | OffhookError] = []
    for claim, settlement in runs:
        row = found.get(claim.id)
        if row is None or row.token != claim.token:
            results.append(passed_on(claim))
        elif row.state != _RUNNING or claim.token in ended:
            results.append(())  # settled before: the answer was lost, the settling was not
        else:
            ended[claim.token] = row
            updates.setdefault(settlement.trigger, []).append(_changes(row, settlement, now))
            results.append(_write_end(connection, now, claim, settlement, row))
    for trigger, rows in updates.items():
        connection.executemany(_SETTLE[trigger], rows)
    for claim, _ in runs:
        if (row := ended.pop(claim.token, None)) is not None and row.leased == claim.token:
            lanes.advance(connection, MESSAGES, claim.lane, now)
    return results


def _changes(row: _Found, settlement: Settlement, now: int) -> Mapping[str, object]:
    trigger = settlement.trigger
    return {
        "id": row.id,
        "state": target(trigger).value,
        "attempts": row.attempts + (trigger in COUNTED),
        "due": now + int(settlement.delay * 1000),
        "holds": int(settlement.holds_lane),
        "settled": None if target(trigger) in LIVE else now,
        "error": well_formed(stored(settlement.error)) if settlement.error else "",
    }


def _write_end(
    connection: sqlite3.Connection, now: int, claim: Claim, settlement: Settlement, row: _Found
) -> tuple[Send, ...]:
    """Write what goes with the end of a run: a failed attempt, a state, and sends."""
    trigger = settlement.trigger
    if trigger is not Trigger.COMPLETE:
        error = well_formed(stored(settlement.error))
        record(connection, claim.id, claim.attempt, row.started, now, trigger, error)
    if settlement.cancel_lane:
        ledger.cancel_lane(connection, now, claim.lane)
    elif row.notified and target(trigger) not in LIVE:
        ledger.cancel_slow_notice(connection, now, claim.lane, claim.id)
    if settlement.state is not None:
        states.save(connection, now, claim, settlement.state)
    return _write_all(connection, now, claim, settlement.drafts) if settlement.drafts else ()


def write(
    connection: sqlite3.Connection, now: int, claim: Claim, drafts: Sequence[Draft]
) -> tuple[Send, ...]:
    """Write sends of a running message. See `api.Ledger.write`."""
    row = _find(connection, [claim.id]).get(claim.id)
    if row is None or row.token != claim.token:
        raise passed_on(claim)
    if row.state != _RUNNING:
        raise settled_already(claim)
    return _write_all(connection, now, claim, drafts)


def _find(connection: sqlite3.Connection, ids: Sequence[int]) -> Mapping[int, _Found]:
    found: dict[int, _Found] = {}
    for part in chunks(ids):
        marks = ",".join("?" * len(part))
        for row in connection.execute(f"{SQL['running']} ({marks})", part).fetchall():
            found[row[0]] = _Found._make(row)
    return found


def _write_all(
    connection: sqlite3.Connection, now: int, claim: Claim, drafts: Sequence[Draft]
) -> tuple[Send, ...]:
    written = (ledger.write(connection, now, claim.id, claim.lane, draft) for draft in drafts)
    return tuple(send for send in written if send is not None)
