"""Leases on lanes, the same for messages and for sends.

All locks are taken in one order, so that no two transactions can wait for each other: lanes of
messages, messages, lanes of sends, sends; lanes by their key, rows by their number. Whoever does
not wait (`SKIP LOCKED`) may begin anywhere.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from offhook.stores.postgres.connections import Connection
from offhook.stores.postgres.routines import Routine
from offhook.stores.postgres.sql import IS_LIVE, MESSAGES, NOW, SENDS, seconds_after


def given(queue: int, arrays: Mapping[str, str]) -> str:
    """Return a table of lanes, to be joined with `lanes` by queue and lane.

    The planner may not see through it. If it knew the queue, it would find it cheaper, in a small
    table, to read the whole of it; and a plan lasts as long as its connection, while the table
    grows from ten rows to a million. As it is, the key's index is the only way there.

    Args:
        queue: MESSAGES or SENDS.
        arrays: the arrays of its columns' values, as SQL.
    """
    names = ", ".join(arrays)
    return (
        f"(SELECT {queue}::smallint AS queue, {names} "
        f"FROM unnest({', '.join(arrays.values())}) AS u ({names}) OFFSET 0)"
    )


def advance(queue: int, lanes: str, *, where: str = "true", now: str = "_now") -> str:
    """Return the statement that ends leases; a lane that waits for nothing has no row after it.

    Args:
        queue: MESSAGES or SENDS.
        lanes: an array of lanes that are locked, as SQL.
        where: a condition on `lanes`.
        now: the time, as SQL.
    """
    return f"""
        WITH next AS MATERIALIZED (
            SELECT ended.queue, ended.lane, {_next(queue, now)} AS due
              FROM {given(queue, {"lane": lanes})} AS ended
        ), gone AS (
            DELETE FROM offhook.lanes USING next
             WHERE lanes.queue = next.queue AND lanes.lane = next.lane AND next.due IS NULL
               AND {where}
        )
        UPDATE offhook.lanes
           SET token = 0, until = NULL, owner = NULL, suspect = false, due = next.due
          FROM next
         WHERE lanes.queue = next.queue AND lanes.lane = next.lane AND next.due IS NOT NULL
           AND {where}
    """


def _next(queue: int, now: str) -> str:
    """Return what a lane waits for, as SQL; NULL for nothing.

    That is the first message that may go, or else the earliest that will be able to: one that waits
    without holding the lane is stepped over until its time has come. Of sends it is the first.
    """
    if queue == SENDS:
        return f"""
            (SELECT greatest(due, {now}) FROM offhook.sends
              WHERE sends.lane = ended.lane AND {IS_LIVE} ORDER BY id LIMIT 1)"""
    return f"""coalesce(
        (SELECT greatest(due, {now}) FROM offhook.messages
          WHERE messages.lane = ended.lane AND {IS_LIVE} AND (holds OR due <= {now})
          ORDER BY place LIMIT 1),
        (SELECT min(due) FROM (
            SELECT due FROM offhook.messages WHERE messages.lane = ended.lane AND {IS_LIVE}
             ORDER BY place OFFSET 0) AS waiting))"""


def lock_due(queue: int, limit: str, *, suspect: bool = False) -> str:
    """Return the query for an array of lanes that are due, the longest due first, and locks them.

    Those that somebody else has locked are left to him.
    """
    return f"""
        SELECT array_agg(lane ORDER BY due) FROM (
            SELECT lane, due FROM offhook.lanes
             WHERE queue = {queue} AND suspect = {suspect} AND due <= _now
             ORDER BY due LIMIT {limit} FOR UPDATE SKIP LOCKED
        ) AS due
    """


def lock(queue: int, lanes: str) -> str:
    """Return the statement that locks those of the lanes that have a row."""
    return f"""
        PERFORM 1 FROM {given(queue, {"lane": lanes})} AS given
           JOIN offhook.lanes ON lanes.queue = given.queue AND lanes.lane = given.lane
          ORDER BY lanes.lane FOR UPDATE OF lanes
    """


def lock_unheld(queue: int) -> str:
    """Return the query for an array of lanes that `_owner` has leased, but not under `_held`.

    Locks them. They are first found in the order of their tokens, for the index that has these has
    nothing but leases, and of those no more than workers are at work on; by any other index, all
    lanes of the queue would be read.
    """
    return f"""
        SELECT coalesce(array_agg(lane), '{{}}') FROM (
            SELECT lanes.lane
              FROM (SELECT queue, lane FROM offhook.lanes
                     WHERE until IS NOT NULL AND queue = {queue} AND owner = _owner
                       AND token <> ALL(_held)
                     ORDER BY token OFFSET 0) AS found
              JOIN offhook.lanes ON lanes.queue = found.queue AND lanes.lane = found.lane
             WHERE lanes.until IS NOT NULL AND lanes.owner = _owner AND lanes.token <> ALL(_held)
             ORDER BY lanes.lane FOR UPDATE OF lanes
        ) AS unheld
    """


def next_due(queue: int) -> str:
    """Return the query for the seconds until a lane falls due, NULL when none waits."""
    return f"""
        SELECT CASE WHEN min(due) IS NOT NULL  -- `greatest` leaves NULL out
               THEN greatest(0, extract(epoch FROM min(due) - {NOW}))::float8 END
          FROM offhook.lanes WHERE queue = {queue} AND NOT suspect
    """


async def next_send_due(connection: Connection) -> float | None:
    """Return the seconds until a send falls due. Reads only."""
    due: float | None = await connection.fetchval(next_due(SENDS))
    return due


async def renew(connection: Connection, tokens: Sequence[int], lease: float) -> frozenset[int]:
    """Prolong leases, of messages and of sends; return those that are gone."""
    rows = await connection.fetch(
        f"""
        WITH held AS MATERIALIZED (
            SELECT queue, lane FROM offhook.lanes
             WHERE token = ANY($1::bigint[]) AND until IS NOT NULL
             ORDER BY queue, lane FOR UPDATE
        ), until AS MATERIALIZED (
            SELECT {seconds_after(NOW, "$2")} AS moment
        )
        UPDATE offhook.lanes SET until = moment, due = moment FROM held, until
         WHERE lanes.queue = held.queue AND lanes.lane = held.lane
        RETURNING token
        """,
        list(tokens),
        lease,
    )
    return frozenset(tokens) - {row["token"] for row in rows}


def _release(queue: int) -> str:
    return f"""
        _locked := ({lock_unheld(queue)});
        _now := {NOW};
        UPDATE offhook.lanes SET until = _now, due = _now
          FROM {given(queue, {"lane": "_locked"})} AS held
         WHERE lanes.queue = held.queue AND lanes.lane = held.lane;
        _released := _released + cardinality(_locked);
    """


# The dead hold nothing.
_RELEASE: Final = Routine(
    purpose="release",
    arguments={"_owner": "text"},
    returns="integer",
    declares="_held bigint[] := '{}'; _locked bytea[]; _released integer := 0;",
    body=f"{_release(MESSAGES)} {_release(SENDS)} RETURN _released;",
)

ROUTINES: Final = (_RELEASE,)


async def release(connection: Connection, owner: str) -> int:
    """Let a dead worker's leases run out now."""
    count: int = await connection.fetchval(_RELEASE.call, owner)
    return count
