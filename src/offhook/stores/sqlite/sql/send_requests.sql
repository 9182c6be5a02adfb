-- name: write_request
INSERT INTO send_requests (key, stage, due, recipient) VALUES (?, ?, ?, ?) RETURNING id

-- name: write_requested_send
INSERT INTO sends (identity, account_sid, sender, recipient, body, media, content_sid,
                   content_variables, fallback, message, lane, state, created, due)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
RETURNING id

-- name: next_request_due
SELECT min(due) FROM send_requests WHERE stage = {Stage.SCHEDULED}

-- name: due_requests
SELECT id FROM send_requests INDEXED BY send_requests_due
 WHERE stage = {Stage.SCHEDULED} AND due <= ?1 AND (recipient = '' OR due <= ?2)
 ORDER BY due, id LIMIT ?3

-- name: scheduled_sends
SELECT id, lane, EXISTS (SELECT 1 FROM sends AS ahead WHERE ahead.lane = sends.lane
                                                        AND ahead.{send_is_live})
  FROM sends WHERE message = ? AND state IN {send_sources(FALL_DUE)} ORDER BY id

-- name: next_send_ids
UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'sends' RETURNING seq

-- What the messages of these people may cancel.
-- name: unless_reply_of
SELECT id, recipient FROM send_requests INDEXED BY send_requests_unless_reply
 WHERE stage IN ({Stage.SCHEDULED}, {Stage.WRITTEN}) AND recipient <> ''
   AND recipient IN (SELECT value FROM json_each(?))

-- A Messaging Service has its own choice of numbers, and the message came to one of them.
-- name: cancel_answered
UPDATE sends SET state = '{send_target(CANCEL)}', settled = ?1, error = ?2
 WHERE message = ?3 AND state IN {send_sources(CANCEL)} AND account_sid = ?4
   AND (lane = ?5 OR sender = ?6 OR sender LIKE 'MG%')
RETURNING lane

-- name: answered_meanwhile
UPDATE sends SET repeats = {NOT_WANTED}
 WHERE message = ?1 AND state IN {may_be_unknown} AND account_sid = ?2
   AND (lane = ?3 OR sender = ?4 OR sender LIKE 'MG%')

-- name: cancel_requested
UPDATE sends SET state = '{send_target(CANCEL)}', settled = ?
 WHERE message = ? AND state IN {send_sources(CANCEL)}

-- name: requested_not_wanted
UPDATE sends SET repeats = {NOT_WANTED} WHERE message = ? AND state IN {may_be_unknown}

-- It is over as if it had been due now.
-- name: end_requests
UPDATE send_requests SET stage = {Stage.WRITTEN}, due = min(due, ?1), recipient = ''
 WHERE stage IN ({Stage.SCHEDULED}, {Stage.WRITTEN})
   AND id IN (SELECT value FROM json_each(?2))

-- What has left, or was cancelled, no message can cancel. What may have left may be sent again.
-- name: forget_recipients
UPDATE send_requests SET recipient = ''
 WHERE stage = {Stage.WRITTEN} AND recipient <> ''
   AND NOT EXISTS (SELECT 1 FROM sends WHERE message = -send_requests.id
                      AND (state IN {send_sources(CANCEL)} OR state IN {may_be_unknown}))

-- name: nothing_requested_is_live
NOT EXISTS (SELECT 1 FROM sends WHERE message = -send_requests.id AND sends.{send_is_live})

-- name: reducible_requests
SELECT id FROM send_requests INDEXED BY send_requests_due
 WHERE stage = {Stage.WRITTEN} AND due <= ? AND {nothing_requested_is_live}
   AND NOT EXISTS (SELECT 1 FROM sends WHERE message = -send_requests.id
                      AND {text_may_be_needed} AND sends.settled > ?)
 LIMIT ?

-- name: expired_requests
SELECT id FROM send_requests INDEXED BY send_requests_due
 WHERE stage IN ({Stage.WRITTEN}, {Stage.REDUCED}) AND due < ? AND {nothing_requested_is_live}
 LIMIT ?

-- Of what is deleted, a key is left.
-- name: forget_requests
UPDATE send_requests SET stage = {Stage.FORGOTTEN}, recipient = ''
 WHERE id IN (SELECT value FROM json_each(?))
   AND NOT EXISTS (SELECT 1 FROM sends WHERE message = -send_requests.id)

-- name: delete_requests
DELETE FROM send_requests
 WHERE id IN (SELECT value FROM json_each(?)) AND stage = {Stage.FORGOTTEN} AND key IS NULL

-- name: prune_requests
DELETE FROM send_requests WHERE id IN (
    SELECT id FROM send_requests INDEXED BY send_requests_due
     WHERE stage = {Stage.FORGOTTEN} AND due < ? ORDER BY due LIMIT ?)
