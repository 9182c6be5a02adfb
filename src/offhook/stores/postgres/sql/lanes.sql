-- Leases on lanes, the same for messages and for sends.
--
-- All locks are taken in one order, so that no two transactions can wait for each other: aliases, lanes of
-- messages, messages, requests, lanes of sends, sends; lanes by their key, rows by their number. A
-- statement that does not wait (SKIP LOCKED) may begin anywhere.

-- The lanes of an array, as a table to be joined with `lanes` by queue and lane.
--
-- OFFSET 0 hides the queue from the planner. If it knew the queue, it would find it cheaper, in a
-- small table, to read the whole of it; and a plan lasts as long as its connection, while the table
-- grows from ten rows to a million. As it is, the key's index is the only way there.
-- name: lanes_in(table, lanes)
(SELECT {{table}_queue}::smallint AS queue, lane FROM unnest({lanes}) AS u (lane) OFFSET 0)

-- The same, with a token for each.
-- name: lanes_with_tokens(table, lanes, tokens)
(SELECT {{table}_queue}::smallint AS queue, lane, token
   FROM unnest({lanes}, {tokens}) AS u (lane, token) OFFSET 0)

-- Have lanes looked at now, and lock them in order, also those that need no change. A leased lane is
-- looked at when its lease ends. One that waits for a retry which does not hold it is due now; of
-- one that is held, the claim finds out at little cost.
-- name: touch_lanes(table, lanes)
INSERT INTO offhook.lanes AS known (queue, lane, due)
SELECT {{table}_queue}, lane, {now} FROM unnest({lanes}) AS lane
 GROUP BY lane ORDER BY lane
    ON CONFLICT (queue, lane) DO UPDATE SET due = excluded.due
 WHERE known.until IS NULL AND known.due > excluded.due

-- End leases; a lane that waits for nothing has no row afterwards, unless it is joined: a claim is to
-- look at it. The lanes are locked.
-- name: advance(table, lanes, where=true, now=_now, suspect=false)
WITH next AS MATERIALIZED (
    SELECT ended.queue, ended.lane, {next_of_{table}({now})} AS due
      FROM {lanes_in({table}, {lanes})} AS ended
), gone AS (
    DELETE FROM offhook.lanes USING next
     WHERE lanes.queue = next.queue AND lanes.lane = next.lane AND next.due IS NULL
       AND NOT lanes.joined AND {where}
)
UPDATE offhook.lanes
   SET token = 0, until = NULL, owner = NULL, suspect = {suspect},
       due = CASE WHEN lanes.joined THEN {now} ELSE next.due END
  FROM next
 WHERE lanes.queue = next.queue AND lanes.lane = next.lane
   AND (next.due IS NOT NULL OR lanes.joined) AND {where}

-- When the first message that may go is due, or else the earliest that will be able to: one that
-- waits without holding the lane is stepped over until its time has come. NULL for none.
-- name: next_of_messages(now)
coalesce(
    (SELECT greatest(due, {now}) FROM offhook.messages
      WHERE messages.lane = ended.lane AND resting IS NULL AND (holds OR due <= {now})
      ORDER BY place LIMIT 1),
    (SELECT min(due) FROM (
        SELECT due FROM offhook.messages WHERE messages.lane = ended.lane AND resting IS NULL
         ORDER BY place OFFSET 0) AS waiting))

-- name: next_of_sends(now)
(SELECT greatest(due, {now}) FROM offhook.sends
  WHERE sends.lane = ended.lane AND resting IS NULL ORDER BY id LIMIT 1)

-- Lock lanes that are due, the longest due first, but for those that another transaction has locked.
-- name: lock_due(table, limit, suspect=False)
SELECT array_agg(lane ORDER BY due) FROM (
    SELECT lane, due FROM offhook.lanes
     WHERE queue = {{table}_queue} AND suspect = {suspect} AND due <= _now
     ORDER BY due LIMIT {limit} FOR UPDATE SKIP LOCKED
) AS due

-- Lock those of the lanes that have a row.
-- name: lock(table, lanes)
PERFORM 1 FROM {lanes_in({table}, {lanes})} AS given
   JOIN offhook.lanes ON lanes.queue = given.queue AND lanes.lane = given.lane
  ORDER BY lanes.lane FOR UPDATE OF lanes

-- Lock lanes that `_owner` has leased, but not under `_held`. They are first found in the order of
-- their tokens, for the index that has these has nothing but leases, and of those no more than
-- workers are at work on; by any other index, all lanes of the queue would be read.
-- name: lock_unheld(table)
SELECT coalesce(array_agg(lane), '{}') FROM (
    SELECT lanes.lane
      FROM (SELECT queue, lane FROM offhook.lanes
             WHERE until IS NOT NULL AND queue = {{table}_queue} AND owner = _owner
               AND token <> ALL(_held)
             ORDER BY token OFFSET 0) AS found
      JOIN offhook.lanes ON lanes.queue = found.queue AND lanes.lane = found.lane
     WHERE lanes.until IS NOT NULL AND lanes.owner = _owner AND lanes.token <> ALL(_held)
     ORDER BY lanes.lane FOR UPDATE OF lanes
) AS unheld

-- Seconds until a lane falls due; NULL when none waits, which `greatest` would leave out.
-- name: next_due(table)
SELECT CASE WHEN min(due) IS NOT NULL
       THEN greatest(0, extract(epoch FROM min(due) - {now}))::float8 END
  FROM offhook.lanes WHERE queue = {{table}_queue} AND NOT suspect

-- name: renew
WITH held AS MATERIALIZED (
    SELECT queue, lane FROM offhook.lanes
     WHERE token = ANY($1::bigint[]) AND until IS NOT NULL
     ORDER BY queue, lane FOR UPDATE
), until AS MATERIALIZED (
    SELECT {now} + make_interval(secs => $2) AS moment
)
UPDATE offhook.lanes SET until = moment, due = moment FROM held, until
 WHERE lanes.queue = held.queue AND lanes.lane = held.lane
RETURNING token

-- Let the leases of a worker that is dead run out: it holds nothing.
-- name: release
CREATE OR REPLACE FUNCTION offhook.release(_owner text)
RETURNS integer LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _held bigint[] := '{}';
    _locked bytea[];
    _released integer := 0;
BEGIN
    {durably}
    {run_out(messages)}
    {run_out(sends)}
    RETURN _released;
END $function$

-- name: run_out(table)
_locked := ({lock_unheld({table})});
_now := {now};
UPDATE offhook.lanes SET until = _now, due = _now
  FROM {lanes_in({table}, _locked)} AS held
 WHERE lanes.queue = held.queue AND lanes.lane = held.lane;
_released := _released + cardinality(_locked);

-- name: next_send_due
{next_due(sends)}

-- By arrays of lanes, for operators.
-- name: touch_lanes_of_messages
{touch_lanes(messages, $1::bytea[])}

-- name: touch_lanes_of_sends
{touch_lanes(sends, $1::bytea[])}

-- Only those in $2 have changed: the others keep their suspects.
-- name: advance_messages
{advance(messages, $1::bytea[], where=lanes.until IS NULL, now={now},
         suspect=lanes.suspect AND lanes.lane <> ALL($2::bytea[]))}

-- name: advance_sends
{advance(sends, $1::bytea[], where=lanes.until IS NULL, now={now})}
