-- The last messages of a person in a conversation, among their newest: no index has those of a lane.
-- name: received_from
SELECT form, {epoch(received)} AS received
  FROM (SELECT id, lane, resting, reduced, form, received FROM offhook.messages
         WHERE {is_message} AND left(sender, 64) = left($1, 64) AND sender = $1
         ORDER BY id DESC LIMIT {LOOKED_THROUGH}) AS newest
 WHERE lane = $2 AND NOT reduced
   AND ($3::bigint IS NULL OR id <> $3 AND resting IS NOT NULL)
 ORDER BY id DESC LIMIT $4

-- What is sent as a template has not been said.
-- name: sent_in
SELECT body, media, {epoch(created)} AS written, sid, delivery, error_code
  FROM (SELECT * FROM offhook.sends WHERE lane = $1
         ORDER BY created DESC, id DESC LIMIT {LOOKED_THROUGH}) AS newest
 WHERE state IN {SAID} AND recipient = ANY($2::text[]) AND (body <> '' OR media <> '[]')
   AND content_sid = ''
   AND ($3::bigint IS NULL OR message <> $3)
 ORDER BY created DESC, id DESC LIMIT $4

-- name: state_of
SELECT value, version, extract(epoch FROM {now} - used)::float8 AS age
  FROM offhook.conversation_states WHERE lane = $1
