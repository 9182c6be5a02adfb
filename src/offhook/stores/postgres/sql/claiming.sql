-- Take the heads of lanes that are due; rescue or bury on the way what has crashed.
-- name: claim
CREATE OR REPLACE FUNCTION offhook.claim(
    _most integer, _lease float8, _owner text, _can_be_alone boolean,
    _within float8, _pace float8, _expected float8, _version integer
) RETURNS TABLE (
    what text, id bigint, token bigint, kind text, lane text, sid text, attempt integer,
    crashes integer, received float8, form bytea, turns bigint,
    replayed boolean, account_sid text, sender text, recipient text, next_due float8,
    suspects boolean, moment float8, clock_version integer, clock_step float8,
    state_value bytea, state_version bigint, state_age float8, joined boolean
) LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _until timestamptz; _alone boolean; _locked bytea[]; _crashed bigint[];
    _buried bigint[] := '{}';
    _suspects bytea[]; _taken bytea[]; _ids bigint[]; _tokens bigint[]; _joined bytea[] := '{}';
BEGIN
    {durably}
    PERFORM offhook.{check_clock}(_expected, _version, _lease);
    FOREACH _alone IN ARRAY CASE WHEN _can_be_alone THEN ARRAY[true, false] ELSE ARRAY[false] END
    LOOP
        _now := {now};
        _until := _now + make_interval(secs => _lease);
        IF _alone THEN
            _locked := ({lock_due(messages, 1, suspect=true)});
        ELSE
            _locked := ({lock_due(messages, _most)});
        END IF;
        CONTINUE WHEN _locked IS NULL;

        -- What still runs in a lane that is due has lost its worker. It need not be the head: a
        -- retry that let it pass may have come due in front of it. One message of a lane runs, if
        -- it is leased.
        _crashed := ARRAY(
            SELECT lost.id FROM {lanes_in(messages, _locked)} AS turn
             CROSS JOIN LATERAL (
                   SELECT until FROM offhook.lanes
                    WHERE lanes.queue = turn.queue AND lanes.lane = turn.lane LIMIT 1) AS lease
             CROSS JOIN LATERAL (
                   SELECT id FROM offhook.messages
                    WHERE messages.lane = turn.lane AND resting IS NULL
                      AND messages.state IN {sources(RESCUE)} AND lease.until IS NOT NULL
                    ORDER BY place LIMIT 1) AS lost);
        WITH crashed AS (
            UPDATE offhook.messages
               SET state = CASE WHEN {dies} THEN '{target(BURY)}' ELSE '{target(RESCUE)}' END,
                   crashes = crashes + 1,
                   token = 0,
                   due = _now,
                   settled = CASE WHEN {dies} THEN _now END,
                   notice_due = CASE WHEN {dies} THEN NULL ELSE notice_due END,
                   error = format('{worker_died}', crashes + 1)
             WHERE id = ANY(_crashed) AND lane = ANY(_locked)
            RETURNING *
        ), noted AS (
            INSERT INTO offhook.attempts (lane, message, number, started, ended, trigger, error)
            SELECT lane, id, attempts + 1, started, _now,
                   CASE WHEN state = '{target(BURY)}' THEN '{Trigger.BURY}'
                        ELSE '{Trigger.RESCUE}' END,
                   error
              FROM crashed
        )
        SELECT _buried || coalesce(array_agg(id) FILTER (WHERE state = '{target(BURY)}'), '{}')
          INTO _buried FROM crashed;

        -- What a lane waits for that leads to another, or the other way round, `gather` finds out.
        IF EXISTS (SELECT 1 FROM offhook.lanes WHERE joined) THEN
            _joined := ARRAY(SELECT lanes.lane FROM {lanes_in(messages, _locked)} AS t
                               JOIN offhook.lanes
                                 ON lanes.queue = t.queue AND lanes.lane = t.lane
                              WHERE lanes.joined);
            UPDATE offhook.lanes SET token = 0, until = NULL, owner = NULL, due = _now
              FROM {lanes_in(messages, _joined)} AS t
             WHERE lanes.queue = t.queue AND lanes.lane = t.lane;
            _locked := ARRAY(SELECT lane FROM unnest(_locked) WITH ORDINALITY AS l (lane, n)
                              WHERE lane <> ALL(_joined) ORDER BY n);
        END IF;

        SELECT coalesce(array_agg(lane) FILTER (WHERE suspect), '{}'),
               coalesce(array_agg(lane ORDER BY n) FILTER (WHERE NOT suspect), '{}'),
               array_agg(id ORDER BY n) FILTER (WHERE NOT suspect),
               array_agg(nextval('offhook.tokens')) FILTER (WHERE NOT suspect)
          INTO _suspects, _taken, _ids, _tokens
          FROM (SELECT turn.lane, turn.n, head.id,
                       head.crashes >= {CRASHES_UNTIL_ALONE} AND NOT _alone AS suspect
                  FROM unnest(_locked) WITH ORDINALITY AS turn (lane, n) CROSS JOIN LATERAL (
                       SELECT id, state, kind, crashes, due FROM offhook.messages
                        WHERE messages.lane = turn.lane AND resting IS NULL
                          AND (holds OR due <= _now)
                        ORDER BY place LIMIT 1) AS head
                 WHERE head.due <= _now) AS ready;
        UPDATE offhook.lanes
           SET suspect = true, token = 0, until = NULL, owner = NULL, due = _now
          FROM {lanes_in(messages, _suspects)} AS t
         WHERE lanes.queue = t.queue AND lanes.lane = t.lane;
        UPDATE offhook.lanes SET token = t.token, until = _until, due = _until, owner = _owner
          FROM {lanes_with_tokens(messages, _taken, _tokens)} AS t
         WHERE lanes.queue = t.queue AND lanes.lane = t.lane;
        {advance(messages, _locked,
                 where=lanes.lane <> ALL(_suspects) AND lanes.lane <> ALL(_taken))};
        RETURN QUERY
        WITH taken AS (
            UPDATE offhook.messages
               SET state = '{target(CLAIM)}', started = _now,
                   token = _tokens[array_position(_ids, messages.id)]
             WHERE messages.id = ANY(_ids) AND messages.lane = ANY(_taken)
               AND messages.state IN {sources(CLAIM)}
            RETURNING messages.*, array_position(_ids, messages.id) AS n
        )
        SELECT 'claim', id, token, kind, lane_name, sid, attempts + 1, crashes,
               {epoch(received)}, form,
               ({turns}),
               place <> id, NULL::text, NULL::text, NULL::text, NULL::float8, NULL::boolean,
               NULL::float8, NULL::integer, NULL::float8,
               saved.value, saved.version, extract(epoch FROM _now - saved.used)::float8,
               NULL::boolean
          FROM taken LEFT JOIN offhook.conversation_states AS saved ON saved.lane = taken.lane
         ORDER BY n;
        EXIT WHEN FOUND;
    END LOOP;
    RETURN QUERY
    SELECT 'buried', id, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::integer,
           NULL::integer, NULL::float8, NULL::bytea, NULL::bigint,
           NULL::boolean, account_sid, sender, recipient, NULL::float8, NULL::boolean,
           NULL::float8, NULL::integer, NULL::float8, NULL::bytea, NULL::bigint, NULL::float8,
           NULL::boolean
      FROM offhook.messages WHERE id = ANY(_buried) AND kind = '{Kind.MESSAGE}'
     ORDER BY array_position(_buried, id);
    RETURN QUERY
    SELECT 'outlook', NULL::bigint, NULL::bigint, NULL::text, NULL::text, NULL::text,
           NULL::integer, NULL::integer, NULL::float8, NULL::bytea, NULL::bigint,
           NULL::boolean, NULL::text, NULL::text, NULL::text,
           ({next_due(messages)}),
           EXISTS (SELECT 1 FROM offhook.lanes
                    WHERE queue = {messages_queue} AND suspect AND due <= {now}),
           extract(epoch FROM {now})::float8, version, step,
           NULL::bytea, NULL::bigint, NULL::float8,
           EXISTS (SELECT 1 FROM offhook.lanes WHERE joined AND due <= {now})
      FROM offhook.clock;
END $function$

-- Whether this crash is the last of a message.
-- name: dies
crashes + 1 >= {CRASHES_UNTIL_DEAD}

-- How many of our replies to the sender of what is `taken` were answered at a program's pace: each
-- counts once, whatever came behind it. It has left some time before its outcome was recorded.
-- name: turns
WITH reply AS MATERIALIZED (
    SELECT recent.id, recent.message,
           greatest(recent.created,
                    coalesce(recent.settled, _now) + make_interval(secs => -_pace)) AS earliest,
           coalesce(recent.settled, _now) + make_interval(secs => _pace) AS latest
      FROM (SELECT * FROM offhook.sends
             WHERE sends.lane = taken.lane
               AND sends.created > _now + make_interval(secs => -_within)
             ORDER BY sends.created DESC LIMIT {COUNTED_REPLIES}) AS recent
     WHERE recent.state IN {MAY_HAVE_LEFT} AND recent.recipient = taken.sender
), answer AS (
    SELECT taken.received
     UNION
    SELECT asked.received FROM reply
     CROSS JOIN LATERAL (
           SELECT messages.received FROM offhook.messages
            WHERE messages.id = reply.message AND messages.lane = taken.lane) AS asked
)
SELECT count(DISTINCT (
           SELECT max(reply.id) FROM reply
            WHERE answer.received BETWEEN reply.earliest AND reply.latest))
  FROM answer
 WHERE taken.kind = '{Kind.MESSAGE}'
   AND EXISTS (SELECT FROM reply
                WHERE taken.received BETWEEN reply.earliest AND reply.latest)

-- End the leases that their owner does not know of. The lane's token names the leased message.
-- name: hand_back
CREATE OR REPLACE FUNCTION offhook.hand_back(_owner text, _held bigint[])
RETURNS integer LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _locked bytea[];
    _ids bigint[];
BEGIN
    {durably}
    _locked := ({lock_unheld(messages)});
    _now := {now};
    _ids := ARRAY(
        SELECT begun.id FROM {lanes_in(messages, _locked)} AS turn
          JOIN offhook.lanes ON lanes.queue = turn.queue AND lanes.lane = turn.lane
         CROSS JOIN LATERAL (
               SELECT id FROM offhook.messages
                WHERE messages.lane = turn.lane AND messages.token = lanes.token
                  AND resting IS NULL AND messages.state IN {sources(INTERRUPT)}
                ORDER BY place LIMIT 1) AS begun);
    WITH opened AS (
        UPDATE offhook.messages
           SET state = '{target(INTERRUPT)}', token = 0, due = _now
         WHERE id = ANY(_ids) AND lane = ANY(_locked) AND messages.state IN {sources(INTERRUPT)}
        RETURNING *
    )
    INSERT INTO offhook.attempts (lane, message, number, started, ended, trigger, error)
    SELECT lane, id, attempts + 1, started, _now, '{Trigger.INTERRUPT}', '{claim_lost}'
      FROM opened;
    {advance(messages, _locked)};
    RETURN cardinality(_locked);
END $function$

-- name: overdue
SELECT id, account_sid, sender, recipient FROM offhook.messages
 WHERE notice_due <= {now_once} ORDER BY notice_due LIMIT $1
