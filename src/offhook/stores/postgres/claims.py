"""Claiming messages: one function, which rescues and buries what has crashed on its way."""

from collections.abc import Collection, Sequence
from typing import Final

from offhook.core.keys import Kind
from offhook.core.lifecycle import (
    CRASHES_UNTIL_ALONE,
    CRASHES_UNTIL_DEAD,
    MAY_HAVE_LEFT,
    SETTLED,
    Trigger,
    target,
)
from offhook.core.loops import COUNTED_REPLIES, Loop
from offhook.core.reasons import Cause, stored
from offhook.ports import Claim, Claimed, Overdue
from offhook.stores.postgres import lanes
from offhook.stores.postgres.clock import CHECK, CHECKS, StoreClock
from offhook.stores.postgres.connections import Connection, Row
from offhook.stores.postgres.routines import Routine
from offhook.stores.postgres.sql import IS_LIVE, MESSAGES, NOW, before, epoch, one_of, seconds_after

# Our replies that were answered at a program's pace: each counts once, whatever came behind it. It
# has left some time before its outcome was recorded.
_COUNT_TURNS: Final = f"""
    WITH reply AS MATERIALIZED (
        SELECT recent.id, recent.message,
               greatest(recent.created,
                        {seconds_after("coalesce(recent.settled, _now)", "-_pace")}) AS earliest,
               {seconds_after("coalesce(recent.settled, _now)", "_pace")} AS latest
          FROM (SELECT * FROM offhook.sends
                 WHERE sends.lane = taken.lane
                   AND sends.created > {seconds_after("_now", "-_within")}
                 ORDER BY sends.created DESC LIMIT {COUNTED_REPLIES}) AS recent
         WHERE recent.state IN {one_of(MAY_HAVE_LEFT)} AND recent.recipient = taken.sender
    ), answer AS (
        SELECT taken.received
         UNION
        SELECT asked.received FROM reply
         CROSS JOIN LATERAL (
               SELECT messages.received FROM offhook.messages
                WHERE messages.id = reply.message AND messages.lane = taken.lane) AS asked
    )
    SELECT count(DISTINCT (
               SELECT max(reply.id) FROM reply
                WHERE answer.received BETWEEN reply.earliest AND reply.latest))
      FROM answer
     WHERE taken.kind = '{Kind.MESSAGE}'
       AND EXISTS (SELECT FROM reply
                    WHERE taken.received BETWEEN reply.earliest AND reply.latest)
"""

# The first message of each lane in `_locked` that may go.
_HEADS: Final = f"""
    unnest(_locked) WITH ORDINALITY AS turn (lane, n) CROSS JOIN LATERAL (
        SELECT id, state, kind, crashes, due FROM offhook.messages
         WHERE messages.lane = turn.lane AND {IS_LIVE} AND (holds OR due <= _now)
         ORDER BY place LIMIT 1) AS head
"""

_WORKER_DIED: Final = stored(Cause.WORKER_DIED("%s", CRASHES_UNTIL_DEAD))
_RESCUED, _BURIED = target(Trigger.RESCUE), target(Trigger.BURY)
_DIES: Final = f"crashes + 1 >= {CRASHES_UNTIL_DEAD}"

# What still runs in a lane that is due has lost its worker. It need not be the head: a retry that
# let it pass may have come due in front of it. One message of a lane runs, if it is leased.
_CRASH: Final = f"""
    _crashed := ARRAY(
        SELECT lost.id FROM {lanes.given(MESSAGES, {"lane": "_locked"})} AS turn
         CROSS JOIN LATERAL (
               SELECT until FROM offhook.lanes
                WHERE lanes.queue = turn.queue AND lanes.lane = turn.lane LIMIT 1) AS lease
         CROSS JOIN LATERAL (
               SELECT id FROM offhook.messages
                WHERE messages.lane = turn.lane AND {IS_LIVE} AND {before(Trigger.RESCUE)}
                  AND lease.until IS NOT NULL
                ORDER BY place LIMIT 1) AS lost);
    WITH crashed AS (
        UPDATE offhook.messages
           SET state = CASE WHEN {_DIES} THEN '{_BURIED}' ELSE '{_RESCUED}' END,
               crashes = crashes + 1,
               token = 0,
               due = _now,
               settled = CASE WHEN {_DIES} THEN {"_now" if _BURIED in SETTLED else "NULL"} END,
               notice_due = CASE WHEN {_DIES} THEN NULL ELSE notice_due END,
               error = format('{_WORKER_DIED}', crashes + 1)
         WHERE id = ANY(_crashed) AND lane = ANY(_locked)
        RETURNING *
    ), noted AS (
        INSERT INTO offhook.attempts (lane, message, number, started, ended, trigger, error)
        SELECT lane, id, attempts + 1, started, _now,
               CASE WHEN state = '{_BURIED}' THEN '{Trigger.BURY}' ELSE '{Trigger.RESCUE}' END,
               error
          FROM crashed
    )
    SELECT _buried || coalesce(array_agg(id) FILTER (WHERE state = '{_BURIED}'), '{{}}')
      INTO _buried FROM crashed
"""

_TAKE: Final = f"""
    SELECT coalesce(array_agg(lane) FILTER (WHERE suspect), '{{}}'),
           coalesce(array_agg(lane ORDER BY n) FILTER (WHERE NOT suspect), '{{}}'),
           array_agg(id ORDER BY n) FILTER (WHERE NOT suspect),
           array_agg(nextval('offhook.tokens')) FILTER (WHERE NOT suspect)
      INTO _suspects, _taken, _ids, _tokens
      FROM (SELECT turn.lane, turn.n, head.id,
                   head.crashes >= {CRASHES_UNTIL_ALONE} AND NOT _alone AS suspect
              FROM {_HEADS} WHERE head.due <= _now) AS ready
"""

_CLAIM: Final = Routine(
    purpose="claim",
    arguments={
        "_most": "integer", "_lease": "float8", "_owner": "text", "_can_be_alone": "boolean",
        "_within": "float8", "_pace": "float8", **CHECKS,
    },
    returns="""TABLE (
        what text, id bigint, token bigint, kind text, lane text, sid text, attempt integer,
        crashes integer, received float8, form bytea, turns bigint,
        replayed boolean, account_sid text, sender text, recipient text, next_due float8,
        suspects boolean, moment float8, clock_version integer, clock_step float8)""",
    declares="""
        _until timestamptz; _alone boolean; _locked bytea[]; _crashed bigint[];
        _buried bigint[] := '{}';
        _suspects bytea[]; _taken bytea[]; _ids bigint[]; _tokens bigint[];
    """,
    body=f"""
        PERFORM offhook.{CHECK.name}(_expected, _version, _lease);
        FOREACH _alone IN ARRAY CASE WHEN _can_be_alone THEN '{{t,f}}' ELSE '{{f}}' END::boolean[]
        LOOP
            _now := {NOW};
            _until := {seconds_after("_now", "_lease")};
            IF _alone THEN
                _locked := ({lanes.lock_due(MESSAGES, "1", suspect=True)});
            ELSE
                _locked := ({lanes.lock_due(MESSAGES, "_most")});
            END IF;
            CONTINUE WHEN _locked IS NULL;
            {_CRASH};
            {_TAKE};
            UPDATE offhook.lanes
               SET suspect = true, token = 0, until = NULL, owner = NULL, due = _now
              FROM {lanes.given(MESSAGES, {"lane": "_suspects"})} AS t
             WHERE lanes.queue = t.queue AND lanes.lane = t.lane;
            UPDATE offhook.lanes SET token = t.token, until = _until, due = _until, owner = _owner
              FROM {lanes.given(MESSAGES, {"lane": "_taken", "token": "_tokens"})} AS t
             WHERE lanes.queue = t.queue AND lanes.lane = t.lane;
            {lanes.advance(MESSAGES, "_locked", where=
                "lanes.lane <> ALL(_suspects) AND lanes.lane <> ALL(_taken)")};
            RETURN QUERY
            WITH taken AS (
                UPDATE offhook.messages
                   SET state = '{target(Trigger.CLAIM)}', started = _now,
                       token = _tokens[array_position(_ids, messages.id)]
                 WHERE messages.id = ANY(_ids) AND messages.lane = ANY(_taken)
                   AND {before(Trigger.CLAIM)}
                RETURNING messages.*, array_position(_ids, messages.id) AS n
            )
            SELECT 'claim', id, token, kind, lane_name, sid, attempts + 1, crashes,
                   {epoch("received")}, form,
                   ({_COUNT_TURNS}),
                   place <> id, NULL::text, NULL::text, NULL::text, NULL::float8, NULL::boolean,
                   NULL::float8, NULL::integer, NULL::float8
              FROM taken ORDER BY n;
            EXIT WHEN FOUND;
        END LOOP;
        RETURN QUERY
        SELECT 'buried', id, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::integer,
               NULL::integer, NULL::float8, NULL::bytea, NULL::bigint,
               NULL::boolean, account_sid, sender, recipient, NULL::float8, NULL::boolean,
               NULL::float8, NULL::integer, NULL::float8
          FROM offhook.messages WHERE id = ANY(_buried) AND kind = '{Kind.MESSAGE}'
         ORDER BY array_position(_buried, id);
        RETURN QUERY
        SELECT 'outlook', NULL::bigint, NULL::bigint, NULL::text, NULL::text, NULL::text,
               NULL::integer, NULL::integer, NULL::float8, NULL::bytea, NULL::bigint,
               NULL::boolean, NULL::text, NULL::text, NULL::text,
               ({lanes.next_due(MESSAGES)}),
               EXISTS (SELECT 1 FROM offhook.lanes
                        WHERE queue = {MESSAGES} AND suspect AND due <= {NOW}),
               extract(epoch FROM {NOW})::float8, version, step
          FROM offhook.clock;
    """,
    needs=(CHECK,),
)  # fmt: skip

# What its owner does not know of. The lane's token tells which message the lease is for.
_HAND_BACK: Final = Routine(
    purpose="hand_back",
    arguments={"_owner": "text", "_held": "bigint[]"},
    returns="integer",
    declares="_locked bytea[]; _ids bigint[];",
    body=f"""
        _locked := ({lanes.lock_unheld(MESSAGES)});
        _now := {NOW};
        _ids := ARRAY(
            SELECT begun.id FROM {lanes.given(MESSAGES, {"lane": "_locked"})} AS turn
              JOIN offhook.lanes ON lanes.queue = turn.queue AND lanes.lane = turn.lane
             CROSS JOIN LATERAL (
                   SELECT id FROM offhook.messages
                    WHERE messages.lane = turn.lane AND messages.token = lanes.token
                      AND {IS_LIVE} AND {before(Trigger.INTERRUPT)}
                    ORDER BY place LIMIT 1) AS begun);
        WITH opened AS (
            UPDATE offhook.messages
               SET state = '{target(Trigger.INTERRUPT)}', token = 0, due = _now
             WHERE id = ANY(_ids) AND lane = ANY(_locked) AND {before(Trigger.INTERRUPT)}
            RETURNING *
        )
        INSERT INTO offhook.attempts (lane, message, number, started, ended, trigger, error)
        SELECT lane, id, attempts + 1, started, _now, '{Trigger.INTERRUPT}',
               '{stored(Cause.CLAIM_LOST())}'
          FROM opened;
        {lanes.advance(MESSAGES, "_locked")};
        RETURN cardinality(_locked);
    """,
)

ROUTINES: Final = (_CLAIM, _HAND_BACK)


async def claim(
    connection: Connection,
    clock: StoreClock,
    *,
    limit: int,
    lease: float,
    owner: str,
    alone: bool,
    loop: Loop | None,
) -> Claimed:
    """Take the heads of lanes that are due. See `ports.Queue.claim`."""
    counted = (loop.within, loop.pace) if loop else (0.0, 0.0)
    rows = await connection.fetch(
        _CLAIM.call, limit, lease, owner, alone, *counted, *clock.arguments
    )
    *found, outlook = rows
    return Claimed(
        claims=tuple(_claim(row) for row in found if row["what"] == "claim"),
        next_due=outlook["next_due"],
        suspects=outlook["suspects"],
        buried=tuple(_overdue(row) for row in found if row["what"] == "buried"),
        step=clock.take(outlook),
    )


async def hand_back(connection: Connection, owner: str, held: Collection[int]) -> int:
    """End leases that their owner does not know of. See `ports.Queue.hand_back`."""
    count: int = await connection.fetchval(_HAND_BACK.call, owner, list(held))
    return count


async def overdue(connection: Connection, limit: int) -> Sequence[Overdue]:
    """Return the messages whose people have waited too long. Reads only."""
    rows = await connection.fetch(
        "SELECT id, account_sid, sender, recipient FROM offhook.messages "
        f"WHERE notice_due <= {NOW} ORDER BY notice_due LIMIT $1",
        limit,
    )
    return [_overdue(row) for row in rows]


def _claim(row: Row) -> Claim:
    return Claim(
        id=row["id"],
        token=row["token"],
        kind=Kind(row["kind"]),
        lane=row["lane"],
        sid=row["sid"],
        attempt=row["attempt"],
        crashes=row["crashes"],
        received=row["received"],
        form=row["form"],
        turns=row["turns"],
        replayed=row["replayed"],
    )


def _overdue(row: Row) -> Overdue:
    return Overdue(row["id"], row["account_sid"], row["sender"], row["recipient"])
