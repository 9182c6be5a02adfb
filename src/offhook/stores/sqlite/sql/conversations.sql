-- name: received_from
SELECT id, lane, state, reduced, form, received FROM messages INDEXED BY messages_sender
 WHERE {is_message} AND sender = ? ORDER BY id DESC LIMIT ?

-- What is sent as a template has not been said.
-- name: sent_in
SELECT message, recipient, state, CASE content_sid WHEN '' THEN body ELSE '' END,
       CASE content_sid WHEN '' THEN media ELSE '[]' END, created, sid, delivery, error_code
  FROM sends INDEXED BY sends_lane
 WHERE lane = ? ORDER BY created DESC, id DESC LIMIT ?

-- name: state_of
SELECT value, version, used FROM conversation_states WHERE conversation = ?
