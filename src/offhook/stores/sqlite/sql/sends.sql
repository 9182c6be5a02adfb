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
