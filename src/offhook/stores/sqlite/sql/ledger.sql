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
                   content_variables, fallback, message, lane, state, created, due)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, '{SendState.PENDING}', ?12, ?12)
RETURNING id

-- Of each lane that is due, the longest due first, whether it is leased, and the send that goes first;
-- NULL if there is none. At last whether it may fall back, and when it is due.
-- name: heads_of_sends
SELECT turn.lane, turn.until IS NOT NULL, sends.id, message, identity, account_sid, sender,
       recipient, body, media, content_sid, content_variables, fell_back, tries + 1,
       (SELECT sid FROM messages WHERE messages.id = sends.message),
       {may_fall_back} AND sends.due <= ?1, sends.due
  FROM (SELECT lane, until, due FROM lanes
         WHERE queue = {sends_queue} AND suspect = 0 AND due <= ?1 ORDER BY due LIMIT ?2) AS turn
  LEFT JOIN sends ON sends.id = (
       SELECT id FROM sends WHERE sends.lane = turn.lane AND {send_is_live} ORDER BY id LIMIT 1)
 ORDER BY turn.due

-- name: claim_send
UPDATE sends SET state = '{send_target(CLAIM)}', token = ?, tries = tries + 1
 WHERE id = ? AND state IN {send_sources(CLAIM)}

-- name: hand_back_send
UPDATE sends SET state = '{send_target(POSTPONE)}', token = 0, due = ?, tries = tries - 1
 WHERE id = (SELECT id FROM sends
              WHERE lane = ? AND token = ? AND {send_is_live} AND state IN {send_sources(POSTPONE)}
              ORDER BY id LIMIT 1)
RETURNING id

-- What could not be sent, and is not wanted any more, is not sent later either: what was said while
-- it was being sent has marked it, or it is a slow notice of a message that has settled since.
-- name: cancel_unwanted
UPDATE sends
   SET state = '{send_target(CANCEL)}', settled = ?1,
       error = CASE repeats WHEN {NOT_WANTED} THEN ?2 ELSE '' END
 WHERE id = ?3 AND state IN {send_sources(CANCEL)}
   AND (repeats = {NOT_WANTED} OR identity = '{SLOW_NOTICE}' AND NOT EXISTS (
            SELECT 1 FROM messages WHERE id = sends.message AND {is_live}))

-- One statement for each outcome. A status callback that came first is not overwritten: its state is
-- none that the outcome may happen to, or its delivery stands.
-- name: settle_send
UPDATE sends
   SET state = '{target}', due = ?1, settled = {settled},
       sid = CASE WHEN ?3 = '' THEN sid ELSE ?3 END, error_code = ?4, error = ?5,
       delivery = CASE WHEN delivery = '' THEN ?6 ELSE delivery END,
       segments = ?9, price = ?10, currency = ?11
 WHERE id = ?7 AND token = ?8 AND {may_happen}

-- The lease that a send was made under has ended: its lane waits for nothing ...
-- name: empty_lane_of_sends
DELETE FROM lanes
 WHERE queue = {sends_queue} AND lane = (SELECT lane FROM sends WHERE id = ?1) AND token = ?2
   AND NOT EXISTS (SELECT 1 FROM sends WHERE sends.lane = lanes.lane AND {send_is_live})

-- ... or for its next send.
-- name: advance_lane_of_sends
UPDATE lanes
   SET token = 0, until = NULL, owner = NULL, suspect = 0,
       due = (SELECT max(due, ?1) FROM sends
               WHERE sends.lane = lanes.lane AND {send_is_live} ORDER BY id LIMIT 1)
 WHERE queue = {sends_queue} AND lane = (SELECT lane FROM sends WHERE id = ?2) AND token = ?3

-- name: write_cost
UPDATE sends SET segments = ?, price = ?, currency = ? WHERE id = ? AND token = ?

-- What was being sent when its worker died may have left, so it is not repeated.
-- name: lose_sends
UPDATE sends SET state = '{send_target(LOSE)}', settled = ?, error = ?
 WHERE lane = ? AND {send_is_live} AND state IN {send_sources(LOSE)}

-- Free the identities of sends that never arrived, so that a replay may write them again: also of
-- those whose text was sent again in vain (their replacement is `retry:` and their number), and of
-- those whose fallback was. If one of these may have arrived, all stay as they are.
-- name: free_unsent
WITH RECURSIVE unsent (last, id, identity, fallback, fell_back, may_have_left) AS (
    SELECT id, id, identity, fallback, fell_back, false FROM sends
     WHERE message = ?1
       AND state IN {NEVER_ARRIVED}
     UNION ALL
    SELECT last, replaced.id, replaced.identity, replaced.fallback, replaced.fell_back,
           unsent.identity = 'retry:' || replaced.id
           AND replaced.delivery NOT IN {NOT_DELIVERED}
      FROM unsent JOIN sends AS replaced
        ON replaced.message = ?1
       AND (unsent.identity = 'retry:' || replaced.id
            OR replaced.state = '{send_target(FALL_BACK)}' AND replaced.fell_back = ''
               AND replaced.fallback <> '' AND replaced.fallback = unsent.fallback
               AND unsent.fell_back <> '')
)
UPDATE sends
   SET identity = identity || '~' || id,
       state = CASE WHEN state IN {send_sources(DISMISS)}
                    THEN '{send_target(REPLACE)}' ELSE state END
 WHERE id IN (SELECT id FROM unsent
               WHERE last NOT IN (SELECT last FROM unsent WHERE may_have_left))

-- name: not_wanted
UPDATE sends SET repeats = {NOT_WANTED}
 WHERE lane = ? AND (state IN {may_be_unknown} OR {may_be_refused})
