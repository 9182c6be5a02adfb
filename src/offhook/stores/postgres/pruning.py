"""Delete old messages, the texts of settled ones, and all that belongs to one person.

All but `prune_keys` and `of_person` run within a transaction, with few rows at a time.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from offhook.core.lifecycle import State
from offhook.core.privacy import essentials
from offhook.stores.api import Erasure, Retention
from offhook.stores.postgres import aliases
from offhook.stores.postgres.functions import SQL
from offhook.stores.postgres.pool import Connection
from offhook.stores.rows import RowsOfPerson
from offhook.stores.sql import SETTLED_WELL, one_of

_SCAN: Final = 60.0  # seconds that a look through a whole table may take


async def prune(connection: Connection, retention: Retention, limit: int) -> int:
    """Delete the messages that are over. See `api.Inbox.prune`."""
    await connection.execute(SQL["use_indexes"])
    old = await _expired(connection, SETTLED_WELL, retention.settled, limit)
    old += await _expired(connection, {State.DEAD}, retention.dead, limit - len(old))
    old += await _expired(connection, {State.PARKED}, retention.parked, limit - len(old))
    requests = await _ids(connection, "lock_expired_requests", retention.settled, limit)
    await _lock_sends(connection, "message", [*old, *(-number for number in requests)])
    old = await _ids(connection, "without_sends", old)
    requests = await _ids(connection, "without_requested_sends", requests)
    await _delete(connection, old)
    await _delete_sends_of(connection, [-number for number in requests])
    await _forget(connection, requests)
    await connection.execute(SQL["forget_recipients"])
    keys = await connection.fetch(SQL["prune_requests"], retention.keys, limit)
    unused = await connection.fetch(SQL["prune_states"], retention.states, limit)
    forgotten = await aliases.prune(connection, retention.keys, limit)
    return len(old) + len(requests) + len(keys) + len(unused) + forgotten


async def _forget(connection: Connection, requests: Sequence[int]) -> None:
    """Keep no more than the keys of requests, if all their sends have been deleted."""
    if requests:
        await connection.execute(SQL["forget_requests"], requests)
        await connection.execute(SQL["delete_requests"], requests)


async def prune_keys(connection: Connection, age: float, limit: int) -> int:
    """Delete the keys that are over."""
    rows = await connection.fetch(SQL["prune_keys"], age, limit)
    return len(rows)


async def reduce(connection: Connection, limit: int) -> int:
    """Take the texts out of what is settled. See `api.Inbox.reduce`."""
    rows = await connection.fetch(SQL["lock_reducible"], limit)
    requests = await _ids(connection, "lock_reducible_requests", limit)
    if not (rows or requests):
        return 0
    ids = [row["id"] for row in rows]
    await _lock_sends(connection, "message", [*ids, *(-number for number in requests)])
    lanes, forms = [row["lane"] for row in rows], [essentials(row["form"]) for row in rows]
    reduced = await _ids(connection, "reduce", ids, lanes, forms)
    await connection.execute(
        "UPDATE offhook.attempts SET error = '' WHERE message = ANY($1::bigint[])", reduced
    )
    requests = await _ids(connection, "reduce_requests", requests)
    texts = [*reduced, *(-number for number in requests)]
    await connection.execute(SQL["empty_sends"], texts)
    return len(texts)


async def of_person(connection: Connection, addresses: Sequence[str], limit: int) -> RowsOfPerson:
    """Find what there is of a person. Reads all: no index exists that only this would need."""
    values = (list(addresses), limit)
    messages = await connection.fetch(SQL["messages_of_person"], *values, timeout=_SCAN)
    sends = await connection.fetch(SQL["sends_of_person"], *values, timeout=_SCAN)
    states = await connection.fetch(SQL["states_of_person"], *values, timeout=_SCAN)
    return RowsOfPerson(
        [row["id"] for row in messages],
        [row["id"] for row in sends],
        [row["lane"] for row in states],
    )


async def erase(connection: Connection, found: RowsOfPerson) -> Erasure:
    """Delete what was found, except for what is running or being sent. See `api.Inbox.erase`."""
    affected = await _lanes_of(connection, found.messages, found.sends)
    affected = list(dict.fromkeys((*affected, *found.states)))
    await connection.execute(SQL["touch_lanes_of_messages"], affected)
    at_rest = await _ids(connection, "lock_not_running", found.messages)
    requests = await _ids(connection, "lock_requests_of_sends", found.sends)
    await connection.execute(SQL["touch_lanes_of_sends"], affected)
    messages = await _ids(connection, "not_sending", at_rest)
    sends = await _ids(connection, "idle_sends", found.sends, messages)
    changed = await _lanes_of(connection, messages, sends)
    await _lock_sends(connection, "id", sends)
    await _tally(connection, "sends", await _gone(connection, "sends", "id", sends))
    await _forget(connection, requests)
    states = await connection.fetch(SQL["erase_states"], found.states, messages)
    await _delete(connection, messages)
    await connection.execute(SQL["advance_messages"], affected, changed)
    await connection.execute(SQL["advance_sends"], affected)
    erased = len(messages) + len(sends)
    busy = len(found.messages) + len(found.sends) - erased
    return Erasure(erased + len(states), busy)


async def _expired(
    connection: Connection, states: Iterable[State], age: float, limit: int
) -> list[int]:
    """Lock messages whose time is over."""
    expired = SQL.filled("lock_expired", states=one_of(states))
    rows = await connection.fetch(expired, age, limit)
    return [row["id"] for row in rows]


async def _ids(connection: Connection, statement: str, *values: object) -> list[int]:
    rows = await connection.fetch(SQL[statement], *values)
    return [row["id"] for row in rows]


async def _lanes_of(
    connection: Connection, messages: Sequence[int], sends: Sequence[int]
) -> list[bytes]:
    rows = await connection.fetch(SQL["lanes_of"], list(messages), list(sends))
    return [row["lane"] for row in rows]


async def _delete(connection: Connection, ids: Sequence[int]) -> int:
    """Delete messages that are locked, with their attempts and sends."""
    if not ids:
        return 0
    await _gone(connection, "attempts", "message", ids)
    await _delete_sends_of(connection, ids)
    gone = await _gone(connection, "messages", "id", ids)
    await _tally(connection, "messages", gone)
    return gone


async def _delete_sends_of(connection: Connection, messages: Sequence[int]) -> None:
    await _lock_sends(connection, "message", messages)
    await _tally(connection, "sends", await _gone(connection, "sends", "message", messages))


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
    await connection.execute(SQL[f"lock_sends_by_{column}"], list(ids))
