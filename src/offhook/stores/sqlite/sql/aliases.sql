-- Lanes of one person. See `aliases.py`.

-- What is known of some user ids; whether there is anything left in the lane of each.
-- name: known_aliases
SELECT alias, lane, seen,
       EXISTS (SELECT 1 FROM lanes WHERE queue = {messages_queue} AND lanes.lane = alias
                  AND joined = 0)
       OR EXISTS (SELECT 1 FROM lanes WHERE queue = {sends_queue} AND lanes.lane = alias)
  FROM aliases WHERE alias IN {aliases}

-- Whether there is, or has been, anything in a lane that a user id leads to.
-- name: used
SELECT EXISTS (SELECT 1 FROM lanes WHERE queue = {messages_queue} AND lane = ?1)
    OR EXISTS (SELECT 1 FROM sends WHERE lane = ?1)
    OR EXISTS (SELECT 1 FROM conversation_states WHERE conversation = ?1)
    OR EXISTS (SELECT 1 FROM messages INDEXED BY messages_sender
                WHERE kind = '{Kind.MESSAGE}' AND sender = ?2)

-- name: write_alias
INSERT INTO aliases (alias, lane, address, person, seen) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (alias) DO UPDATE
   SET lane = excluded.lane, person = excluded.person, seen = excluded.seen

-- name: leads_alone
SELECT NOT EXISTS (SELECT 1 FROM aliases WHERE lane = ? AND alias <> ?)

-- The lane that a lane leads to: itself, if it is no alias.
-- name: target_of
SELECT coalesce((SELECT lane FROM aliases WHERE alias = ?1), ?1)

-- What runs in a lane under the lane's own lease.
-- name: runner
SELECT messages.id FROM lanes JOIN messages ON messages.lane = lanes.lane
 WHERE queue = {messages_queue} AND lanes.lane = ? AND until IS NOT NULL
   AND {is_live} AND state IN {sources(RESCUE)} AND messages.token = lanes.token
 LIMIT 1

-- name: move_live
UPDATE messages SET lane = ?1 WHERE lane = ?2 AND {is_live} AND id <> ?3

-- name: move_settled
UPDATE messages INDEXED BY messages_sender SET lane = ?1
 WHERE kind = '{Kind.MESSAGE}' AND sender = ?4 AND lane = ?2 AND id <> ?3

-- name: sends_under_way
SELECT id, message FROM sends WHERE lane = ? AND {send_is_live} AND state IN {send_sources(LOSE)}
 LIMIT 1

-- name: move_sends
UPDATE sends SET lane = ?1 WHERE lane = ?2 AND message <> ?3 AND id <> ?4

-- name: take_over_lease
INSERT INTO lanes (queue, lane, due, token, until, owner, joined)
SELECT queue, ?2, due, token, until, owner, joined FROM lanes WHERE queue = ?1 AND lane = ?3
    ON CONFLICT (queue, lane) DO UPDATE
   SET due = excluded.due, token = excluded.token, until = excluded.until, owner = excluded.owner,
       joined = excluded.joined, suspect = 0

-- name: addresses_of
SELECT address FROM aliases WHERE person = ?1 UNION SELECT person FROM aliases WHERE address = ?1

-- name: move_state
INSERT INTO conversation_states (conversation, person, version, used, value)
SELECT ?1, person, version, used, value FROM conversation_states WHERE conversation = ?2
    ON CONFLICT (conversation) DO UPDATE
   SET person = excluded.person, version = excluded.version, used = excluded.used,
       value = excluded.value
 WHERE excluded.used > conversation_states.used

-- name: state_left
SELECT 1 FROM aliases JOIN conversation_states ON conversation = alias
 WHERE aliases.lane = ? AND alias <> aliases.lane LIMIT 1
