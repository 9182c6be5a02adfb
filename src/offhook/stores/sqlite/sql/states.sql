-- What a run was given with its claim is replaced, and nothing else.
-- name: save_state
UPDATE conversation_states SET version = :token, used = :now, value = :value
 WHERE conversation = :lane AND version = :version

-- name: save_first_state
INSERT INTO conversation_states (conversation, person, version, used, value)
SELECT :lane, sender, :token, :now, :value FROM messages WHERE id = :id
    ON CONFLICT (conversation) DO NOTHING

-- name: delete_state
DELETE FROM conversation_states WHERE conversation = :lane AND version = :version

-- A conversation that has a lane has something to do, and may need its state.
-- name: prune_states
DELETE FROM conversation_states WHERE conversation IN (
    SELECT conversation FROM conversation_states
     WHERE used < ? AND NOT EXISTS (
           SELECT 1 FROM lanes WHERE queue = {messages_queue} AND lane = conversation)
     ORDER BY used LIMIT ?)

-- name: states_of_person
SELECT conversation FROM conversation_states WHERE person IN {addresses} LIMIT ?

-- name: erase_states
DELETE FROM conversation_states WHERE conversation IN (SELECT value FROM json_each(?))
