-- Sends that answer no message.
--
-- In the order of locks (sql/lanes.sql) a request comes behind messages and before lanes of sends.

-- Write the sends of a request, or return those of its key: no row if they have been deleted.
-- name: request
CREATE OR REPLACE FUNCTION offhook.request(
    _key bytea, _lane bytea, _lane_name text, _is_user_id boolean, _delay float8,
    _unless_reply text,
    {parameters_of_drafts}
) RETURNS TABLE (
    id bigint, identity text, state text, body text, recipient text, sid text,
    delivery text, error_code text, error text, content_sid text, fell_back text, repeated boolean
) LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _due timestamptz;
    _number bigint;
    _known record;
BEGIN
    {durably}
    _now := {now};
    IF _is_user_id THEN
        -- The person's lane: locked, so that it stays theirs until this is written.
        INSERT INTO offhook.aliases (alias, lane, lane_name, address, person, seen)
        VALUES (_lane, _lane, _lane_name, {address_in(_lane_name)}, {address_in(_lane_name)}, _now)
            ON CONFLICT DO NOTHING;
        SELECT lane, person INTO _known FROM offhook.aliases WHERE alias = _lane FOR UPDATE;
        _lane := _known.lane;
        _unless_reply := CASE WHEN _unless_reply <> '' THEN _known.person ELSE '' END;
    END IF;
    _due := _now + make_interval(secs => _delay);
    INSERT INTO offhook.send_requests (key, stage, created, due, recipient)
    VALUES (_key, CASE WHEN _delay > 0 THEN {Stage.SCHEDULED} ELSE {Stage.WRITTEN} END,
            _now, _due, _unless_reply)
        ON CONFLICT (key) DO NOTHING RETURNING send_requests.id INTO _number;
    IF _number IS NULL THEN
        RETURN QUERY
        SELECT id, identity, state, body, recipient, sid, delivery, error_code, error, content_sid,
               fell_back, true
          FROM offhook.sends
         WHERE message = (SELECT -known.id FROM offhook.send_requests AS known WHERE key = _key)
         ORDER BY id;
        RETURN;
    END IF;
    IF _delay <= 0 THEN
        {touch_lanes(sends, ARRAY[_lane])};
    END IF;
    INSERT INTO offhook.tallies (what, change) VALUES ('sends', cardinality(_draft_identity));
    RETURN QUERY
    INSERT INTO offhook.sends (id, message, identity, lane, state, account_sid, sender,
                               recipient, body, media, content_sid, content_variables,
                               fallback, created, due)
    SELECT nextval('offhook.send_ids'), -_number, d.identity, _lane,
           CASE WHEN _delay > 0 THEN '{SendState.SCHEDULED}' ELSE '{SendState.PENDING}' END,
           account, sender, d.recipient, d.body, media, content_sid, variables, d.fallback,
           _now, _due
      FROM (SELECT * FROM unnest({drafts})
                     WITH ORDINALITY AS u ({columns_of_drafts}, n)
             ORDER BY n) AS d
    RETURNING id, identity, state, body, recipient, sid, delivery, error_code, error, content_sid,
              fell_back, false;
END $function$

-- name: next_request_due
SELECT CASE WHEN min(due) IS NOT NULL
       THEN greatest(0, extract(epoch FROM min(due) - {now}))::float8 END
  FROM offhook.send_requests WHERE stage = {Stage.SCHEDULED}

-- Have scheduled sends join their lanes. What joins behind something else gets a new number, for
-- sends leave in the order of these.
-- name: start_due
CREATE OR REPLACE FUNCTION offhook.start_due(
    _most integer, _expected float8, _version integer, _lease float8
) RETURNS integer LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _numbers bigint[]; _lanes bytea[]; _ids bigint[];
BEGIN
    {durably}
    PERFORM offhook.{check_clock}(_expected, _version, _lease);
    _now := {now};
    _numbers := ARRAY(
        SELECT id FROM offhook.send_requests
         WHERE stage = {Stage.SCHEDULED} AND due <= _now
         ORDER BY due, id LIMIT _most FOR UPDATE SKIP LOCKED);
    SELECT coalesce(array_agg(sends.id), '{}'), coalesce(array_agg(lane), '{}') INTO _ids, _lanes
      FROM unnest(_numbers) AS request (number)
      JOIN offhook.sends ON sends.message = -request.number
     WHERE sends.state IN {send_sources(FALL_DUE)};
    {touch_lanes(sends, _lanes)};
    PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
    WITH scheduled AS MATERIALIZED (
        SELECT sends.id, sends.lane, request.n,
               dense_rank() OVER (PARTITION BY sends.lane ORDER BY request.n) = 1
               AND NOT EXISTS (
                   SELECT 1 FROM offhook.sends AS ahead
                    WHERE ahead.lane = sends.lane AND ahead.resting IS NULL) AS is_first
          FROM unnest(_numbers) WITH ORDINALITY AS request (number, n)
          JOIN offhook.sends ON sends.message = -request.number
         WHERE sends.state IN {send_sources(FALL_DUE)}
    ), joined AS MATERIALIZED (
        SELECT id, lane,
               CASE WHEN is_first THEN id ELSE nextval('offhook.send_ids') END AS new_id
          FROM (SELECT * FROM scheduled ORDER BY n, id) AS scheduled
    )
    UPDATE offhook.sends
       SET id = joined.new_id, state = '{send_target(FALL_DUE)}', due = _now
      FROM joined WHERE sends.id = joined.id AND sends.lane = joined.lane;
    UPDATE offhook.send_requests SET stage = {Stage.WRITTEN} WHERE id = ANY(_numbers);
    {forget_recipients};
    RETURN cardinality(_numbers);
END $function$

-- What has left, or was cancelled, no message can cancel. What may have left may be sent again.
-- name: forget_recipients
UPDATE offhook.send_requests SET recipient = '' WHERE id = ANY(ARRAY(
    SELECT id FROM offhook.send_requests AS past
     WHERE stage = {Stage.WRITTEN} AND recipient <> ''
       AND NOT EXISTS (SELECT 1 FROM offhook.sends
                        WHERE message = -past.id
                          AND (state IN {send_sources(CANCEL)} OR state IN {may_be_unknown}))
       FOR UPDATE SKIP LOCKED))

-- Cancel what was to leave unless the senders of new messages wrote first. A Messaging Service has
-- its own choice of numbers, and the message came to one of them.
-- name: cancel_answered
CREATE OR REPLACE FUNCTION offhook.cancel_answered(
    _new integer[], _kinds text[], _lanes bytea[], _accounts text[], _senders text[],
    _others text[], _recipients text[]
) RETURNS void LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _numbers bigint[]; _ids bigint[]; _locked bytea[];
BEGIN
    _numbers := ARRAY(
        SELECT id FROM offhook.send_requests
         WHERE stage IN ({Stage.SCHEDULED}, {Stage.WRITTEN}) AND recipient <> ''
           AND recipient = ANY(ARRAY(SELECT address FROM unnest(_new) AS n
                                      CROSS JOIN unnest(ARRAY[_senders[n], _others[n]]) AS address
                                      WHERE _kinds[n] = '{Kind.MESSAGE}' AND address <> ''))
         ORDER BY id FOR UPDATE);
    IF cardinality(_numbers) = 0 THEN RETURN; END IF;
    _ids := ARRAY(
        SELECT sends.id FROM unnest(_numbers) AS request (number)
          JOIN offhook.send_requests AS asked ON asked.id = request.number
          JOIN offhook.sends ON sends.message = -request.number
         WHERE (sends.state IN {send_sources(CANCEL)} OR sends.state IN {may_be_unknown})
           AND EXISTS (
               SELECT 1 FROM unnest(_new) AS n
                WHERE _kinds[n] = '{Kind.MESSAGE}' AND asked.recipient IN (_senders[n], _others[n])
                  AND _accounts[n] = sends.account_sid
                  AND (_lanes[n] = sends.lane OR _recipients[n] = sends.sender
                       OR sends.sender LIKE 'MG%')));
    -- What is being sent, or looked up, may be pending once its lane is locked.
    _locked := ARRAY(SELECT lane FROM offhook.sends
                      WHERE id = ANY(_ids) AND sends.state NOT IN {send_sources(FALL_DUE)});
    {touch_lanes(sends, _locked)};
    PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
    _now := {now};
    UPDATE offhook.sends
       SET state = '{send_target(CANCEL)}', settled = _now, error = '{answered}'
     WHERE id = ANY(_ids) AND sends.state IN {send_sources(CANCEL)};
    UPDATE offhook.sends SET repeats = {NOT_WANTED}
     WHERE id = ANY(_ids) AND sends.state IN {may_be_unknown};
    {end_requests(SELECT -message FROM offhook.sends WHERE id = ANY(_ids))}
END $function$

-- It is over as if it had been due now.
-- name: end_requests(numbers)
UPDATE offhook.send_requests
   SET stage = {Stage.WRITTEN}, due = least(due, _now), recipient = ''
 WHERE stage IN ({Stage.SCHEDULED}, {Stage.WRITTEN}) AND id = ANY(ARRAY({numbers}));

-- The request of a send; whether its texts were not kept.
-- name: lock_request
SELECT stage = {Stage.REDUCED} FROM offhook.send_requests WHERE id = -$1::bigint FOR UPDATE

-- name: cancel_requested
UPDATE offhook.sends SET state = '{send_target(CANCEL)}', settled = {now}
 WHERE message = $1 AND state IN {send_sources(CANCEL)}

-- name: requested_not_wanted
UPDATE offhook.sends SET repeats = {NOT_WANTED} WHERE message = $1 AND state IN {may_be_unknown}

-- name: end_request
UPDATE offhook.send_requests
   SET stage = {Stage.WRITTEN}, due = least(due, {now}), recipient = ''
 WHERE stage IN ({Stage.SCHEDULED}, {Stage.WRITTEN}) AND id = -$1::bigint

-- The requests whose scheduled and pending sends are in lanes: locked before these.
-- name: lock_requests_in(lanes)
PERFORM 1 FROM offhook.send_requests
  WHERE id = ANY(ARRAY(
            SELECT -found.message FROM {lanes_in(sends, {lanes})} AS turn
             CROSS JOIN LATERAL (
                   SELECT message FROM offhook.sends
                    WHERE sends.lane = turn.lane AND message < 0
                      AND state IN {send_sources(CANCEL)} OFFSET 0) AS found))
  ORDER BY id FOR UPDATE

-- The pending ones have been cancelled by then.
-- name: cancel_scheduled_in(lanes)
UPDATE offhook.sends SET state = '{send_target(CANCEL)}', settled = _now
 WHERE sends.lane = ANY({lanes}) AND sends.state IN {send_sources(FALL_DUE)};
{end_requests(SELECT -message FROM offhook.sends WHERE lane = ANY({lanes}) AND message < 0
                 AND sends.state = '{send_target(CANCEL)}' AND sends.settled = _now)}

-- name: lock_requests_of_sends
SELECT id FROM offhook.send_requests
 WHERE id = ANY(ARRAY(SELECT -message FROM offhook.sends
                       WHERE id = ANY($1::bigint[]) AND message < 0))
 ORDER BY id FOR UPDATE

-- name: nothing_requested_is_live
NOT EXISTS (SELECT 1 FROM offhook.sends
             WHERE message = -send_requests.id AND resting IS NULL)

-- name: lock_expired_requests
SELECT id FROM offhook.send_requests
 WHERE stage IN ({Stage.WRITTEN}, {Stage.REDUCED})
   AND due < {now_once} - make_interval(secs => $1) AND {nothing_requested_is_live}
 LIMIT $2 FOR UPDATE SKIP LOCKED

-- Looked at once more: a send may have been retried before its request was locked.
-- name: without_requested_sends
SELECT id FROM offhook.send_requests WHERE id = ANY($1::bigint[]) AND {nothing_requested_is_live}

-- name: nothing_requested_to_look_up
NOT EXISTS (SELECT 1 FROM offhook.sends
             WHERE message = -send_requests.id AND {text_may_be_needed}
               AND sends.settled > {now_once} - make_interval(secs => {TEXT_NEEDED}))

-- name: lock_reducible_requests
SELECT id FROM offhook.send_requests
 WHERE stage = {Stage.WRITTEN} AND due <= {now_once} AND {nothing_requested_is_live}
   AND {nothing_requested_to_look_up}
 LIMIT $1 FOR UPDATE SKIP LOCKED

-- Looked at once more, as above.
-- name: reduce_requests
UPDATE offhook.send_requests SET stage = {Stage.REDUCED}
 WHERE id = ANY($1::bigint[]) AND {nothing_requested_is_live} AND {nothing_requested_to_look_up}
RETURNING id

-- Of what is deleted, a key is left.
-- name: forget_requests
UPDATE offhook.send_requests SET stage = {Stage.FORGOTTEN}, recipient = ''
 WHERE id = ANY($1::bigint[])
   AND NOT EXISTS (SELECT 1 FROM offhook.sends WHERE message = -send_requests.id)

-- name: delete_requests
DELETE FROM offhook.send_requests
 WHERE id = ANY($1::bigint[]) AND stage = {Stage.FORGOTTEN} AND key IS NULL

-- name: prune_requests
DELETE FROM offhook.send_requests WHERE id = ANY(ARRAY(
    SELECT id FROM offhook.send_requests
     WHERE stage = {Stage.FORGOTTEN} AND due < {now_once} - make_interval(secs => $1)
     ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING 1

-- name: sent_as
SELECT {send_columns} FROM offhook.sends
 WHERE left(sid, 64) = left($1, 64) AND sid <> '' AND sid = $1 AND account_sid = $2
