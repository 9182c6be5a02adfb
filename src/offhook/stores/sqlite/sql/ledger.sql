-- How many of our replies were answered at a program's pace: each counts once, whatever came behind
-- it. It has left some time before its outcome was recorded.
-- name: turns
WITH reply (id, message, earliest, latest) AS MATERIALIZED (
    SELECT id, message, max(created, coalesce(settled, :now) - :pace),
           coalesce(settled, :now) + :pace
      FROM (SELECT * FROM sends WHERE lane = :lane AND created > :since
             ORDER BY created DESC LIMIT {COUNTED_REPLIES})
     WHERE state IN {MAY_HAVE_LEFT} AND recipient = :sender
), answer (received) AS (
    SELECT :received
     UNION SELECT received FROM messages WHERE id IN (SELECT message FROM reply)
)
SELECT count(DISTINCT (SELECT max(id) FROM reply WHERE received BETWEEN earliest AND latest))
  FROM answer
 WHERE EXISTS (SELECT 1 FROM reply WHERE :received BETWEEN earliest AND latest)

-- name: write_send
INSERT INTO sends (identity, account_sid, sender, recipient, body, media, content_sid,
                   content_variables, message, lane, state, created, due)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '{SendState.PENDING}', ?11, ?11)
RETURNING id

-- name: head_of_sends
SELECT id, message, identity, account_sid, sender, recipient, body, media, content_sid,
       content_variables, tries + 1,
       (SELECT sid FROM messages WHERE messages.id = sends.message), due
  FROM sends WHERE lane = ? AND {send_is_live} ORDER BY id LIMIT 1

-- name: hand_back_send
UPDATE sends SET state = '{send_target(POSTPONE)}', token = 0, due = ?, tries = tries - 1
 WHERE id = (SELECT id FROM sends
              WHERE lane = ? AND token = ? AND {send_is_live} AND state IN {send_sources(POSTPONE)}
              ORDER BY id LIMIT 1)

-- name: settle_send
UPDATE sends
   SET state = ?, due = ?, settled = ?, sid = ?, error_code = ?, error = ?,
       delivery = CASE WHEN delivery = '' THEN ? ELSE delivery END
 WHERE id = ?

-- What was being sent when its worker died may have left, so it is not repeated.
-- name: lose_sends
UPDATE sends SET state = '{send_target(LOSE)}', settled = ?, error = ?
 WHERE lane = ? AND {send_is_live} AND state IN {send_sources(LOSE)}

-- Free the identities of sends that never arrived, so that a replay may write them again.
-- name: free_unsent
UPDATE sends
   SET identity = identity || '~' || id,
       state = CASE WHEN state IN {send_sources(DISMISS)}
                    THEN '{send_target(REPLACE)}' ELSE state END
 WHERE message = ? AND (state IN {send_sources(DISMISS)} OR state = '{send_target(DISMISS)}')
