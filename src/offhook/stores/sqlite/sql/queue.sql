-- name: columns_of_head
id, state, kind, sid, attempts, crashes, received, due, started, form, account_sid, sender,
recipient, place <> id

-- name: head
SELECT {columns_of_head} FROM messages
 WHERE lane = ? AND {is_live} AND (holds OR due <= ?)
 ORDER BY place LIMIT 1

-- It need not be the head: a retry that let it pass may have come due in front of it.
-- name: running
SELECT {columns_of_head} FROM messages
 WHERE lane = ? AND {is_live} AND state IN {sources(RESCUE)}
 ORDER BY place LIMIT 1

-- The trigger's own condition is added.
-- name: crash
UPDATE messages
   SET state = :state, token = 0, crashes = :crashes, due = :now, settled = :settled,
       error = :error, notice_due = CASE WHEN :settled IS NULL THEN notice_due END
 WHERE id = :id

-- Likewise.
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
