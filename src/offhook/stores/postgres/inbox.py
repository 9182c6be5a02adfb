"""What operators see and do: plain statements, planned for what is asked."""

from collections.abc import Sequence
from typing import Any, Final

from offhook.core.keys import Kind
from offhook.core.lifecycle import LIVE, SendState, State, Trigger, sources, target
from offhook.core.reasons import Cause, read, stored
from offhook.core.searching import Phrase
from offhook.ports import Ahead, Attempt, Filter, Found, History, Record
from offhook.stores.postgres import lanes
from offhook.stores.postgres.accept import touch_lanes
from offhook.stores.postgres.connections import Connection, Row
from offhook.stores.postgres.settling import as_send
from offhook.stores.postgres.sql import (
    IS_LIVE,
    MESSAGES,
    NOW,
    before,
    epoch,
    lane_key,
    one_of,
    storable,
    stored_moment,
)

_COLUMNS: Final = f"""
    id, kind, state, sid, account_sid, sender, recipient, lane_name, attempts, crashes,
    {epoch("received")} AS received, {epoch("started")} AS started, {epoch("settled")} AS settled,
    {epoch("due")} AS due, error, form, spooled, reduced
"""
# Of the form as it came. By `encode`, for a request that is not verified yet may hold any byte.
_BODY: Final = "lower(split_part(split_part('&' || encode(form, 'escape'), '&Body=', 2), '&', 1))"
# Of a lane what runs, or else the first that may go before a message.
_AHEAD: Final = f"""
    SELECT id, state, {epoch("due")} AS due FROM offhook.messages
     WHERE lane = $1 AND {IS_LIVE} AND id <> $2
       AND ({before(Trigger.RESCUE)} OR (holds OR due <= {NOW}) AND place < $3)
     ORDER BY {before(Trigger.RESCUE)} DESC, place LIMIT 1
"""
_CANDIDATES: Final = 200  # with 64 KiB each at most
_NEWEST: Final = 2**63 - 1
_NOT_SENT: Final = one_of({SendState.FAILED, SendState.CANCELED})


async def find(connection: Connection, wanted: Filter) -> Sequence[Record]:
    """Return the messages that fit, newest first."""
    fitting, values = _fitting(wanted)
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM {fitting} ORDER BY id DESC LIMIT {int(wanted.limit)}", *values
    )
    return [_record(row) for row in rows]


async def search(connection: Connection, wanted: Filter, phrase: Phrase, within: int) -> Found:
    """Look for words. The server passes over what can't hold them, the rest is read here."""
    fitting, values = _fitting(wanted)
    ((looked, last),) = await connection.fetch(
        f"SELECT count(*), min(id) FROM "
        f"(SELECT id FROM {fitting} ORDER BY id DESC LIMIT {int(within)}) AS looked",
        *values,
    )
    n = len(values)
    candidates = (
        f"SELECT {_COLUMNS} FROM {fitting} AND id >= ${n + 1} AND id < ${n + 2} "
        f"AND position(${n + 3} IN {_BODY}) > 0 ORDER BY id DESC LIMIT {_CANDIDATES}"
    )
    records: list[Record] = []
    below = _NEWEST
    while last is not None and len(records) < wanted.limit:
        rows = await connection.fetch(candidates, *values, last, below, phrase.plain.decode())
        records += [_record(row) for row in rows if phrase.is_in(row["form"])]
        if len(rows) < _CANDIDATES:
            break
        below = rows[-1]["id"]
    if len(records) >= wanted.limit:
        return Found(records[: wanted.limit], records[wanted.limit - 1].id)
    return Found(records, None if looked < within else last)


async def show(connection: Connection, message_id: int) -> History | None:
    """Return a message with its attempts and sends. Within a transaction."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS}, place FROM offhook.messages WHERE id = $1", message_id
    )
    if row is None:
        return None
    attempts = await connection.fetch(
        f"SELECT number, {epoch('started')} AS started, {epoch('ended')} AS ended, trigger, error "
        f"FROM offhook.attempts WHERE message = $1 ORDER BY id",
        message_id,
    )
    sends = await connection.fetch(
        "SELECT * FROM offhook.sends WHERE message = $1 ORDER BY id", message_id
    )
    record = _record(row)
    return History(
        record=record,
        attempts=tuple(
            Attempt(a["number"], a["started"], a["ended"], Trigger(a["trigger"]), read(a["error"]))
            for a in attempts
        ),
        sends=tuple(as_send(send) for send in sends),
        behind=await _ahead_of(connection, record, row["place"]),
    )


async def _ahead_of(connection: Connection, record: Record, place: int) -> Ahead | None:
    if record.state not in sources(Trigger.CLAIM):
        return None
    row = await connection.fetchrow(_AHEAD, lane_key(record.lane), record.id, place)
    return None if row is None else Ahead(row["id"], State(row["state"]), row["due"])


async def replay(connection: Connection, message_id: int) -> bool:
    """Put a message at the tail of its lane, or have it due at once. Within a transaction.

    See `ports.Inbox.replay`.
    """
    lane = await _move(
        connection,
        message_id,
        Trigger.REPLAY,
        f"place = CASE WHEN {IS_LIVE} THEN place ELSE nextval('offhook.message_ids') END, "
        f"attempts = CASE WHEN {IS_LIVE} THEN 1 ELSE 0 END, due = {NOW}, "
        f"holds = true, crashes = 0, settled = NULL, error = ''",
        unless="messages.reduced",
    )
    if lane is not None:
        # The identities of what never arrived are free again, so that it can be written anew.
        await connection.execute(
            f"""
            WITH unsent AS MATERIALIZED (
                SELECT id FROM offhook.sends WHERE message = $1 AND state IN {_NOT_SENT}
                 ORDER BY id FOR UPDATE
            )
            UPDATE offhook.sends SET identity = identity || '~' || sends.id
              FROM unsent WHERE sends.id = unsent.id
            """,
            message_id,
        )
    return lane is not None


async def drop(connection: Connection, message_id: int) -> bool:
    """Discard a message that is not running. Within a transaction. See `ports.Inbox.drop`."""
    lane = await _move(connection, message_id, Trigger.DROP, f"settled = {NOW}, notice_due = NULL")
    if lane is not None:  # what stood behind it may go now
        await connection.execute(
            lanes.advance(
                MESSAGES,
                "ARRAY[$1::bytea]",
                where="lanes.until IS NULL",
                now=NOW,
            ),
            lane,
        )
    return lane is not None


async def _move(
    connection: Connection,
    message_id: int,
    trigger: Trigger,
    changes: str,
    *,
    unless: str = "false",
) -> bytes | None:
    """Carry out an operator's trigger, and keep it in the history; return the lane.

    The lane is locked, and due: it is looked at, for the message may go now.
    """
    lane: bytes | None = await connection.fetchval(
        "SELECT lane FROM offhook.messages WHERE id = $1", message_id
    )
    if lane is None:
        return None
    await connection.execute(touch_lanes(MESSAGES, "ARRAY[$1::bytea]"), lane)
    attempts = await connection.fetchval(
        f"""
        UPDATE offhook.messages SET state = $2, {changes}
         WHERE id = $1 AND {before(trigger)} AND NOT {unless} RETURNING attempts
        """,
        message_id,
        target(trigger).value,
    )
    if attempts is None:
        return None
    await connection.execute(
        "INSERT INTO offhook.attempts (lane, message, number, ended, trigger, error) "
        f"VALUES ($1, $2, $3, {NOW}, $4, $5)",
        lane,
        message_id,
        attempts,
        trigger.value,
        stored(Cause.OPERATOR()),
    )
    return lane


def _fitting(wanted: Filter) -> tuple[str, Sequence[Any]]:
    """Return where to look and what must hold there, as SQL with its values."""
    conditions: dict[str, Any] = {
        "state = {}": wanted.state and wanted.state.value,
        "left(sender, 64) = left({0}, 64) AND sender = {0}": storable(wanted.sender) or None,
        "left(sid, 64) = left({0}, 64) AND sid = {0}": storable(wanted.sid) or None,
        f"received >= {stored_moment('{}')}": wanted.since,
        f"received < {stored_moment('{}')}": wanted.until,
        "id < {}": wanted.before_id,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    terms = [condition.format(f"${n}") for n, condition in enumerate(given, 1)]
    if wanted.kind is not None:  # spelled out, or no index is found to be of this kind
        terms.append(f"kind = '{wanted.kind}'")
    if wanted.state is not None:  # the indexes know it by this name
        terms.append("resting IS NULL" if wanted.state in LIVE else "resting = state")
    return f"offhook.messages WHERE {' AND '.join(terms or ['true'])}", tuple(given.values())


def _record(row: Row) -> Record:
    return Record(
        id=row["id"],
        kind=Kind(row["kind"]),
        state=State(row["state"]),
        sid=row["sid"],
        account_sid=row["account_sid"],
        sender=row["sender"],
        recipient=row["recipient"],
        lane=row["lane_name"],
        attempts=row["attempts"],
        crashes=row["crashes"],
        received=row["received"],
        started=row["started"],
        settled=row["settled"],
        due=row["due"],
        error=read(row["error"]),
        form=row["form"],
        spooled=row["spooled"],
        reduced=row["reduced"],
    )
