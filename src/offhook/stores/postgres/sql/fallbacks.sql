-- Templates that take the place of texts outside of WhatsApp's window.

-- What is not wanted any more (its person has opted out) has none.
-- name: may_fall_back
sends.fallback <> '' AND sends.fell_back = '' AND sends.repeats <> {NOT_WANTED}

-- The window may have been closed for it.
-- name: may_be_refused
{may_fall_back} AND sends.resting = '{send_target(ACCEPT)}' AND sends.delivery NOT IN {DELIVERED}

-- All parts of a text have the same fallback. It has gone, or is going, if one of them is it. What a
-- replay has freed, or an operator has withdrawn, is none. OFFSET 0, or the planner may have all sends
-- read for it; and found by the message, for a lane may have thousands.
-- name: template_goes
EXISTS (SELECT FROM offhook.sends AS template
         WHERE template.message = sends.message
           AND template.fallback = sends.fallback AND template.fell_back <> ''
           AND template.state NOT IN ('{SendState.REPLACED}', '{SendState.CANCELED}') OFFSET 0)

-- A Messaging Service has its own choice of numbers, and a person may have two addresses.
-- name: window_is_open
EXISTS (SELECT FROM (SELECT sends.recipient AS address
                      UNION SELECT address FROM offhook.aliases WHERE person = sends.recipient
                      UNION SELECT person FROM offhook.aliases WHERE address = sends.recipient
                     ) AS known
         CROSS JOIN LATERAL (
               SELECT account_sid, lane, recipient, received FROM offhook.messages
                WHERE left(messages.sender, 64) = left(known.address, 64)
                  AND messages.sender = known.address AND kind = '{Kind.MESSAGE}'
                ORDER BY id DESC LIMIT {NEWEST}) AS told
         WHERE told.account_sid = sends.account_sid
           AND told.received > _now - make_interval(secs => {WINDOW})
           AND (told.lane = sends.lane OR told.recipient = sends.sender
                OR sends.sender LIKE 'MG%'))

-- Have the heads of locked lanes become their fallbacks, if they are due and their windows closed.
-- Another part of a text is not sent, once the template goes; then another send is the head.
-- name: close_windows
CREATE OR REPLACE FUNCTION offhook.close_windows(_locked bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _heads bigint[];
BEGIN
    LOOP
        _now := {now};
        _heads := ARRAY(
            SELECT sends.id FROM unnest(_locked) AS turn (lane) CROSS JOIN LATERAL (
                   SELECT * FROM offhook.sends
                    WHERE sends.lane = turn.lane AND resting IS NULL
                    ORDER BY id LIMIT 1) AS sends
             WHERE sends.due <= _now AND sends.state IN {send_sources(CLAIM)} AND {may_fall_back}
               AND ({template_goes} OR NOT {window_is_open}));
        EXIT WHEN cardinality(_heads) = 0;
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_heads) ORDER BY id FOR UPDATE;
        UPDATE offhook.sends
           SET state = '{send_target(FALL_BACK)}', settled = _now, error = '{window_closed}'
         WHERE id = ANY(_heads) AND sends.state IN {send_sources(CLAIM)} AND {template_goes};
        UPDATE offhook.sends
           SET content_sid = fallback::json ->> 'sid',
               content_variables = (fallback::json -> 'variables')::text,
               fell_back = '{window_closed}'
         WHERE id = ANY(_heads) AND sends.state IN {send_sources(CLAIM)};
    END LOOP;
END $function$

-- What must not go meanwhile: message and request are locked before lanes and sends.
-- name: lock_origins(ids)
PERFORM 1 FROM offhook.messages
  WHERE id = ANY(ARRAY(SELECT message FROM offhook.sends WHERE id = ANY({ids}) AND message > 0))
  ORDER BY id FOR SHARE;
PERFORM 1 FROM offhook.send_requests
  WHERE id = ANY(ARRAY(SELECT -message FROM offhook.sends WHERE id = ANY({ids}) AND message < 0))
  ORDER BY id FOR UPDATE

-- Have the fallbacks sent of what WhatsApp's window was closed for. All is locked.
-- name: fall_back
CREATE OR REPLACE FUNCTION offhook.fall_back(_ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _refused bigint[];
BEGIN
    _now := {now};
    _refused := ARRAY(
        SELECT id FROM offhook.sends
         WHERE id = ANY(_ids) AND {may_fall_back} AND error_code IN {WINDOW_CODES}
           AND sends.state IN {send_sources(DISMISS)});
    WITH written AS (
        INSERT INTO offhook.sends (id, message, identity, lane, state, account_sid, sender,
                                   recipient, body, media, content_sid, content_variables,
                                   fallback, fell_back, created, due)
        SELECT nextval('offhook.send_ids'), message, fallback::json ->> 'identity', lane,
               '{SendState.PENDING}', account_sid, sender, recipient, '', '[]',
               fallback::json ->> 'sid', (fallback::json -> 'variables')::text,
               fallback, '{window_refused}' || error_code, _now, _now
          FROM (SELECT * FROM offhook.sends WHERE id = ANY(_refused) AND NOT {template_goes}
                 ORDER BY id) AS sends
            ON CONFLICT DO NOTHING
        RETURNING id
    )
    INSERT INTO offhook.tallies (what, change)
    SELECT 'sends', count(*) FROM written HAVING count(*) > 0;
    UPDATE offhook.sends
       SET state = '{send_target(FALL_BACK)}', settled = _now,
           error = '{window_refused}' || error_code
     WHERE id = ANY(_refused);
END $function$
