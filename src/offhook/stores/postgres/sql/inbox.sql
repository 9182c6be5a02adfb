-- name: record_columns
id, kind, state, sid, account_sid, sender, recipient, lane_name, attempts, crashes,
{epoch(received)} AS received, {epoch(started)} AS started, {epoch(settled)} AS settled,
{epoch(due)} AS due, error, form, spooled, reduced

-- name: find
SELECT {record_columns} FROM {fitting} ORDER BY id DESC LIMIT {limit}

-- name: show
SELECT {record_columns}, place FROM offhook.messages WHERE id = $1

-- The text of a form as it came. By `encode`, for a request that is not verified yet may hold any
-- byte.
-- name: body
lower(split_part(split_part('&' || encode(form, 'escape'), '&Body=', 2), '&', 1))

-- How many messages fit, of the newest, and the first of them.
-- name: looked_through
SELECT count(*), min(id) FROM
    (SELECT id FROM {fitting} ORDER BY id DESC LIMIT {within}) AS looked

-- Messages that fit and may hold a text, newest first; the text is looked for again in the form.
-- name: candidates
SELECT {record_columns} FROM {fitting} AND id >= {last} AND id < {below}
   AND position({text} IN {body}) > 0 ORDER BY id DESC LIMIT {at_most}

-- Of a lane what runs, or else the first that may go before a message.
-- name: ahead
SELECT id, state, {epoch(due)} AS due FROM offhook.messages
 WHERE lane = $1 AND resting IS NULL AND id <> $2
   AND (messages.state IN {sources(RESCUE)} OR (holds OR due <= {now}) AND place < $3)
 ORDER BY messages.state IN {sources(RESCUE)} DESC, place LIMIT 1

-- name: attempts_of
SELECT number, {epoch(started)} AS started, {epoch(ended)} AS ended, trigger, error
  FROM offhook.attempts WHERE message = $1 ORDER BY id

-- Put a message at the tail of its lane, or have it due at once.
-- name: replay
UPDATE offhook.messages
   SET state = '{target(REPLAY)}',
       place = CASE WHEN resting IS NULL THEN place ELSE nextval('offhook.message_ids') END,
       attempts = CASE WHEN resting IS NULL THEN 1 ELSE 0 END,
       due = {now}, holds = true, crashes = 0, settled = NULL, error = ''
 WHERE id = $1 AND messages.state IN {sources(REPLAY)} AND NOT messages.reduced
RETURNING attempts

-- name: drop
UPDATE offhook.messages
   SET state = '{target(DROP)}', settled = {now}, notice_due = NULL
 WHERE id = $1 AND messages.state IN {sources(DROP)}
RETURNING attempts

-- name: note_decision
INSERT INTO offhook.attempts (lane, message, number, ended, trigger, error)
VALUES ($1, $2, $3, {now}, $4, $5)

-- Free the identities of sends that never arrived, so that a replay may write them again: also of
-- those whose text was sent again in vain (their replacement is `retry:` and their number), and of
-- those whose fallback was. If one of these may have arrived, all stay as they are. The message's
-- sends are locked.
-- name: free_unsent
WITH RECURSIVE unsent (last, id, identity, fallback, fell_back, may_have_left) AS (
    SELECT id, id, identity, fallback, fell_back, false FROM offhook.sends
     WHERE message = $1
       AND state IN {NEVER_ARRIVED}
     UNION ALL
    SELECT last, replaced.id, replaced.identity, replaced.fallback, replaced.fell_back,
           unsent.identity = 'retry:' || replaced.id
           AND replaced.delivery NOT IN {NOT_DELIVERED}
      FROM unsent JOIN offhook.sends AS replaced
        ON replaced.message = $1
       AND (unsent.identity = 'retry:' || replaced.id
            OR replaced.state = '{send_target(FALL_BACK)}' AND replaced.fell_back = ''
               AND replaced.fallback <> '' AND replaced.fallback = unsent.fallback
               AND unsent.fell_back <> '')
)
UPDATE offhook.sends
   SET identity = identity || '~' || id,
       state = CASE WHEN state IN {send_sources(DISMISS)}
                    THEN '{send_target(REPLACE)}' ELSE state END
 WHERE id IN (SELECT id FROM unsent
               WHERE last NOT IN (SELECT last FROM unsent WHERE may_have_left))

-- Whether a moment is within the window of the rates. Of what lies between two moments, the planner
-- expects little, and uses an index; of what lies behind one, it expects a third of all.
-- name: is_recent(moment)
{moment} > {now_once} - interval '1 minute' AND {moment} <= {now_once}

-- What is done, and what is sent, are never counted: they are what the others leave of the tally.
-- The planner is told nothing; each part has an index of the rows that it counts.
-- name: counts
SELECT 'message' AS what, state AS name, count(*) AS number
  FROM offhook.messages WHERE resting IS NULL GROUP BY state
UNION ALL
SELECT 'message', resting, count(*)
  FROM offhook.messages WHERE resting <> '{State.DONE}' GROUP BY resting
UNION ALL
SELECT 'send', state, count(*) FROM offhook.sends WHERE resting IS NULL GROUP BY state
UNION ALL
SELECT 'send', resting, count(*)
  FROM offhook.sends WHERE resting <> '{SendState.SENT}' GROUP BY resting
UNION ALL
SELECT 'rows', what, sum(change)::bigint FROM offhook.tallies GROUP BY what
UNION ALL
SELECT 'rate', 'received', count(*) FROM offhook.dedupe_keys WHERE {is_recent(received)}
UNION ALL
SELECT 'rate', 'settled', count(*) FROM offhook.messages
 WHERE resting IS NOT NULL AND {is_recent(settled)}
UNION ALL
SELECT 'rate', 'unresolved', count(*) FROM offhook.sends
 WHERE resting = '{SendState.UNKNOWN}' AND settled > {now_once} - interval '1 day'
   AND settled <= {now_once} - $1::float8 * interval '1 second'

-- Seconds since the earliest of some moments; NULL for none, which `greatest` would leave out.
-- name: seconds_since(moment)
CASE WHEN min({moment}) IS NOT NULL
     THEN greatest(0, extract(epoch FROM {now} - min({moment})))::float8 END

-- name: parked_for
SELECT {seconds_since(settled)} FROM offhook.messages
 WHERE resting = '{State.PARKED}' AND NOT reduced AND settled IS NOT NULL

-- name: oldest
SELECT {seconds_since(received)} FROM offhook.messages WHERE resting IS NULL

-- name: fold_tallies
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
