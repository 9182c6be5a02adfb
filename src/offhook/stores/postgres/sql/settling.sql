-- Drafts as a function is given them, an array for each column: its parameters, their names, and the
-- columns that they become.
-- name: parameters_of_drafts
_draft_identity text[], _draft_account text[], _draft_sender text[], _draft_recipient text[],
_draft_body text[], _draft_media text[], _draft_content_sid text[], _draft_variables text[],
_draft_fallback text[]

-- name: drafts
_draft_identity, _draft_account, _draft_sender, _draft_recipient, _draft_body, _draft_media,
_draft_content_sid, _draft_variables, _draft_fallback

-- name: columns_of_drafts
identity, account, sender, recipient, body, media, content_sid, variables, fallback

-- Write a send, or return the one that its identity names. No row when the lane has had it.
--
-- The lane of sends is locked: numbers are in the order of commits, and no other transaction writes
-- to it.
-- name: write_send
CREATE OR REPLACE FUNCTION offhook.write_send(
    _lane bytea, _message bigint, _identity text, _account text, _sender text, _recipient text,
    _body text, _media text, _content_sid text, _variables text, _fallback text, _once_in float8
) RETURNS TABLE (
    id bigint, identity text, state text, body text, recipient text, sid text,
    delivery text, error_code text, error text, content_sid text, fell_back text, repeated boolean
) LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
BEGIN
    {durably}
    RETURN QUERY
    SELECT id, identity, state, body, recipient, sid, delivery, error_code, error, content_sid,
           fell_back, true
      FROM offhook.sends
     WHERE message = _message AND lane = _lane AND identity = _identity;
    IF FOUND THEN RETURN; END IF;
    _now := {now};
    IF _once_in > 0 AND EXISTS (
        SELECT 1 FROM offhook.sends
         WHERE lane = _lane AND created > _now + make_interval(secs => -_once_in)
           AND identity = _identity AND state <> '{send_target(CANCEL)}'
    ) THEN RETURN; END IF;
    INSERT INTO offhook.tallies (what, change) VALUES ('sends', 1);
    RETURN QUERY
    INSERT INTO offhook.sends (id, message, identity, lane, state, account_sid, sender,
                               recipient, body, media, content_sid, content_variables,
                               fallback, created, due)
    VALUES (nextval('offhook.send_ids'), _message, _identity, _lane, '{SendState.PENDING}',
            _account, _sender, _recipient, _body, _media, _content_sid, _variables, _fallback,
            _now, _now)
    RETURNING id, identity, state, body, recipient, sid, delivery, error_code, error, content_sid,
              fell_back, false;
END $function$

-- Write the sends of a batch of runs, and end the runs that have a trigger. A row with a verdict
-- says of a run that it 'may' go on, is a 'repeat' of what was settled, is 'over', or is 'lost'.
-- name: settle
CREATE OR REPLACE FUNCTION offhook.settle(
    _ids bigint[], _lanes bytea[], _tokens bigint[], _triggers text[],
    _states text[], _counted integer[], _lives boolean[], _errors text[],
    _delays float8[], _holds boolean[], _cancels boolean[], _numbers integer[],
    _items integer[], {parameters_of_drafts}, _draft_once_in float8[],
    _state_items integer[], _state_versions bigint[], _state_values bytea[]
) RETURNS TABLE (
    item integer, verdict text, id bigint, identity text, state text, body text,
    recipient text, sid text, delivery text, error_code text, error text, content_sid text,
    fell_back text, repeated boolean
) LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _verdicts text[]; _told bytea[]; _opted_out bytea[]; _cancelled bytea[]; _sending bytea[];
    _ended bytea[]; _draft record; _ids_not_wanted bigint[];
BEGIN
    {durably}
    {lock(messages, _lanes)};
    _now := {now};
    SELECT array_agg(CASE
               WHEN messages.token IS DISTINCT FROM item.token THEN 'lost'
               WHEN messages.state = '{target(CLAIM)}' THEN 'may'
               WHEN item.trigger IS NULL THEN 'over'
               ELSE 'repeat' END ORDER BY n),
           array_agg(item.lane) FILTER (
               WHERE messages.state = '{target(CLAIM)}' AND NOT item.live
                 AND messages.notice_due IS NULL AND EXISTS (
                     SELECT 1 FROM offhook.sends
                      WHERE sends.message = item.id AND sends.lane = item.lane
                        AND sends.identity = '{SLOW_NOTICE}'
                        AND sends.resting IS NULL))
      INTO _verdicts, _told
      FROM unnest(_ids, _lanes, _tokens, _triggers, _lives)
           WITH ORDINALITY AS item (id, lane, token, trigger, live, n)
      LEFT JOIN offhook.messages ON messages.id = item.id AND messages.lane = item.lane;

    WITH ended AS (
        UPDATE offhook.messages
           SET state = item.state,
               attempts = messages.attempts + item.counted,
               due = _now + make_interval(secs => item.delay),
               holds = item.holds,
               settled = CASE WHEN item.live THEN NULL ELSE _now END,
               error = item.error,
               notice_due = CASE WHEN item.live THEN notice_due END
          FROM unnest(_ids, _lanes, _verdicts, _triggers, _states, _counted, _lives, _errors,
                      _delays, _holds, _numbers)
               AS item (id, lane, verdict, trigger, state, counted, live, error, delay, holds,
                        number)
         WHERE messages.id = item.id AND messages.lane = item.lane
           AND item.verdict = 'may' AND item.trigger IS NOT NULL
        RETURNING messages.id, messages.lane, item.trigger, item.number, started, messages.error
    )
    INSERT INTO offhook.attempts (lane, message, number, started, ended, trigger, error)
    SELECT lane, id, number, started, _now, trigger, error
      FROM ended WHERE trigger <> '{Trigger.COMPLETE}';

    IF cardinality(_state_items) > 0 THEN
        {save_states}
    END IF;
    _opted_out := ARRAY(
        SELECT lane FROM unnest(_lanes, _cancels, _verdicts, _triggers)
               AS item (lane, cancel, verdict, trigger)
         WHERE cancel AND verdict = 'may' AND trigger IS NOT NULL);
    _cancelled := coalesce(_told, '{}') || _opted_out;
    IF cardinality(_opted_out) > 0 THEN
        {lock_requests_in(_opted_out)};
    END IF;
    _sending := _cancelled || ARRAY(SELECT _lanes[n] FROM unnest(_items) AS n);
    IF cardinality(_sending) > 0 THEN
        {touch_lanes(sends, _sending)};
        IF cardinality(_cancelled) > 0 THEN
            -- Locked in the order of their numbers, as everything is.
            PERFORM 1 FROM offhook.sends
              WHERE id = ANY(ARRAY(
                        SELECT pending.id FROM {lanes_in(sends, _cancelled)} AS turn
                         CROSS JOIN LATERAL (
                               SELECT id FROM offhook.sends
                                WHERE sends.lane = turn.lane AND resting IS NULL
                                  AND sends.state IN {send_sources(CANCEL)}
                                ORDER BY id OFFSET 0) AS pending))
              ORDER BY id FOR UPDATE;
            UPDATE offhook.sends SET state = '{send_target(CANCEL)}', settled = _now
              FROM unnest(_ids, _lanes, _verdicts, _triggers, _lives, _cancels)
                   AS item (id, lane, verdict, trigger, live, cancel)
             WHERE sends.lane = item.lane AND sends.resting IS NULL
               AND sends.state IN {send_sources(CANCEL)}
               AND item.verdict = 'may' AND item.trigger IS NOT NULL
               AND (item.cancel OR NOT item.live AND sends.message = item.id
                                   AND sends.identity = '{SLOW_NOTICE}');
            {not_wanted}
        END IF;
        IF cardinality(_opted_out) > 0 THEN
            {cancel_scheduled_in(_opted_out)}
        END IF;
        FOR _draft IN
            SELECT * FROM unnest(_items, {drafts}, _draft_once_in)
                     WITH ORDINALITY AS d (item, {columns_of_drafts}, once_in, n)
             WHERE _verdicts[item] = 'may' ORDER BY n
        LOOP
            RETURN QUERY
            SELECT _draft.item, NULL::text, w.* FROM offhook.{write_send}(
                _lanes[_draft.item], _ids[_draft.item],
                _draft.identity, _draft.account, _draft.sender, _draft.recipient, _draft.body,
                _draft.media, _draft.content_sid, _draft.variables, _draft.fallback,
                _draft.once_in) AS w;
        END LOOP;
    END IF;

    _ended := ARRAY(
        SELECT lanes.lane
          FROM (SELECT {messages_queue}::smallint AS queue, lane, token, trigger, verdict
                  FROM unnest(_lanes, _tokens, _triggers, _verdicts)
                       AS u (lane, token, trigger, verdict) OFFSET 0) AS item
          JOIN offhook.lanes ON lanes.queue = item.queue AND lanes.lane = item.lane
           AND lanes.token = item.token
         WHERE verdict = 'may' AND trigger IS NOT NULL);
    {advance(messages, _ended)};
    RETURN QUERY
    SELECT n::integer, v, NULL::bigint, NULL::text, NULL::text, NULL::text, NULL::text,
           NULL::text, NULL::text, NULL::text, NULL::text, NULL::text, NULL::text,
           NULL::boolean
      FROM unnest(_verdicts) WITH ORDINALITY AS verdict (v, n);
END $function$

-- The states that runs have changed, if they are still those that the runs were given: one that has
-- been erased meanwhile is not brought back.
-- name: changed_states
(SELECT _lanes[item] AS lane, _ids[item] AS id, _tokens[item] AS token, version, value
   FROM unnest(_state_items, _state_versions, _state_values) AS changed (item, version, value)
  WHERE _verdicts[item] = 'may') AS changed

-- name: save_states
DELETE FROM offhook.conversation_states AS saved USING {changed_states}
 WHERE saved.lane = changed.lane AND saved.version = changed.version AND changed.value = '';
UPDATE offhook.conversation_states AS saved
   SET version = changed.token, used = _now, value = changed.value
  FROM {changed_states}
 WHERE saved.lane = changed.lane AND saved.version = changed.version AND changed.value <> '';
INSERT INTO offhook.conversation_states (lane, person, version, used, value)
SELECT changed.lane, messages.sender, changed.token, _now, changed.value
  FROM {changed_states}
  JOIN offhook.messages ON messages.id = changed.id AND messages.lane = changed.lane
 WHERE changed.version = 0 AND changed.value <> ''
    ON CONFLICT (lane) DO NOTHING;

-- What may have left to a person who has opted out is not sent again, if it turns out that it has not,
-- nor is the fallback of what WhatsApp still may refuse.
-- name: not_wanted
_ids_not_wanted := ARRAY(
    SELECT sends.id
      FROM unnest(_lanes, _verdicts, _triggers, _cancels) AS item (lane, verdict, trigger, cancel)
      JOIN offhook.sends
        ON sends.lane = item.lane AND (sends.state IN {may_be_unknown} OR {may_be_refused})
     WHERE item.cancel AND item.verdict = 'may' AND item.trigger IS NOT NULL);
PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids_not_wanted) ORDER BY id FOR UPDATE;
UPDATE offhook.sends SET repeats = {NOT_WANTED} WHERE id = ANY(_ids_not_wanted);
