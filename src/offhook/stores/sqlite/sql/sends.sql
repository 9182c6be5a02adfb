-- name: columns_of_sends
id, message, identity, state, account_sid, sender, recipient, body, created, due, tries, settled,
sid, delivery, error_code, error, content_sid, fell_back

-- A send whose text was kept, and that is still wanted, for an operator's decision.
-- name: send_to_retry
SELECT state, lane, message FROM sends
 WHERE id = ? AND repeats <> {NOT_WANTED}
   AND NOT EXISTS (SELECT 1 FROM messages WHERE id = sends.message AND reduced)
   AND NOT EXISTS (SELECT 1 FROM send_requests
                    WHERE id = -sends.message AND stage = {Stage.REDUCED})

-- name: retry_send
UPDATE sends SET state = '{send_target(RETRY)}', due = :now, tries = 0, settled = NULL
 WHERE id = :id

-- name: write_replacement
INSERT INTO sends (identity, account_sid, sender, recipient, body, media, content_sid,
                   content_variables, fallback, fell_back, message, lane, state, created, due)
SELECT :identity, account_sid, sender, recipient, body, media, content_sid, content_variables,
       fallback, fell_back, message, lane, '{SendState.PENDING}', :now, :now
  FROM sends WHERE id = :id
RETURNING id

-- name: replace_send
UPDATE sends SET state = '{send_target(REPLACE)}', settled = ? WHERE id = ?

-- name: cancel_send
UPDATE sends SET state = '{send_target(CANCEL)}', settled = ? WHERE id = ? AND state IN {WITHDRAWN}
RETURNING lane, message

-- What Twilio has accepted has a SID, whatever became of it.
-- name: spent_by_day
SELECT (created + :ahead) / 86400000 * 86400 AS day, {sums_of_sends}
  FROM sends WHERE sid <> '' AND created >= :since GROUP BY 1, currency ORDER BY 1, currency

-- name: spent_by_conversation
SELECT sender, recipient, {sums_of_sends}
  FROM sends WHERE sid <> '' AND created >= :since
 GROUP BY sender, recipient, currency
 ORDER BY sum(segments) DESC, count(*) DESC, sender, recipient, currency LIMIT :limit

-- name: sums_of_sends
count(*) AS sends, sum(segments) AS segments, count(price) AS priced,
coalesce(sum(price), 0) AS price, currency

-- The first send of each lane that waits, those that are due soonest first: what has been scheduled
-- for a later day is behind them.
-- name: first_waiting_sends
SELECT (SELECT id FROM sends WHERE sends.lane = waiting.lane AND {send_is_live} ORDER BY id LIMIT 1)
  FROM (SELECT lane FROM lanes WHERE queue = {sends_queue} AND suspect = 0
         ORDER BY due LIMIT {MOST_COUNTED}) AS waiting

-- name: lost(state)
SELECT id FROM (SELECT id FROM sends INDEXED BY sends_unsettled
                 WHERE {send_is_unsettled} AND state = '{state}'
                 ORDER BY id DESC LIMIT {MOST_COUNTED})

-- Of those that wait the age of the first, and those that have been tried in vain, by code. What
-- answers no message (its number is below 0) may have been written long before its time.
-- name: waiting_sends
SELECT error_code, min(CASE WHEN tries = 0 THEN due
                            WHEN message < 0
                            THEN coalesce((SELECT due FROM send_requests WHERE id = -message), created)
                            ELSE created END),
       count(*) FILTER (WHERE error <> '')
  FROM sends WHERE id IN ({first_waiting_sends}) AND (tries > 0 OR due <= ?)
 GROUP BY error_code

-- name: lost_sends
SELECT state, error_code, count(*) FROM sends
 WHERE id IN ({lost(failed)} UNION ALL {lost(undelivered)})
 GROUP BY state, error_code

-- What waits behind a send that was tried in vain is not on its way either.
-- name: unanswered
WITH short (message, lane, waits) AS MATERIALIZED (
    SELECT message, lane, 1 FROM sends
     WHERE id IN ({first_waiting_sends}) AND error <> ''
     UNION
    SELECT message, lane, 0 FROM sends WHERE id IN ({lost(failed)} UNION ALL {lost(undelivered)})
)
SELECT count(DISTINCT short.lane) FROM short CROSS JOIN messages ON messages.id = short.message
 WHERE messages.state IN {SETTLED} AND messages.kind = '{Kind.MESSAGE}'
   AND NOT EXISTS (SELECT 1 FROM sends
                    WHERE sends.message = short.message
                      AND (state IN ('{SendState.SENT}', '{SendState.UNKNOWN}')
                           OR NOT waits AND (state = '{SendState.SENDING}'
                                             OR state = '{SendState.PENDING}' AND error = '')))
