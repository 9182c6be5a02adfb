"""Show what was said in a conversation. Reads only."""

import json
from collections.abc import Sequence

from offhook.core import turns
from offhook.core.turns import Turn
from offhook.stores.api import SavedState, TurnFilter
from offhook.stores.postgres.functions import SQL
from offhook.stores.postgres.pool import Connection, Row
from offhook.stores.postgres.values import lane_key, storable


async def said(connection: Connection, wanted: TurnFilter) -> Sequence[Turn]:
    """Return the last turns. See `api.Conversations.turns`."""
    key, limit = lane_key(wanted.lane), min(wanted.limit, turns.MOST)
    persons = [storable(person) for person in wanted.persons]
    found: list[Turn] = []
    for person in persons:
        rows = await connection.fetch(SQL["received_from"], person, key, wanted.asking, limit)
        found += [turns.inbound(row["form"], row["received"]) for row in reversed(rows)]
    rows = await connection.fetch(SQL["sent_in"], key, persons, wanted.asking, limit)
    found += [_sent(row) for row in reversed(rows)]
    return turns.last(found, limit)


def _sent(row: Row) -> Turn:
    return turns.outbound(
        row["body"],
        json.loads(row["media"]),
        row["written"],
        sid=row["sid"],
        delivery=row["delivery"],
        error_code=row["error_code"],
    )


async def saved_state(connection: Connection, lane: str) -> SavedState | None:
    """Return the state of a conversation."""
    row = await connection.fetchrow(SQL["state_of"], lane_key(lane))
    return None if row is None else SavedState(row["value"], row["version"], row["age"])
