-- name: columns_of_sends
id, message, identity, state, account_sid, sender, recipient, body, created, due, tries, settled,
sid, delivery, error_code, error

-- A send whose text was kept, for an operator's decision.
-- name: send_to_retry
SELECT state, lane, message FROM sends
 WHERE id = ? AND NOT EXISTS (SELECT 1 FROM messages WHERE id = sends.message AND reduced)

-- name: retry_send
UPDATE sends SET state = '{send_target(RETRY)}', due = :now, tries = 0, settled = NULL
 WHERE id = :id

-- name: write_replacement
INSERT INTO sends (identity, account_sid, sender, recipient, body, media, content_sid,
                   content_variables, message, lane, state, created, due)
SELECT :identity, account_sid, sender, recipient, body, media, content_sid, content_variables,
       message, lane, '{SendState.PENDING}', :now, :now
  FROM sends WHERE id = :id
RETURNING id

-- name: replace_send
UPDATE sends SET state = '{send_target(REPLACE)}', settled = ? WHERE id = ?

-- name: cancel_send
UPDATE sends SET state = '{send_target(CANCEL)}', settled = ? WHERE id = ? AND state IN {WITHDRAWN}
RETURNING lane

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
