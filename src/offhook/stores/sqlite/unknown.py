"""Unknown sends: which are to be looked up in Twilio's message list, and what came of it."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from offhook.core.lifecycle import SendTrigger, State, send_target
from offhook.core.privacy import spellings
from offhook.core.reasons import stored
from offhook.core.unknown_sends import FIRST_LOOK, LOOKED_FOR, Finding, Unknown, Verdict
from offhook.stores.api import Inquiry
from offhook.stores.rows import as_unknown, ending, listed_under
from offhook.stores.sql import SENDS
from offhook.stores.sqlite import lanes
from offhook.stores.sqlite.conditions import SQL


def is_due(connection: sqlite3.Connection, now: int) -> bool:
    """Return whether a send is to be looked up. Reads only."""
    return _next(connection, now) is not None


def claim(connection: sqlite3.Connection, now: int, *, lease: float) -> Inquiry | None:
    """Take the unknown sends to one person. See `api.Ledger.claim_unknown`."""
    found = _next(connection, now)
    if found is None:
        return None
    account_sid, recipient = found
    person = (recipient, *spellings(recipient))
    rows = connection.execute(
        SQL.filled("unknown_of_person", recipients=_marks(person)),
        (now - _ms(LOOKED_FOR), account_sid, *person),
    ).fetchall()
    recipients = listed_under((row[8], row[9]) for row in rows)
    ids, places = [row[0] for row in rows], {row[1] for row in rows}
    connection.execute(SQL.filled("look_up", ids=_marks(ids)), (now + _ms(lease), *ids))
    witnesses = connection.execute(
        SQL.filled("witnesses", lanes=_marks(places), recipients=_marks(recipients)),
        (*places, min(row[2] for row in rows), account_sid, *recipients, now - _ms(FIRST_LOOK)),
    )
    return Inquiry(
        account_sid,
        recipients,
        tuple(_unknown(row, now) for row in rows),
        frozenset(sid for (sid,) in witnesses.fetchall()),
    )


def known_sids(
    connection: sqlite3.Connection, now: int, inquiry: Inquiry, sids: Sequence[str]
) -> frozenset[str] | None:
    """Return which SIDs belong to sends. Reads only. See `api.Ledger.known_sids`."""
    ids = [send.id for send in inquiry.sends]
    people = (inquiry.account_sid, *inquiry.recipients)
    among = _marks(inquiry.recipients)
    on_its_way = connection.execute(SQL.filled("on_its_way", recipients=among), people)
    others = connection.execute(
        SQL.filled("others_unknown", recipients=among, ids=_marks(ids)),
        (now - _ms(LOOKED_FOR), *people, *ids),
    )
    if on_its_way.fetchone() or others.fetchone():
        return None
    known = connection.execute(
        SQL.filled("sids_of_others", sids=_marks(sids)), (inquiry.account_sid, *sids)
    )
    return frozenset(sid for (sid,) in known.fetchall())


def settle(
    connection: sqlite3.Connection, now: int, verdicts: Sequence[Verdict]
) -> Mapping[int, SendTrigger]:
    """Record what came of looking sends up. See `api.Ledger.settle_unknown`."""
    happened = {}
    for verdict in verdicts:
        send = verdict.send
        row = connection.execute(SQL["looked_up"], (send.id, send.looks)).fetchone()
        if row is None:
            continue
        if verdict.finding is Finding.REPEAT:
            happened[send.id] = _end(connection, now, send.id, row)
        else:
            missing = verdict.finding is Finding.MISSING
            connection.execute(SQL["look_again"], (now + _ms(verdict.again), missing, now, send.id))
    return happened


def _end(connection: sqlite3.Connection, now: int, id_: int, row: Sequence[Any]) -> SendTrigger:
    lane, repeats, identity, state = row
    trigger, error = ending(repeats, identity, None if state is None else State(state))
    again = trigger is SendTrigger.REPEAT
    values = {
        "id": id_, "now": now, "state": send_target(trigger), "error": stored(error),
        "repeats": repeats - 1 if again else None,
    }  # fmt: skip
    connection.execute(SQL["end_look_up"], values)
    if again:
        lanes.touch(connection, SENDS, lane, now)
    return trigger


def _next(connection: sqlite3.Connection, now: int) -> tuple[str, str] | None:
    values = {"now": now, "since": now - _ms(LOOKED_FOR), "lost_by": now - _ms(FIRST_LOOK)}
    row: tuple[str, str] | None = connection.execute(SQL["next_to_look_up"], values).fetchone()
    return row


def _unknown(row: Sequence[Any], now: int) -> Unknown:
    id_, _, created, settled, looks, missing, *columns = row
    return as_unknown(
        (id_, *columns),
        written=(now - created) / 1000,
        lost=(now - settled) / 1000,
        looks=looks,
        missing=None if missing is None else (now - missing) / 1000,
    )


def _marks(values: Any) -> str:
    return f"({','.join('?' * len(values))})"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
