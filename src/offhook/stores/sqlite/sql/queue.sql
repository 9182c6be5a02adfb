-- name: columns_of_head
id, state, kind, sid, attempts, crashes, received, due, started, form, account_sid, sender,
recipient, place <> id, version, value, used

-- name: with_state(key)
LEFT JOIN conversation_states ON conversation = {key}

-- The lanes that are due, longest first, each with what there is to claim in it, if anything, and
-- with whether we have written to it of late.
-- name: due
WITH chosen (name, joined, leased) AS MATERIALIZED (
    SELECT lane, joined, until IS NOT NULL FROM lanes
     WHERE queue = {messages_queue} AND suspect = 0 AND due <= :now ORDER BY due LIMIT :limit
)
SELECT joined, name, leased, EXISTS (SELECT 1 FROM sends WHERE lane = name AND created > :since),
       {columns_of_head}
  FROM chosen LEFT JOIN messages ON id = (
    SELECT id FROM messages
     WHERE lane = name AND {is_live} AND (holds OR due <= :now) ORDER BY place LIMIT 1)
       {with_state(name)}

-- name: lease
UPDATE lanes SET token = ?1, until = ?2, due = ?2, owner = ?3
 WHERE queue = {messages_queue} AND lane = ?4

-- name: claim
UPDATE messages SET state = '{target(CLAIM)}', token = ?, started = ?
 WHERE id = ? AND state IN {sources(CLAIM)}

-- name: head
SELECT {columns_of_head} FROM messages {with_state(lane)}
 WHERE lane = ? AND {is_live} AND (holds OR due <= ?)
 ORDER BY place LIMIT 1

-- It need not be the head: a retry that let it pass may have come due in front of it.
-- name: crashed
SELECT {columns_of_head} FROM messages {with_state(lane)}
 WHERE lane = ? AND {is_live} AND state IN {sources(RESCUE)}
 ORDER BY place LIMIT 1

-- The trigger's own condition is added.
-- name: crash
UPDATE messages
   SET state = :state, token = 0, crashes = :crashes, due = :now, settled = :settled,
       error = :error, notice_due = CASE WHEN :settled IS NULL THEN notice_due END
 WHERE id = :id

-- What ends a run needs to know: of the message, and whether its lane is still leased for the run.
-- name: running
SELECT id, state, messages.token, attempts, started,
       notice_due IS NULL AND EXISTS (
           SELECT 1 FROM sends WHERE message = messages.id AND identity = '{SLOW_NOTICE}'),
       lanes.token
  FROM messages LEFT JOIN lanes ON queue = {messages_queue} AND lanes.lane = messages.lane
 WHERE id IN

-- The trigger's own condition is added.
-- name: settle
UPDATE messages
   SET state = :state, attempts = :attempts, due = :due, holds = :holds, settled = :settled,
       error = :error, notice_due = CASE WHEN :settled IS NULL THEN notice_due END
 WHERE id = :id

-- Open the message again that a lease is for, which its owner does not know of.
-- name: hand_back
UPDATE messages SET state = '{target(INTERRUPT)}', token = 0, due = ?
 WHERE id = (SELECT id FROM messages
              WHERE lane = ? AND token = ? AND {is_live} AND state IN {sources(INTERRUPT)}
              ORDER BY place LIMIT 1)
RETURNING id, attempts + 1, started

-- What a lane waits for: the first message that may go, or else the earliest that will be able to. A
-- message that waits without holding the lane is stepped over until its time has come.
-- name: next_message
SELECT coalesce(
    (SELECT max(due, ?1) FROM messages
      WHERE lane = ?2 AND {is_live} AND (holds OR due <= ?1) ORDER BY place LIMIT 1),
    (SELECT min(due) FROM messages WHERE lane = ?2 AND {is_live})
)

-- name: next_send
SELECT max(due, ?1) FROM sends WHERE lane = ?2 AND {send_is_live} ORDER BY id LIMIT 1
