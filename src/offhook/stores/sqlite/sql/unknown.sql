-- Unknown sends, which are looked up in Twilio's message list.

-- name: next_to_look_up
SELECT account_sid, recipient FROM sends INDEXED BY sends_unknown
 WHERE {send_is_unknown} AND settled > :since AND settled <= :lost_by
   AND (look_due IS NULL OR look_due <= :now)
 ORDER BY settled LIMIT 1

-- What was scheduled can't have left before its time.
-- name: may_have_left_from
CASE WHEN message < 0
     THEN coalesce((SELECT due FROM send_requests WHERE id = -sends.message), created)
     ELSE created END

-- name: unknown_of_person
SELECT id, lane, {may_have_left_from}, settled, looks + 1, missing,
       message, identity, sender, recipient, body, media, content_sid
  FROM sends INDEXED BY sends_unknown
 WHERE {send_is_unknown} AND settled > ? AND account_sid = ? AND recipient IN {recipients}
 ORDER BY id

-- name: look_up
UPDATE sends SET looks = looks + 1, look_due = ? WHERE id IN {ids}

-- What Twilio has accepted long enough ago to be in its list.
-- name: witnesses
SELECT sid FROM sends
 WHERE lane IN {lanes} AND created >= ? AND account_sid = ? AND recipient IN {recipients}
   AND state = '{send_target(ACCEPT)}' AND settled <= ? AND sid <> ''

-- name: sids_of_others
SELECT sid FROM sends WHERE account_sid = ? AND sid IN {sids} AND sid <> ''

-- What may be in the list, and is neither known by its SID nor looked up.
-- name: on_its_way
SELECT 1 FROM lanes JOIN sends ON sends.lane = lanes.lane AND sends.{send_is_live}
 WHERE lanes.until IS NOT NULL AND lanes.queue = {sends_queue}
   AND sends.state = '{send_target(CLAIM)}' AND account_sid = ? AND recipient IN {recipients}
 LIMIT 1

-- name: others_unknown
SELECT 1 FROM sends INDEXED BY sends_unknown
 WHERE {send_is_unknown} AND settled > ? AND account_sid = ? AND recipient IN {recipients}
   AND id NOT IN {ids}
 LIMIT 1

-- name: looked_up
SELECT lane, repeats, identity, (SELECT state FROM messages WHERE messages.id = sends.message)
  FROM sends WHERE id = ? AND looks = ? AND {send_is_unknown}

-- name: look_again
UPDATE sends SET look_due = ?, missing = CASE WHEN ? THEN coalesce(missing, ?) END WHERE id = ?

-- name: end_look_up
UPDATE sends
   SET state = :state, due = :now, settled = CASE WHEN :repeats IS NULL THEN :now END,
       error = :error, looks = 0, look_due = NULL, missing = NULL,
       repeats = coalesce(:repeats, repeats)
 WHERE id = :id
