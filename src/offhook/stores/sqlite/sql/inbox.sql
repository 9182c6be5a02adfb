-- Of a lane what runs, or else the first that may go before a message.
-- name: ahead
SELECT id, state, due FROM messages
 WHERE lane = ?1 AND {is_live} AND id <> ?2
   AND (state IN {sources(RESCUE)}
        OR (holds OR due <= ?3) AND place < (SELECT place FROM messages WHERE id = ?2))
 ORDER BY state IN {sources(RESCUE)} DESC, place LIMIT 1

-- Put a message at the tail of its lane, or have it due at once.
-- name: replay
UPDATE messages
   SET state = '{target(REPLAY)}',
       place = CASE WHEN {is_live} THEN place ELSE :place END, attempts = {is_live},
       due = :now, holds = 1, crashes = 0, settled = NULL, error = ''
 WHERE id = :id AND state IN {sources(REPLAY)} AND NOT reduced
RETURNING lane, attempts

-- name: drop
UPDATE messages SET state = '{target(DROP)}', settled = :now, notice_due = NULL
 WHERE id = :id AND state IN {sources(DROP)}
RETURNING lane, attempts
