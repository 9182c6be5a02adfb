"""How much there is of everything. Reads only, and in one statement: all of one moment."""

from collections.abc import Mapping

from offhook.core.lifecycle import SendState, State
from offhook.stores.api import Counts
from offhook.stores.postgres.functions import SQL
from offhook.stores.postgres.pool import Connection


async def backlog(connection: Connection, at_most: int) -> int:
    """Count the live messages, as far as `at_most`."""
    count = await connection.fetchval(
        "SELECT count(*) FROM "
        "(SELECT 1 FROM offhook.messages WHERE resting IS NULL LIMIT $1) AS live",
        at_most,
    )
    return int(count)


async def glance(connection: Connection, unresolved_after: float) -> Counts:
    """Return the store at a glance. Within a transaction."""
    found = {
        (row["what"], row["name"]): int(row["number"])
        for row in await connection.fetch(SQL["counts"], unresolved_after)
    }
    messages = {state: found.get(("message", state.value), 0) for state in State}
    messages[State.DONE] = found.get(("rows", "messages"), 0) - sum(messages.values())
    sends = {state: found.get(("send", state.value), 0) for state in SendState}
    sends[SendState.SENT] = found.get(("rows", "sends"), 0) - sum(sends.values())
    oldest_send, shortfalls = await _shortfalls(connection)
    return Counts(
        messages=messages,
        sends=sends,
        oldest=await connection.fetchval(SQL["oldest"]),
        received=found["rate", "received"],
        settled=found["rate", "settled"],
        unresolved=found["rate", "unresolved"],
        parked=await connection.fetchval(SQL["parked_for"]),
        oldest_send=oldest_send,
        shortfalls=shortfalls,
        unanswered=await connection.fetchval(SQL["unanswered"]),
    )


async def _shortfalls(
    connection: Connection,
) -> tuple[float | None, Mapping[tuple[SendState, str], int]]:
    """Return for how long the first has waited, and what has reached nobody. See `api.Counts`."""
    rows = await connection.fetch(SQL["shortfalls"])
    waited = [row["waited"] for row in rows if row["waited"] is not None]
    found = {
        (SendState(row["state"]), row["error_code"]): int(row["number"])
        for row in rows
        if row["number"]
    }
    return max(waited, default=None), found


async def touch(connection: Connection) -> None:
    """Write a change of nothing: a statement that writes no row succeeds on a full disk."""
    await connection.execute("INSERT INTO offhook.tallies (what, change) VALUES ('messages', 0)")


async def fold(connection: Connection) -> None:
    """Add up the changes of the tallies, once there are many."""
    await connection.execute(SQL["fold_tallies"])
