-- Take the heads of lanes of sends that are due. The last row says when the next is.
--
-- What was being sent when its worker died may have left, so it is not repeated. Rows are locked in
-- the order of their numbers before they are changed, for callbacks come in between.
-- name: claim_sends
CREATE OR REPLACE FUNCTION offhook.claim_sends(
    _most integer, _lease float8, _owner text, _expected float8, _version integer
) RETURNS TABLE (
    id bigint, token bigint, message bigint, identity text, account_sid text, sender text,
    recipient text, body text, media text, content_sid text, content_variables text,
    fell_back text, tries integer, message_sid text, next_due float8
) LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _until timestamptz; _locked bytea[]; _crashed bigint[]; _taken bytea[]; _ids bigint[];
    _tokens bigint[]; _undecided boolean;
BEGIN
    {durably}
    PERFORM offhook.{check_clock}(_expected, _version, _lease);
    _now := {now};
    _until := _now + make_interval(secs => _lease);
    _locked := ({lock_due(sends, _most)});
    IF _locked IS NOT NULL THEN
        _crashed := ARRAY({under_way});
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_crashed) ORDER BY id FOR UPDATE;
        UPDATE offhook.sends
           SET state = '{send_target(LOSE)}', settled = _now, error = '{send_lost}'
         WHERE id = ANY(_crashed) AND sends.state IN {send_sources(LOSE)};
        {take_heads}
        IF _undecided THEN
            PERFORM offhook.{close_windows}(_locked);
            {take_heads}
        END IF;
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
        UPDATE offhook.lanes SET token = t.token, until = _until, due = _until, owner = _owner
          FROM {lanes_with_tokens(sends, _taken, _tokens)} AS t
         WHERE lanes.queue = t.queue AND lanes.lane = t.lane;
        {advance(sends, _locked, where=lanes.lane <> ALL(_taken))};
        RETURN QUERY
        WITH taken AS (
            UPDATE offhook.sends
               SET state = '{send_target(CLAIM)}', token = t.token,
                   tries = sends.tries + 1
              FROM unnest(_taken, _ids, _tokens) WITH ORDINALITY AS t (lane, id, token, n)
             WHERE sends.id = t.id AND sends.lane = t.lane AND sends.state IN {send_sources(CLAIM)}
            RETURNING sends.*, n
        )
        SELECT id, token, message, identity, account_sid, sender, recipient, body, media,
               content_sid, content_variables, fell_back, tries,
               (SELECT sid FROM offhook.messages
                 WHERE messages.id = taken.message AND messages.lane = taken.lane),
               NULL::float8
          FROM taken ORDER BY n;
    END IF;
    RETURN QUERY
    SELECT NULL::bigint, NULL::bigint, NULL::bigint, NULL::text, NULL::text, NULL::text,
           NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::integer,
           NULL::text, ({next_due(sends)});
END $function$

-- name: take_heads
SELECT coalesce(array_agg(turn.lane ORDER BY n), '{}'),
       coalesce(array_agg(head.id ORDER BY n), '{}'),
       array_agg(nextval('offhook.tokens')),
       bool_or(head.undecided)
  INTO _taken, _ids, _tokens, _undecided
  FROM unnest(_locked) WITH ORDINALITY AS turn (lane, n) CROSS JOIN LATERAL (
       SELECT id, due, {may_fall_back} AS undecided
         FROM offhook.sends WHERE sends.lane = turn.lane AND resting IS NULL
        ORDER BY id LIMIT 1) AS head
 WHERE head.due <= _now;

-- Of each lane in `_locked` what is being sent: one, if the lane is leased. It is found by its lane
-- and locked afterwards. In one step, in the order of their numbers, the index of all sends would be
-- read.
-- name: under_way
SELECT sending.id FROM {lanes_in(sends, _locked)} AS turn
 CROSS JOIN LATERAL (
       SELECT until FROM offhook.lanes
        WHERE lanes.queue = turn.queue AND lanes.lane = turn.lane LIMIT 1) AS lease
 CROSS JOIN LATERAL (
       SELECT id FROM offhook.sends
        WHERE sends.lane = turn.lane AND resting IS NULL AND sends.state IN {send_sources(LOSE)}
          AND lease.until IS NOT NULL
        ORDER BY id LIMIT 1) AS sending

-- End the leases on sends that their owner does not know of: what it has not received has not left.
-- name: hand_back_sends
CREATE OR REPLACE FUNCTION offhook.hand_back_sends(_owner text, _held bigint[])
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
    _locked := ({lock_unheld(sends)});
    _ids := ARRAY({under_way});
    PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
    _now := {now};
    UPDATE offhook.sends
       SET state = '{send_target(POSTPONE)}', token = 0, due = _now,
           tries = sends.tries - 1
     WHERE id = ANY(_ids) AND sends.state IN {send_sources(POSTPONE)};
    {cancel_unwanted}
    {advance(sends, _locked)};
    RETURN cardinality(_locked);
END $function$

-- What could not be sent, and is not wanted any more, is not sent later either: what was said while
-- it was being sent has marked it, or it is a slow notice of a message that has settled since.
-- name: cancel_unwanted
UPDATE offhook.sends
   SET state = '{send_target(CANCEL)}', settled = _now,
       error = CASE repeats WHEN {NOT_WANTED} THEN '{unwanted}' ELSE '' END
 WHERE id = ANY(_ids) AND sends.state IN {send_sources(CANCEL)}
   AND (repeats = {NOT_WANTED} OR identity = '{SLOW_NOTICE}' AND NOT EXISTS (
            SELECT 1 FROM offhook.messages
             WHERE messages.id = sends.message AND messages.lane = sends.lane
               AND messages.resting IS NULL));

-- Record the outcomes of a batch of sends. A status callback that came first is not overwritten: its
-- state is none that the outcome may happen to, or its delivery stands.
-- name: settle_sends
CREATE OR REPLACE FUNCTION offhook.settle_sends(
    _ids bigint[], _tokens bigint[], _triggers text[], _states text[],
    _delays float8[], _sids text[], _statuses text[], _codes text[], _errors text[],
    _segments integer[], _prices bigint[], _currencies text[]
) RETURNS void LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _locked bytea[];
    _moved bytea[];
    _ended bytea[];
    _refused bigint[];
BEGIN
    {durably}
    _locked := ARRAY(SELECT lane FROM offhook.sends WHERE id = ANY(_ids));
    _refused := ARRAY({closed_for});
    {lock_for_fallbacks}
    _now := {now};
    UPDATE offhook.sends
       SET state = outcome.state,
           due = _now + make_interval(secs => outcome.delay),
           settled = CASE WHEN outcome.trigger <> '{SendTrigger.POSTPONE}' THEN _now END,
           sid = CASE WHEN outcome.sid = '' THEN sends.sid ELSE outcome.sid END,
           error_code = outcome.code,
           error = outcome.error,
           segments = outcome.segments,
           price = outcome.price,
           currency = outcome.currency,
           delivery = CASE WHEN sends.delivery = '' THEN outcome.status ELSE sends.delivery END
      FROM unnest(_ids, _tokens, _triggers, _states, _delays, _sids, _statuses, _codes, _errors,
                  _segments, _prices, _currencies)
           AS outcome (id, token, trigger, state, delay, sid, status, code, error, segments, price,
                       currency)
     WHERE sends.id = outcome.id AND sends.token = outcome.token
       AND CASE outcome.trigger {may_happen} END;
    IF '{SendTrigger.POSTPONE}' = ANY(_triggers) THEN
        {cancel_unwanted}
    END IF;
    IF cardinality(_refused) > 0 THEN PERFORM offhook.{fall_back}(_refused); END IF;
    -- Where a status callback came first, the cost is still missing.
    UPDATE offhook.sends
       SET segments = cost.segments, price = cost.price, currency = cost.currency
      FROM unnest(_ids, _tokens, _segments, _prices, _currencies)
           AS cost (id, token, segments, price, currency)
     WHERE sends.id = cost.id AND sends.token = cost.token
       AND (cost.segments > 0 OR cost.price IS NOT NULL)
       AND (sends.segments, sends.currency) IS DISTINCT FROM (cost.segments, cost.currency);
    _ended := ARRAY(
        SELECT lanes.lane FROM {lanes_in(sends, _locked)} AS given
          JOIN offhook.lanes ON lanes.queue = given.queue AND lanes.lane = given.lane
         WHERE lanes.token = ANY(_tokens) OR lanes.until IS NULL);
    {advance(sends, _ended)};
END $function$

-- Those for which the window was closed, and which have a fallback.
-- name: closed_for
SELECT sends.id FROM unnest(_ids, _codes) AS told (id, code)
  JOIN offhook.sends ON sends.id = told.id
 WHERE code IN {WINDOW_CODES} AND {may_fall_back}

-- Lock what has been sent, and what its fallbacks need. Until its lane was locked, it may have been
-- moved to another one of the same person; that lane is locked late, which happens too seldom for two
-- to wait for each other.
-- name: lock_for_fallbacks
IF cardinality(_refused) > 0 THEN
    {lock_origins(_refused)};
    {touch_lanes(sends, _locked)};
ELSE
    {lock(sends, _locked)};
END IF;
SELECT array_agg(lane) INTO _moved
  FROM (SELECT * FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE) AS sent
 WHERE lane <> ALL(_locked) AND (resting IS NULL OR id = ANY(_refused));
IF _moved IS NOT NULL THEN
    {touch_lanes(sends, _moved)};
    _locked := _locked || _moved;
END IF;

-- Write a batch of notices. A message's lane is locked against its settling, which cancels the
-- notice it finds, and the message itself against its pruning.
-- name: notify
CREATE OR REPLACE FUNCTION offhook.notify(
    _messages bigint[], _settled boolean[],
    {parameters_of_drafts}, _draft_once_in float8[]
) RETURNS TABLE (
    item integer, id bigint, identity text, state text, body text, recipient text,
    sid text, delivery text, error_code text, error text, content_sid text, fell_back text,
    repeated boolean
) LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _lanes bytea[]; _may boolean[]; _notice record;
BEGIN
    {durably}
    _lanes := ARRAY(SELECT (SELECT lane FROM offhook.messages WHERE messages.id = given.id)
                      FROM unnest(_messages) WITH ORDINALITY AS given (id, n) ORDER BY n);
    {lock(messages, _lanes)};
    PERFORM 1 FROM offhook.messages
      WHERE id = ANY(_messages) AND lane = ANY(_lanes) ORDER BY id FOR UPDATE;
    _may := ARRAY(
        SELECT coalesce(given.settled OR messages.state IN {LIVE}, false)
               AND messages.id IS NOT NULL
          FROM unnest(_messages, _lanes, _settled)
               WITH ORDINALITY AS given (id, lane, settled, n)
          LEFT JOIN offhook.messages
            ON messages.id = given.id AND messages.lane = given.lane
         ORDER BY n);
    UPDATE offhook.messages SET notice_due = NULL
      FROM unnest(_messages, _lanes, _may, _draft_identity) AS given (id, lane, may, identity)
     WHERE messages.id = given.id AND messages.lane = given.lane
       AND may AND identity = '{SLOW_NOTICE}';
    {touch_lanes(sends, ARRAY(SELECT l FROM unnest(_lanes, _may) AS g (l, may) WHERE may))};
    FOR _notice IN
        SELECT * FROM unnest(_messages, _lanes, _may, {drafts}, _draft_once_in)
                 WITH ORDINALITY AS given (message, lane, may, {columns_of_drafts}, once_in, n)
         WHERE may ORDER BY n
    LOOP
        RETURN QUERY SELECT _notice.n::integer, w.* FROM offhook.{write_send}(
            _notice.lane, _notice.message,
            _notice.identity, _notice.account, _notice.sender, _notice.recipient, _notice.body,
            _notice.media, _notice.content_sid, _notice.variables, _notice.fallback,
            _notice.once_in) AS w;
    END LOOP;
END $function$

-- The sends that a batch of status callbacks means.
-- name: find_sends
CREATE OR REPLACE FUNCTION offhook.find_sends(_ids bigint[], _sids text[], _accounts text[])
RETURNS TABLE (n bigint, id bigint, sid text, delivery text, error_code text)
LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
BEGIN
    {durably}
    RETURN QUERY
    SELECT n, sends.id, sends.sid, delivery, error_code
      FROM unnest(_ids, _accounts) WITH ORDINALITY AS wanted (id, account, n)
      JOIN offhook.sends ON sends.id = wanted.id AND sends.account_sid = wanted.account;
    RETURN QUERY
    SELECT n, sends.id, sends.sid, delivery, error_code
      FROM unnest(_ids, _sids, _accounts) WITH ORDINALITY AS wanted (id, sid, account, n)
      JOIN offhook.sends ON left(sends.sid, 64) = left(wanted.sid, 64) AND sends.sid <> ''
       AND sends.sid = wanted.sid AND sends.account_sid = wanted.account
     WHERE wanted.id IS NULL;
END $function$

-- Write what status callbacks say of sends whose `delivery` and `error_code` are as they were when it
-- was decided. What follows a confirmed send need not wait for its REST answer: Twilio has it.
-- name: write_deliveries
CREATE OR REPLACE FUNCTION offhook.write_deliveries(
    _ids bigint[], _sids text[], _deliveries text[], _codes text[],
    _known_deliveries text[], _known_codes text[]
) RETURNS SETOF bigint LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _locked bytea[];
    _moved bytea[];
    _ended bytea[];
    _refused bigint[];
BEGIN
    {durably}
    _refused := ARRAY({closed_for});
    _locked := ARRAY(SELECT lane FROM offhook.sends
                      WHERE id = ANY(_ids) AND (resting IS NULL OR id = ANY(_refused)));
    {lock_for_fallbacks}
    _now := {now};
    RETURN QUERY
    UPDATE offhook.sends
       SET state = CASE WHEN {is_missed} THEN '{send_target(MISS)}'
                        WHEN {is_confirmed} THEN '{send_target(CONFIRM)}' ELSE sends.state END,
           settled = CASE WHEN {is_missed} OR {is_confirmed} THEN _now ELSE settled END,
           error = CASE WHEN {is_missed} OR {is_confirmed} THEN '' ELSE error END,
           sid = said.sid, delivery = said.delivery, error_code = said.code
      FROM unnest(_ids, _sids, _deliveries, _codes, _known_deliveries, _known_codes)
           AS said (id, sid, delivery, code, known_delivery, known_code)
     WHERE sends.id = said.id AND sends.sid IN ('', said.sid)
       AND sends.delivery = said.known_delivery AND sends.error_code = said.known_code
    RETURNING sends.id;
    IF cardinality(_refused) > 0 THEN PERFORM offhook.{fall_back}(_refused); END IF;
    _ended := ARRAY(
        SELECT lanes.lane
          FROM (SELECT {sends_queue}::smallint AS queue, lane, token FROM offhook.sends
                 WHERE id = ANY(_ids) AND lane = ANY(_locked) AND NOT sends.resting IS NULL
                OFFSET 0) AS confirmed
          JOIN offhook.lanes ON lanes.queue = confirmed.queue
           AND lanes.lane = confirmed.lane
           AND (lanes.token = confirmed.token OR lanes.until IS NULL));
    {advance(sends, _ended)};
END $function$

-- Looked at first: a send that was not delivered could be confirmed as well.
-- name: is_missed
(said.delivery IN {NOT_DELIVERED} AND sends.state IN {send_sources(MISS)})

-- name: is_confirmed
sends.state IN {send_sources(CONFIRM)}
