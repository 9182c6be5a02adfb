"""Show messages to operators, and carry out their decisions. Each query has its own plan."""

from collections.abc import Sequence
from typing import Any, Final

from offhook.core.lifecycle import LIVE, State, Trigger, sources
from offhook.core.reasons import Cause, stored
from offhook.core.search import Phrase
from offhook.stores.api import (
    Ahead,
    Filter,
    Found,
    History,
    Record,
)
from offhook.stores.postgres import lanes
from offhook.stores.postgres.clock import MOMENT
from offhook.stores.postgres.functions import SQL
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.values import lane_key, storable
from offhook.stores.rows import SEND_COLUMNS, as_attempt, as_record, as_send

_CANDIDATES: Final = 200  # with 64 KiB each at most
_NEWEST: Final = 2**63 - 1


async def find(connection: Connection, wanted: Filter) -> Sequence[Record]:
    """Return the messages that fit, newest first."""
    fitting, values = _fitting(wanted)
    rows = await connection.fetch(
        SQL.filled("find", fitting=fitting, limit=str(int(wanted.limit))), *values
    )
    return [as_record(row) for row in rows]


async def search(connection: Connection, wanted: Filter, phrase: Phrase, within: int) -> Found:
    """Look for words. The server passes over what can't hold them, the rest is read here."""
    fitting, values = _fitting(wanted)
    ((looked, last),) = await connection.fetch(
        SQL.filled("looked_through", fitting=fitting, within=str(within)), *values
    )
    n = len(values)
    candidates = SQL.filled(
        "candidates",
        fitting=fitting,
        last=f"${n + 1}",
        below=f"${n + 2}",
        text=f"${n + 3}",
        at_most=str(_CANDIDATES),
    )
    records: list[Record] = []
    below = _NEWEST
    while last is not None and len(records) < wanted.limit:
        rows = await connection.fetch(candidates, *values, last, below, phrase.plain.decode())
        records += [as_record(row) for row in rows if phrase.is_in(row["form"])]
        if len(rows) < _CANDIDATES:
            break
        below = rows[-1]["id"]
    if len(records) >= wanted.limit:
        return Found(records[: wanted.limit], records[wanted.limit - 1].id)
    return Found(records, None if looked < within else last)


async def show(connection: Connection, message_id: int) -> History | None:
    """Return a message with its attempts and sends. Within a transaction."""
    row = await connection.fetchrow(SQL["show"], message_id)
    if row is None:
        return None
    attempts = await connection.fetch(SQL["attempts_of"], message_id)
    sends = await connection.fetch(
        f"SELECT {SEND_COLUMNS} FROM offhook.sends WHERE message = $1 ORDER BY id", message_id
    )
    *columns, place = row
    record = as_record(columns)
    return History(
        record=record,
        attempts=tuple(as_attempt(attempt) for attempt in attempts),
        sends=tuple(as_send(send) for send in sends),
        behind=await _ahead_of(connection, record, place),
    )


async def _ahead_of(connection: Connection, record: Record, place: int) -> Ahead | None:
    if record.state not in sources(Trigger.CLAIM):
        return None
    row = await connection.fetchrow(SQL["ahead"], lane_key(record.lane), record.id, place)
    return None if row is None else Ahead(row["id"], State(row["state"]), row["due"])


async def replay(connection: Connection, message_id: int) -> bool:
    """Put a message at the tail of its lane, or have it due at once. Within a transaction.

    See `api.Inbox.replay`.
    """
    lane = await _decide(connection, message_id, Trigger.REPLAY)
    if lane is not None:
        await connection.execute(SQL["lock_sends_by_message"], [message_id])
        await connection.execute(SQL["free_unsent"], message_id)
    return lane is not None


async def drop(connection: Connection, message_id: int) -> bool:
    """Discard a message that is not running. Within a transaction. See `api.Inbox.drop`."""
    lane = await _decide(connection, message_id, Trigger.DROP)
    if lane is not None:  # what stood behind it may go now
        await connection.execute(SQL["advance_messages"], [lane], [lane])
    return lane is not None


async def _decide(connection: Connection, message_id: int, trigger: Trigger) -> bytes | None:
    """Carry out an operator's trigger, and keep it in the history; return the lane.

    The lane is locked, and due: it is looked at, for the message may go now.
    """
    lane: bytes | None = None

    async def find() -> list[bytes | None]:
        nonlocal lane
        lane = await connection.fetchval(
            "SELECT lane FROM offhook.messages WHERE id = $1", message_id
        )
        return [lane]

    await lanes.lock(connection, "touch_lanes_of_messages", find)
    if lane is None:
        return None
    # `sql/inbox.sql` has a statement for each, of its name.
    attempts = await connection.fetchval(SQL[trigger], message_id)
    if attempts is None:
        return None
    await connection.execute(
        SQL["note_decision"], lane, message_id, attempts, trigger.value, stored(Cause.OPERATOR())
    )
    return lane


def _fitting(wanted: Filter) -> tuple[str, Sequence[Any]]:
    """Return where to look and what must hold there, as SQL with its values."""
    conditions: dict[str, Any] = {
        "state = {}": wanted.state and wanted.state.value,
        "left(sender, 64) = left({0}, 64) AND sender = {0}": storable(wanted.sender) or None,
        "left(sid, 64) = left({0}, 64) AND sid = {0}": storable(wanted.sid) or None,
        f"received >= {MOMENT}": wanted.since,
        f"received < {MOMENT}": wanted.until,
        "id < {}": wanted.before_id,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    terms = [condition.format(f"${n}") for n, condition in enumerate(given, 1)]
    if wanted.kind is not None:  # spelled out, or no index is found to be of this kind
        terms.append(f"kind = '{wanted.kind}'")
    if wanted.state is not None:  # the indexes know it by this name
        terms.append("resting IS NULL" if wanted.state in LIVE else "resting = state")
    return f"offhook.messages WHERE {' AND '.join(terms or ['true'])}", tuple(given.values())
