-- name: prune_keys
DELETE FROM offhook.dedupe_keys WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM offhook.dedupe_keys
     WHERE received < {now_once} - make_interval(secs => $1)
     ORDER BY received LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING 1

-- name: nothing_to_send
NOT EXISTS (SELECT 1 FROM offhook.sends
             WHERE sends.message = messages.id AND sends.resting IS NULL)

-- name: nothing_to_look_up
NOT EXISTS (SELECT 1 FROM offhook.sends
             WHERE sends.message = messages.id AND {text_may_be_needed}
               AND sends.settled > {now_once} - make_interval(secs => {TEXT_NEEDED}))

-- The planner expects that a third of all is over. It would read the whole table to find the few.
-- name: use_indexes
SET LOCAL enable_seqscan = off

-- It may be sent again, or its fallback may be sent.
-- name: text_may_be_needed
(sends.resting = '{SendState.UNKNOWN}' OR {may_be_refused})

-- A conversation that has a lane has something to do, and may need its state.
-- name: prune_states
DELETE FROM offhook.conversation_states WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM offhook.conversation_states
     WHERE used < {now_once} - make_interval(secs => $1)
       AND NOT EXISTS (SELECT 1 FROM offhook.lanes
                        WHERE lanes.queue = {messages_queue}
                          AND lanes.lane = conversation_states.lane)
     ORDER BY used LIMIT $2 FOR UPDATE OF conversation_states SKIP LOCKED))
RETURNING 1

-- name: states_of_person
SELECT lane FROM offhook.conversation_states WHERE person = ANY($1::text[]) LIMIT $2

-- Their lanes are locked.
-- name: erase_states
DELETE FROM offhook.conversation_states
 WHERE lane = ANY($1::bytea[] || ARRAY(
           SELECT lane FROM offhook.messages WHERE id = ANY($2::bigint[])))
RETURNING 1

-- Lock messages whose time is over, but for those that are replayed just now.
-- name: lock_expired
SELECT id FROM offhook.messages
 WHERE resting IN {states} AND reduced IN (false, true) AND settled IS NOT NULL
   AND settled < {now_once} - make_interval(secs => $1) AND {nothing_to_send}
 LIMIT $2 FOR UPDATE SKIP LOCKED

-- Looked at once more: before a message and its sends were locked, a notice may have been written, or
-- a send retried.
-- name: without_sends
SELECT id FROM offhook.messages WHERE id = ANY($1::bigint[]) AND {nothing_to_send}

-- name: lock_reducible
SELECT id, lane, form FROM offhook.messages
 WHERE resting IN {SETTLED_WELL} AND NOT reduced AND settled IS NOT NULL AND {nothing_to_send}
   AND {nothing_to_look_up}
 LIMIT $1 FOR UPDATE SKIP LOCKED

-- Looked at once more, as above.
-- name: reduce
UPDATE offhook.messages SET form = r.form, error = '', reduced = true
  FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS r (id, lane, form)
 WHERE messages.id = r.id AND messages.lane = r.lane AND {nothing_to_send} AND {nothing_to_look_up}
RETURNING messages.id

-- name: empty_sends
UPDATE offhook.sends SET body = '', media = '[]', content_variables = '{}', fallback = '',
       error = ''
 WHERE message = ANY($1::bigint[])

-- Lock sends in the order of their numbers, as all transactions do.
-- name: lock_sends_by_id
SELECT 1 FROM offhook.sends WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE

-- name: lock_sends_by_message
SELECT 1 FROM offhook.sends WHERE message = ANY($1::bigint[]) ORDER BY id FOR UPDATE

-- What there is of a person. Reads all: no index exists that only this would need.
-- name: messages_of_person
SELECT id FROM offhook.messages
 WHERE (kind <> '{Kind.STATUS}' AND sender = ANY($1::text[]))
    OR (kind <> '{Kind.MESSAGE}' AND recipient = ANY($1::text[]))
 LIMIT $2

-- name: sends_of_person
SELECT id FROM offhook.sends WHERE recipient = ANY($1::text[]) LIMIT $2

-- name: lanes_of
SELECT lane FROM offhook.messages WHERE id = ANY($1::bigint[])
 UNION
SELECT lane FROM offhook.sends WHERE id = ANY($2::bigint[])

-- name: lock_not_running
SELECT id FROM offhook.messages
 WHERE id = ANY($1::bigint[]) AND state <> '{target(CLAIM)}' ORDER BY id FOR UPDATE

-- The messages of which nothing is being sent. Their lanes of sends are locked.
-- name: not_sending
SELECT id FROM offhook.messages
 WHERE id = ANY($1::bigint[])
   AND NOT EXISTS (SELECT 1 FROM offhook.sends
                    WHERE sends.message = messages.id AND sends.state = '{send_target(CLAIM)}')

-- The sends that may go: not under way, nor of a live message, unless it goes as well. A live message
-- may run (again), and would send again what it does not find in the ledger.
-- name: idle_sends
SELECT id FROM offhook.sends
 WHERE id = ANY($1::bigint[]) AND state <> '{send_target(CLAIM)}'
   AND NOT EXISTS (SELECT 1 FROM offhook.messages
                    WHERE messages.id = sends.message AND messages.resting IS NULL
                      AND messages.id <> ALL($2::bigint[]))
