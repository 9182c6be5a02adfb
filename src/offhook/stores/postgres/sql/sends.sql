-- name: columns_of_sends
id, message, identity, state, account_sid, sender, recipient, body, {epoch(created)} AS created,
{epoch(due)} AS due, tries, {epoch(settled)} AS settled, sid, delivery, error_code, error, content_sid,
fell_back

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
 WHERE id = $1 AND sends.state IN {send_sources(RETRY)} AND repeats <> {NOT_WANTED}
RETURNING id

-- name: replace_send
WITH replaced AS (
    UPDATE offhook.sends SET state = '{send_target(REPLACE)}', settled = {now}
     WHERE id = $1 AND sends.state IN {send_sources(REPLACE)} AND repeats <> {NOT_WANTED}
       AND ($2 OR sends.state <> '{SendState.UNKNOWN}')
    RETURNING *
), counted AS (
    INSERT INTO offhook.tallies (what, change) SELECT 'sends', 1 FROM replaced
)
INSERT INTO offhook.sends (id, message, identity, lane, state, account_sid, sender, recipient,
                           body, media, content_sid, content_variables, fallback, fell_back,
                           created, due)
SELECT nextval('offhook.send_ids'), message, $3, lane, '{SendState.PENDING}', account_sid, sender,
       recipient, body, media, content_sid, content_variables, fallback, fell_back, {now}, {now}
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

-- The first send of each lane that waits, those that are due soonest first: what has been scheduled
-- for a later day is behind them.
-- name: first_waiting_sends
SELECT head.*
  FROM (SELECT lane FROM offhook.lanes WHERE queue = {sends_queue} AND NOT suspect
         ORDER BY due LIMIT {MOST_COUNTED}) AS waiting
 CROSS JOIN LATERAL (SELECT message, lane, tries, created, due, error_code, error
                       FROM offhook.sends
                      WHERE sends.lane = waiting.lane AND resting IS NULL
                      ORDER BY id LIMIT 1) AS head

-- name: lost(state)
(SELECT message, lane, state, error_code FROM offhook.sends WHERE resting = '{state}'
  ORDER BY resting DESC, id DESC LIMIT {MOST_COUNTED})

-- What answers no message may have been written long before its time.
-- name: waits_since
CASE WHEN tries = 0 THEN due
     WHEN message < 0
     THEN coalesce((SELECT request.due FROM offhook.send_requests AS request
                     WHERE request.id = -head.message), created)
     ELSE created END

-- Of those that wait the age of the first, and those that have been tried in vain, by code; and those
-- that have reached nobody. What answers no message (its number is below 0) may have been written
-- long before its time.
-- name: shortfalls
SELECT '{SendState.PENDING}' AS state, error_code, count(*) FILTER (WHERE error <> '') AS number,
       {seconds_since({waits_since})} AS waited
  FROM ({first_waiting_sends}) AS head
 WHERE tries > 0 OR due <= {now} GROUP BY error_code
UNION ALL
SELECT state, error_code, count(*), NULL
  FROM ({lost(failed)} UNION ALL {lost(undelivered)}) AS lost GROUP BY state, error_code

-- What waits behind a send that was tried in vain is not on its way either.
-- name: unanswered
SELECT count(DISTINCT short.lane)
  FROM (SELECT message, lane, true AS waits FROM ({first_waiting_sends}) AS head WHERE error <> ''
         UNION SELECT message, lane, false FROM {lost(failed)} AS failed
         UNION SELECT message, lane, false FROM {lost(undelivered)} AS undelivered) AS short
  JOIN offhook.messages ON messages.id = short.message AND messages.lane = short.lane
 WHERE messages.resting IN {SETTLED} AND kind = '{Kind.MESSAGE}'
   AND NOT EXISTS (
       SELECT 1 FROM offhook.sends
        WHERE sends.message = short.message AND sends.lane = short.lane
          AND (sends.state IN ('{SendState.SENT}', '{SendState.UNKNOWN}')
               OR NOT waits AND (sends.state = '{SendState.SENDING}'
                                 OR sends.state = '{SendState.PENDING}' AND error = '')))
