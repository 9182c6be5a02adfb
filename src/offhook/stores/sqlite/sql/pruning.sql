-- name: nothing_to_send
NOT EXISTS (SELECT 1 FROM sends WHERE sends.message = messages.id AND sends.{send_is_live})

-- name: expired
SELECT id FROM messages INDEXED BY messages_settled
 WHERE state IN {states} AND reduced IN (0, 1) AND settled < ? AND {nothing_to_send} LIMIT ?

-- name: nothing_to_look_up
NOT EXISTS (SELECT 1 FROM sends WHERE sends.message = messages.id AND {text_may_be_needed}
               AND sends.settled > ?)

-- It may be sent again, or its fallback may be sent.
-- name: text_may_be_needed
(sends.{send_is_unknown} OR {may_be_refused})

-- name: prune_keys
DELETE FROM dedupe_keys
 WHERE key IN (SELECT key FROM dedupe_keys WHERE received < ? ORDER BY received LIMIT ?)

-- name: reducible
SELECT id, form FROM messages INDEXED BY messages_settled
 WHERE state IN {SETTLED_WELL} AND reduced = 0 AND settled IS NOT NULL AND {nothing_to_send}
   AND {nothing_to_look_up}
 LIMIT ?

-- name: empty_sends
UPDATE sends SET body = '', media = '[]', content_variables = '{}', fallback = '',
       error = ''
 WHERE message IN {ids}

-- name: messages_of_person
SELECT id FROM messages
 WHERE (kind <> '{Kind.STATUS}' AND sender IN {addresses})
    OR (kind <> '{Kind.MESSAGE}' AND recipient IN {addresses})
 LIMIT ?

-- name: erasable_messages
SELECT id, lane FROM messages
 WHERE state <> '{target(CLAIM)}' AND NOT EXISTS (
       SELECT 1 FROM sends
        WHERE sends.message = messages.id AND sends.state = '{send_target(CLAIM)}')
   AND id IN {ids}

-- With each whether its message is live: it may run (again), and would send again what it does not
-- find in the ledger.
-- name: erasable_sends
SELECT id, lane, message,
       EXISTS (SELECT 1 FROM messages WHERE id = sends.message AND {is_live})
  FROM sends WHERE state <> '{send_target(CLAIM)}' AND id IN {ids}

-- name: empty_attempts
UPDATE attempts SET error = '' WHERE message IN {ids}

-- name: delete_attempts
DELETE FROM attempts WHERE message IN {ids}
