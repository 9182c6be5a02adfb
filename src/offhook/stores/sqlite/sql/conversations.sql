-- name: received_from
SELECT id, lane, state, reduced, form, received FROM messages INDEXED BY messages_sender
 WHERE {is_message} AND sender = ? ORDER BY id DESC LIMIT ?

-- name: sent_in
SELECT message, recipient, state, body, media, created, sid, delivery, error_code
  FROM sends INDEXED BY sends_lane
 WHERE lane = ? ORDER BY created DESC, id DESC LIMIT ?

-- name: state_of
SELECT value, version, used FROM conversation_states WHERE conversation = ?
