-- Unknown sends, which are looked up in Twilio's message list.

-- name: next_to_look_up
SELECT account_sid, recipient FROM offhook.sends
 WHERE resting = '{SendState.UNKNOWN}'
   AND settled > {now_once} - make_interval(secs => {LOOKED_FOR})
   AND settled <= {now_once} - make_interval(secs => {FIRST_LOOK})
   AND (look_due IS NULL OR look_due <= {now_once})
 ORDER BY settled LIMIT 1

-- What was scheduled can't have left before its time.
-- name: may_have_left_from
CASE WHEN message < 0
     THEN coalesce((SELECT due FROM offhook.send_requests WHERE id = -sends.message), created)
     ELSE created END

-- name: unknown_of_person
SELECT id, lane, extract(epoch FROM {now} - {may_have_left_from})::float8 AS written,
       extract(epoch FROM {now} - settled)::float8 AS lost, looks + 1 AS looks,
       extract(epoch FROM {now} - missing)::float8 AS missing,
       message, identity, sender, recipient, body, media, content_sid
  FROM offhook.sends
 WHERE resting = '{SendState.UNKNOWN}'
   AND settled > {now_once} - make_interval(secs => {LOOKED_FOR})
   AND account_sid = $1 AND recipient = ANY($2::text[])
 ORDER BY id FOR UPDATE

-- name: look_up
UPDATE offhook.sends SET looks = looks + 1, look_due = {now} + make_interval(secs => $2)
 WHERE id = ANY($1::bigint[])

-- What Twilio has accepted long enough ago to be in its list.
-- name: witnesses
SELECT sid FROM offhook.sends
 WHERE lane = ANY($1::bytea[])
   AND created >= (
       SELECT min({may_have_left_from}) FROM offhook.sends WHERE id = ANY($2::bigint[]))
   AND account_sid = $3 AND recipient = ANY($4::text[])
   AND state = '{send_target(ACCEPT)}' AND sid <> ''
   AND settled <= {now_once} - make_interval(secs => {FIRST_LOOK})

-- name: sids_of_others
SELECT sends.sid FROM unnest($2::text[]) AS listed (sid)
  JOIN offhook.sends ON left(sends.sid, 64) = left(listed.sid, 64) AND sends.sid <> ''
   AND sends.sid = listed.sid AND sends.account_sid = $1

-- What may be in the list, and is neither known by its SID nor looked up.
-- name: on_its_way
SELECT 1 FROM offhook.lanes JOIN offhook.sends ON sends.lane = lanes.lane AND resting IS NULL
 WHERE lanes.until IS NOT NULL AND lanes.queue = {sends_queue}
   AND state = '{send_target(CLAIM)}' AND account_sid = $1 AND recipient = ANY($2::text[])
UNION ALL
SELECT 1 FROM offhook.sends
 WHERE resting = '{SendState.UNKNOWN}'
   AND settled > {now_once} - make_interval(secs => {LOOKED_FOR})
   AND account_sid = $1 AND recipient = ANY($2::text[]) AND id <> ALL($3::bigint[])
LIMIT 1

-- name: lanes_looked_up
SELECT lane FROM offhook.sends WHERE id = ANY($1::bigint[]) AND resting = '{SendState.UNKNOWN}'

-- name: looked_up
SELECT id, repeats, identity,
       (SELECT state FROM offhook.messages
         WHERE messages.id = sends.message AND messages.lane = sends.lane) AS state
  FROM offhook.sends
  JOIN unnest($1::bigint[], $2::integer[]) AS given (send, look) ON given.send = id
 WHERE resting = '{SendState.UNKNOWN}' AND looks = look
 ORDER BY id FOR UPDATE OF sends

-- name: look_again
UPDATE offhook.sends
   SET look_due = {now} + make_interval(secs => given.again),
       missing = CASE WHEN given.missing THEN coalesce(sends.missing, {now}) END
  FROM unnest($1::bigint[], $2::float8[], $3::boolean[]) AS given (send, again, missing)
 WHERE id = given.send

-- name: end_look_up
UPDATE offhook.sends
   SET state = $2, due = {now}, settled = CASE WHEN $4::integer IS NULL THEN {now} END, error = $3,
       looks = 0, look_due = NULL, missing = NULL, repeats = coalesce($4, repeats)
 WHERE id = $1
