-- Store a batch of webhooks; return which of them, from 1, were new. NULL, and nothing is stored, if
-- something has to be learnt of their senders first.
--
-- The lanes are locked first, so a lane's numbers are drawn in the order of its commits. Then come
-- the keys, in their order, or two batches could wait for each other: a key that another batch is
-- about to write is waited for, whichever lane it is in. Nothing but the arguments is joined, so
-- there is no nested loop.
-- name: accept
CREATE OR REPLACE FUNCTION offhook.accept(
    _lanes bytea[], _keys bytea[], _kinds text[], _names text[],
    _accounts text[], _sids text[], _senders text[], _recipients text[],
    _forms bytea[], _notices float8[], _ages float8[], _spooled bool[],
    _aliases bytea[], _alias_names text[], _gathered boolean
) RETURNS integer[] LANGUAGE plpgsql VOLATILE
{same_plan}
SET enable_nestloop = off
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _new integer[];
    _others text[];
BEGIN
    {durably}
    IF cardinality(_aliases) > 0 THEN
        SELECT * INTO _lanes, _names, _others
          FROM offhook.{resolve}(_keys, _lanes, _names, _senders, _aliases, _alias_names, _gathered);
        IF _lanes IS NULL THEN RETURN NULL; END IF;
    END IF;
    {touch_lanes(messages, _lanes)};
    _now := {now};
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest(_lanes, _keys, _kinds, _names, _accounts, _sids, _senders,
                             _recipients, _forms, _notices, _ages, _spooled)
                 WITH ORDINALITY AS g (lane, key, kind, name, account, sid, sender,
                                       recipient, form, notice, age, spooled, n)
    ), unknown AS (
        INSERT INTO offhook.dedupe_keys (lane, key, received)
        SELECT lane, key, _now FROM given ORDER BY key ON CONFLICT DO NOTHING RETURNING key
    ), fresh AS MATERIALIZED (
        SELECT given.*, nextval('offhook.message_ids') AS id
          FROM (SELECT given.* FROM given JOIN unknown USING (key) ORDER BY n) AS given
    ), stored AS (
        INSERT INTO offhook.messages (
            id, place, kind, state, lane, lane_name, account_sid, sid, sender, recipient, form,
            received, due, notice_due, spooled)
        SELECT id, id, kind, '{State.OPEN}', lane, name, account, sid, sender, recipient, form,
               _now + make_interval(secs => -age), _now,
               _now + make_interval(secs => notice - age), spooled
          FROM fresh
    ), tallied AS (
        INSERT INTO offhook.tallies (what, change)
        SELECT 'messages', count(*) FROM fresh HAVING count(*) > 0
    )
    SELECT coalesce(array_agg(n), '{}') INTO _new FROM fresh;
    IF EXISTS (SELECT 1 FROM offhook.send_requests WHERE recipient <> '') THEN
        PERFORM offhook.{cancel_answered}(_new, _kinds, _lanes, _accounts, _senders, _others,
                                           _recipients);
    END IF;
    RETURN _new;
END $function$
