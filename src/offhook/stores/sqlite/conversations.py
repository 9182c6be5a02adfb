"""Show what was said in a conversation. Reads only."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice

from offhook.core import turns
from offhook.core.lifecycle import LIVE
from offhook.core.turns import Turn
from offhook.stores.api import SavedState, TurnFilter
from offhook.stores.sqlite.conditions import SQL


def said(connection: sqlite3.Connection, ahead: int, wanted: TurnFilter) -> Sequence[Turn]:
    """Return the last turns. See `api.Conversations.turns`."""
    limit = min(wanted.limit, turns.MOST)
    sides = [_received(connection, ahead, wanted, person) for person in wanted.persons]
    sides.append(_sent(connection, ahead, wanted))
    newest = [list(islice(side, limit)) for side in sides]
    return turns.last([turn for side in newest for turn in reversed(side)], limit)


def saved_state(connection: sqlite3.Connection, now: int, lane: str) -> SavedState | None:
    """Return the state of a conversation."""
    row = connection.execute(SQL["state_of"], (lane,)).fetchone()
    return None if row is None else SavedState(row[0], row[1], (now - row[2]) / 1000)


def _received(
    connection: sqlite3.Connection, ahead: int, wanted: TurnFilter, person: str
) -> Iterator[Turn]:
    """Go through a person's messages, the newest first: no index has those of a lane."""
    rows = connection.execute(SQL["received_from"], (person, turns.LOOKED_THROUGH))
    for id_, lane, state, reduced, form, received in rows:
        waits = wanted.asking is not None and (id_ == wanted.asking or state in LIVE)
        if lane == wanted.lane and not reduced and not waits:
            yield turns.inbound(form, (received + ahead) / 1000)


def _sent(connection: sqlite3.Connection, ahead: int, wanted: TurnFilter) -> Iterator[Turn]:
    rows = connection.execute(SQL["sent_in"], (wanted.lane, turns.LOOKED_THROUGH))
    for message, recipient, state, body, media, written, sid, delivery, code in rows:
        if state in turns.SAID and recipient in wanted.persons and message != wanted.asking:
            urls = json.loads(media)
            if body or urls:
                moment = (written + ahead) / 1000
                yield turns.outbound(
                    body, urls, moment, sid=sid, delivery=delivery, error_code=code
                )
