"""How much there is of everything. Reads only, and in one statement: all of one moment."""

from typing import Final

from offhook.core.lifecycle import SendState, State
from offhook.ports import Counts
from offhook.stores.postgres.connections import Connection
from offhook.stores.postgres.sql import IS_LIVE, NOW

_RECENT: Final = f"{NOW} - interval '1 minute'"  # the window of the rates

# What is done, and what is sent, are never counted: they are what the others leave of the tally.
# The planner is told nothing; each part has an index of the rows that it counts.
_GLANCE: Final = f"""
    SELECT 'message' AS what, state AS name, count(*) AS number
      FROM offhook.messages WHERE {IS_LIVE} GROUP BY state
    UNION ALL
    SELECT 'message', resting, count(*)
      FROM offhook.messages WHERE resting <> '{State.DONE}' GROUP BY resting
    UNION ALL
    SELECT 'send', state, count(*) FROM offhook.sends WHERE {IS_LIVE} GROUP BY state
    UNION ALL
    SELECT 'send', resting, count(*)
      FROM offhook.sends WHERE resting <> '{SendState.SENT}' GROUP BY resting
    UNION ALL
    SELECT 'rows', what, sum(change)::bigint FROM offhook.tallies GROUP BY what
    UNION ALL
    SELECT 'rate', 'received', count(*) FROM offhook.dedupe_keys WHERE received > {_RECENT}
    UNION ALL
    SELECT 'rate', 'settled', count(*) FROM offhook.messages
     WHERE resting IS NOT NULL AND settled > {_RECENT}
    UNION ALL
    SELECT 'rate', 'unresolved', count(*) FROM offhook.sends
     WHERE resting = '{SendState.UNKNOWN}' AND settled > {NOW} - interval '1 day'
       AND settled <= {NOW} - $1::float8 * interval '1 second'
"""
_PARKED: Final = f"""
    SELECT CASE WHEN min(settled) IS NOT NULL
           THEN greatest(0, extract(epoch FROM {NOW} - min(settled)))::float8 END
      FROM offhook.messages
     WHERE resting = '{State.PARKED}' AND NOT reduced AND settled IS NOT NULL
"""
_OLDEST: Final = f"""
    SELECT CASE WHEN min(received) IS NOT NULL  -- `greatest` leaves NULL out
           THEN greatest(0, extract(epoch FROM {NOW} - min(received)))::float8 END
      FROM offhook.messages WHERE {IS_LIVE}
"""


async def backlog(connection: Connection, at_most: int) -> int:
    """Count the live messages, as far as `at_most`."""
    count = await connection.fetchval(
        f"SELECT count(*) FROM (SELECT 1 FROM offhook.messages WHERE {IS_LIVE} LIMIT $1) AS live",
        at_most,
    )
    return int(count)


async def glance(connection: Connection, unresolved_after: float) -> Counts:
    """Return the store at a glance. Within a transaction."""
    found = {
        (row["what"], row["name"]): int(row["number"])
        for row in await connection.fetch(_GLANCE, unresolved_after)
    }
    messages = {state: found.get(("message", state.value), 0) for state in State}
    messages[State.DONE] = found.get(("rows", "messages"), 0) - sum(messages.values())
    sends = {state: found.get(("send", state.value), 0) for state in SendState}
    sends[SendState.SENT] = found.get(("rows", "sends"), 0) - sum(sends.values())
    return Counts(
        messages=messages,
        sends=sends,
        oldest=await connection.fetchval(_OLDEST),
        received=found["rate", "received"],
        settled=found["rate", "settled"],
        unresolved=found["rate", "unresolved"],
        parked=await connection.fetchval(_PARKED),
    )


async def touch(connection: Connection) -> None:
    """Write a change of nothing: a statement that writes no row succeeds on a full disk."""
    await connection.execute("INSERT INTO offhook.tallies (what, change) VALUES ('messages', 0)")


async def fold(connection: Connection) -> None:
    """Add up the changes of the tallies, once there are many."""
    await connection.execute(
        """
        WITH few AS MATERIALIZED (
            SELECT ctid FROM offhook.tallies LIMIT 10000 FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM offhook.tallies
             WHERE ctid = ANY(ARRAY(SELECT ctid FROM few))
               AND (SELECT count(*) FROM few) > 100
            RETURNING what, change
        )
        INSERT INTO offhook.tallies (what, change)
        SELECT what, sum(change) FROM gone GROUP BY what
        """
    )
