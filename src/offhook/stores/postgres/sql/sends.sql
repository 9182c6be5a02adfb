-- name: columns_of_sends
id, message, identity, state, account_sid, sender, recipient, body, {epoch(created)} AS created,
{epoch(due)} AS due, tries, {epoch(settled)} AS settled, sid, delivery, error_code, error

-- name: find_sends_of
SELECT {columns_of_sends} FROM {fitting} ORDER BY id DESC LIMIT {limit}

-- name: show_send
SELECT {columns_of_sends} FROM offhook.sends WHERE id = $1

-- name: place_of_send
SELECT message, lane FROM offhook.sends WHERE id = $1

-- The message that a send answers. Locked, or its text might be taken out meanwhile.
-- name: lock_message
SELECT reduced FROM offhook.messages WHERE id = $1 AND lane = $2 FOR SHARE

-- name: retry_send
UPDATE offhook.sends
   SET state = '{send_target(RETRY)}', due = {now}, tries = 0, settled = NULL
 WHERE id = $1 AND sends.state IN {send_sources(RETRY)}
RETURNING id

-- name: replace_send
WITH replaced AS (
    UPDATE offhook.sends SET state = '{send_target(REPLACE)}', settled = {now}
     WHERE id = $1 AND sends.state IN {send_sources(REPLACE)}
       AND ($2 OR sends.state <> '{SendState.UNKNOWN}')
    RETURNING *
), counted AS (
    INSERT INTO offhook.tallies (what, change) SELECT 'sends', 1 FROM replaced
)
INSERT INTO offhook.sends (id, message, identity, lane, state, account_sid, sender, recipient,
                           body, media, content_sid, content_variables, created, due)
SELECT nextval('offhook.send_ids'), message, $3, lane, '{SendState.PENDING}', account_sid, sender,
       recipient, body, media, content_sid, content_variables, {now}, {now}
  FROM replaced
RETURNING id

-- name: cancel_send
UPDATE offhook.sends SET state = '{send_target(CANCEL)}', settled = {now}
 WHERE id = $1 AND sends.state IN {WITHDRAWN}
RETURNING id

-- What Twilio has accepted has a SID, whatever became of it.
-- name: spent_by_day
SELECT floor({epoch(created)} / 86400)::bigint * 86400 AS day, {sums_of_sends}
  FROM offhook.sends WHERE sid <> '' AND created >= to_timestamp($1) + (SELECT distance FROM offhook.clock) GROUP BY 1, currency ORDER BY 1, currency

-- name: spent_by_conversation
SELECT sender, recipient, {sums_of_sends}
  FROM offhook.sends WHERE sid <> '' AND created >= to_timestamp($1) + (SELECT distance FROM offhook.clock)
 GROUP BY sender, recipient, currency
 ORDER BY sum(segments) DESC, count(*) DESC, sender, recipient, currency LIMIT $2

-- name: sums_of_sends
count(*) AS sends, sum(segments) AS segments, count(price) AS priced,
coalesce(sum(price), 0)::bigint AS price, currency
