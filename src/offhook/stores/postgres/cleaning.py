"""Deleting: what is old, what is private, and what belongs to a person who is to be forgotten.

All but `prune_keys` and `of_person` run within a transaction, with few rows at a time.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from offhook.core.keys import Kind
from offhook.core.lifecycle import SETTLED, SendTrigger, State, Trigger, send_target, target
from offhook.core.privacy import essentials
from offhook.ports import Erasure, Retention
from offhook.stores.postgres import lanes
from offhook.stores.postgres.accept import touch_lanes
from offhook.stores.postgres.connections import Connection
from offhook.stores.postgres.sql import IS_LIVE, MESSAGES, NOW, SENDS, one_of

_SETTLED_WELL: Final = SETTLED - {State.DEAD}
_NOTHING_TO_SEND: Final = (
    f"NOT EXISTS (SELECT 1 FROM offhook.sends WHERE sends.message = messages.id "
    f"AND sends.{IS_LIVE})"
)
_RUNNING: Final = target(Trigger.CLAIM)
_SENDING: Final = send_target(SendTrigger.CLAIM)
_SCAN: Final = 60.0  # seconds that a look through a whole table may take


class Found(NamedTuple):
    """Numbers of what belongs to a person."""

    messages: Sequence[int]
    sends: Sequence[int]


async def prune(connection: Connection, retention: Retention, limit: int) -> int:
    """Delete the messages that are over. See `ports.Inbox.prune`."""
    old = await _expired(connection, _SETTLED_WELL, retention.settled, limit)
    old += await _expired(connection, {State.DEAD}, retention.dead, limit - len(old))
    old += await _expired(connection, {State.PARKED}, retention.parked, limit - len(old))
    return await _delete(connection, old)


async def prune_keys(connection: Connection, age: float, limit: int) -> int:
    """Delete the keys that are over."""
    rows = await connection.fetch(
        "DELETE FROM offhook.dedupe_keys WHERE ctid = ANY(ARRAY("
        "SELECT ctid FROM offhook.dedupe_keys "
        f"WHERE received < {NOW} - make_interval(secs => $1) "
        "ORDER BY received LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
        age,
        limit,
    )
    return len(rows)


async def reduce(connection: Connection, limit: int) -> int:
    """Take the texts out of what is settled. See `ports.Inbox.reduce`."""
    rows = await connection.fetch(
        f"SELECT id, lane, form FROM offhook.messages "
        f"WHERE resting IN {one_of(_SETTLED_WELL)} AND NOT reduced AND settled IS NOT NULL "
        f"AND {_NOTHING_TO_SEND} LIMIT $1 FOR UPDATE SKIP LOCKED",
        limit,
    )
    if not rows:
        return 0
    ids = [row["id"] for row in rows]
    await connection.execute(
        """
        UPDATE offhook.messages SET form = r.form, error = '', reduced = true
          FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS r (id, lane, form)
         WHERE messages.id = r.id AND messages.lane = r.lane
        """,
        ids,
        [row["lane"] for row in rows],
        [essentials(row["form"]) for row in rows],
    )
    await connection.execute(
        "UPDATE offhook.attempts SET error = '' WHERE message = ANY($1::bigint[])", ids
    )
    await _lock_sends(connection, "message", ids)
    await connection.execute(
        "UPDATE offhook.sends SET body = '', media = '[]', content_variables = '{}', error = '' "
        "WHERE message = ANY($1::bigint[])",
        ids,
    )
    return len(ids)


async def of_person(connection: Connection, addresses: Sequence[str], limit: int) -> Found:
    """Find what there is of a person. Reads all: no index exists that only this would need."""
    messages = await connection.fetch(
        "SELECT id FROM offhook.messages WHERE (kind <> $1 AND sender = ANY($3::text[])) "
        "OR (kind <> $2 AND recipient = ANY($3::text[])) LIMIT $4",
        Kind.STATUS.value,
        Kind.MESSAGE.value,
        list(addresses),
        limit,
        timeout=_SCAN,
    )
    sends = await connection.fetch(
        "SELECT id FROM offhook.sends WHERE recipient = ANY($1::text[]) LIMIT $2",
        list(addresses),
        limit,
        timeout=_SCAN,
    )
    return Found([row["id"] for row in messages], [row["id"] for row in sends])


async def erase(connection: Connection, found: Found) -> Erasure:
    """Delete what was found, but for what somebody is at work on. See `ports.Inbox.erase`."""
    affected = await _lanes_of(connection, found)
    await connection.execute(touch_lanes(MESSAGES, "$1::bytea[]"), affected)
    at_rest = await _not_running(connection, found.messages)
    await connection.execute(touch_lanes(SENDS, "$1::bytea[]"), affected)
    messages = await _not_sending(connection, at_rest)
    sends = await _idle_sends(connection, found.sends, messages)
    await _lock_sends(connection, "id", sends)
    await _tally(connection, "sends", await _gone(connection, "sends", "id", sends))
    await _delete(connection, messages)
    for queue in (MESSAGES, SENDS):
        await connection.execute(
            lanes.advance(queue, "$1::bytea[]", where="lanes.until IS NULL", now=NOW),
            affected,
        )
    erased = len(messages) + len(sends)
    return Erasure(erased, len(found.messages) + len(found.sends) - erased)


async def _expired(
    connection: Connection, states: Iterable[State], age: float, limit: int
) -> list[int]:
    """Lock messages whose time is over. Those that somebody replays just now are left to him."""
    locked = await connection.fetch(
        f"SELECT id FROM offhook.messages "
        f"WHERE resting IN {one_of(states)} AND reduced IN (false, true) AND settled IS NOT NULL "
        f"AND settled < {NOW} - make_interval(secs => $1) AND {_NOTHING_TO_SEND} "
        f"LIMIT $2 FOR UPDATE SKIP LOCKED",
        age,
        limit,
    )
    # Looked at once more: a notice may have been written before it was locked.
    rows = await connection.fetch(
        f"SELECT id FROM offhook.messages WHERE id = ANY($1::bigint[]) AND {_NOTHING_TO_SEND}",
        [row["id"] for row in locked],
    )
    return [row["id"] for row in rows]


async def _not_running(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Lock the messages that do not run."""
    rows = await connection.fetch(
        f"SELECT id FROM offhook.messages WHERE id = ANY($1::bigint[]) AND state <> '{_RUNNING}' "
        f"ORDER BY id FOR UPDATE",
        list(ids),
    )
    return [row["id"] for row in rows]


async def _not_sending(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Return the messages of which nothing is being sent; their lanes of sends are locked."""
    rows = await connection.fetch(
        f"SELECT id FROM offhook.messages WHERE id = ANY($1::bigint[]) AND NOT EXISTS (SELECT 1 "
        f"FROM offhook.sends WHERE sends.message = messages.id AND sends.state = '{_SENDING}')",
        list(ids),
    )
    return [row["id"] for row in rows]


async def _idle_sends(
    connection: Connection, ids: Sequence[int], going: Sequence[int]
) -> list[int]:
    """Return the sends that may go: not under way, nor of a live message, unless it goes as well.

    A live message may run (again), and would send again what it does not find in the ledger.
    """
    rows = await connection.fetch(
        f"SELECT id FROM offhook.sends WHERE id = ANY($1::bigint[]) AND state <> '{_SENDING}' "
        f"AND NOT EXISTS (SELECT 1 FROM offhook.messages WHERE messages.id = sends.message "
        f"AND messages.{IS_LIVE} AND messages.id <> ALL($2::bigint[]))",
        list(ids),
        list(going),
    )
    return [row["id"] for row in rows]


async def _lanes_of(connection: Connection, found: Found) -> list[bytes]:
    rows = await connection.fetch(
        "SELECT lane FROM offhook.messages WHERE id = ANY($1::bigint[]) UNION "
        "SELECT lane FROM offhook.sends WHERE id = ANY($2::bigint[])",
        list(found.messages),
        list(found.sends),
    )
    return [row["lane"] for row in rows]


async def _delete(connection: Connection, ids: Sequence[int]) -> int:
    """Delete messages that are locked, with their attempts and sends."""
    if not ids:
        return 0
    await _gone(connection, "attempts", "message", ids)
    await _lock_sends(connection, "message", ids)
    await _tally(connection, "sends", await _gone(connection, "sends", "message", ids))
    gone = await _gone(connection, "messages", "id", ids)
    await _tally(connection, "messages", gone)
    return gone


async def _gone(connection: Connection, table: str, column: str, ids: Sequence[int]) -> int:
    status = await connection.execute(
        f"DELETE FROM offhook.{table} WHERE {column} = ANY($1::bigint[])", list(ids)
    )
    return int(status.rpartition(" ")[2])


async def _tally(connection: Connection, table: str, gone: int) -> None:
    if gone:
        await connection.execute(
            "INSERT INTO offhook.tallies (what, change) VALUES ($1, $2)", table, -gone
        )


async def _lock_sends(connection: Connection, column: str, ids: Sequence[int]) -> None:
    """Lock sends in the order of their numbers, as everybody does."""
    await connection.execute(
        f"SELECT 1 FROM offhook.sends WHERE {column} = ANY($1::bigint[]) ORDER BY id FOR UPDATE",
        list(ids),
    )
