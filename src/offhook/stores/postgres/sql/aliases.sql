-- Lanes of one person: a number's and those of the user ids that were seen with it.
--
-- In the order of locks (sql/lanes.sql) aliases come first, in the order of their keys.

-- Find the lanes of webhooks whose senders have user ids. What is known of these is locked, so that
-- nobody else finds another lane until the webhooks are stored. NULL if something has to be learnt
-- or gathered before.
-- name: resolve
CREATE OR REPLACE FUNCTION offhook.resolve(
    _keys bytea[], _lanes bytea[], _names text[], _senders text[], _aliases bytea[],
    _alias_names text[], _gathered boolean
) RETURNS TABLE (lanes bytea[], names text[], others text[]) LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _known bytea[];
BEGIN
    _now := {now};
    INSERT INTO offhook.aliases (alias, lane, lane_name, address, person, seen)
    SELECT alias, alias, min(name), min({address_in(name)}), min({address_in(name)}), _now
      FROM unnest(_aliases, _lanes, _alias_names) AS given (alias, lane, name)
     WHERE alias = lane GROUP BY alias ORDER BY alias
        ON CONFLICT DO NOTHING;
    _known := ARRAY(SELECT alias FROM offhook.aliases WHERE alias = ANY(_aliases)
                     ORDER BY alias FOR UPDATE);
    IF EXISTS (SELECT 1 FROM unnest(_keys, _lanes, _aliases) AS given (key, lane, alias)
                WHERE alias <> lane
                  AND NOT EXISTS (SELECT 1 FROM offhook.aliases AS found
                                   WHERE found.alias = given.alias AND found.lane = given.lane)
                  AND NOT EXISTS (SELECT 1 FROM offhook.dedupe_keys AS repeat
                                   WHERE repeat.key = given.key)
    ) THEN RETURN; END IF;
    IF NOT _gathered AND EXISTS (
        SELECT 1 FROM unnest(_known) AS given (alias)
         WHERE EXISTS (SELECT 1 FROM offhook.aliases AS found
                        WHERE found.alias = given.alias AND found.lane <> found.alias)
           AND (EXISTS (SELECT 1 FROM offhook.lanes
                         WHERE queue = {messages_queue} AND lane = given.alias AND NOT joined)
                OR EXISTS (SELECT 1 FROM offhook.lanes
                            WHERE queue = {sends_queue} AND lane = given.alias))
    ) THEN RETURN; END IF;
    UPDATE offhook.aliases SET seen = _now
     WHERE alias = ANY(_known) AND seen < _now - interval '1 day';
    RETURN QUERY
    SELECT array_agg(coalesce(found.lane, given.lane) ORDER BY n),
           array_agg(coalesce(found.lane_name, given.name) ORDER BY n),
           array_agg(CASE WHEN given.sender = found.person THEN found.address
                          ELSE coalesce(found.person, '') END ORDER BY n)
      FROM unnest(_lanes, _names, _senders, _aliases) WITH ORDINALITY
           AS given (lane, name, sender, alias, n)
      LEFT JOIN LATERAL (
           SELECT * FROM offhook.aliases WHERE aliases.alias = given.alias LIMIT 1) AS found ON true;
END $function$

-- name: address_in(of)
substring({of} FROM '[^|]*$')

-- Remember which lanes are one person's.
-- name: learn
CREATE OR REPLACE FUNCTION offhook.learn(_aliases bytea[], _lanes bytea[], _names text[],
                                         _addresses text[])
RETURNS void LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
BEGIN
    {durably}
    _now := {now};
    INSERT INTO offhook.aliases (alias, lane, lane_name, address, person, seen)
    SELECT alias, lane, name, address, {address_in(name)}, _now
      FROM unnest(_aliases, _lanes, _names, _addresses) AS given (alias, lane, name, address)
     ORDER BY alias
        ON CONFLICT DO NOTHING;
    PERFORM 1 FROM offhook.aliases WHERE alias = ANY(_aliases || _lanes) ORDER BY alias FOR UPDATE;
    DELETE FROM offhook.aliases WHERE alias = ANY(_lanes);
    -- A person with another number: what waits under the one before is theirs, unless that has been
    -- seen with another user id, and so is somebody else's by now.
    INSERT INTO offhook.aliases (alias, lane, lane_name, address, person, seen)
    SELECT before.lane, given.lane, given.name, before.person, {address_in(given.name)}, _now
      FROM unnest(_aliases, _lanes, _names) AS given (alias, lane, name)
      JOIN offhook.aliases AS before ON before.alias = given.alias
     WHERE before.lane <> given.lane AND before.lane <> before.alias AND before.lane <> ALL(_lanes)
       AND NOT EXISTS (SELECT 1 FROM offhook.aliases AS other
                        WHERE other.lane = before.lane AND other.alias <> before.alias)
        ON CONFLICT (alias) DO UPDATE
       SET lane = excluded.lane, lane_name = excluded.lane_name, person = excluded.person;
    UPDATE offhook.aliases
       SET lane = given.lane, lane_name = given.name, person = {address_in(given.name)}, seen = _now
      FROM unnest(_aliases, _lanes, _names) AS given (alias, lane, name)
     WHERE aliases.alias = given.alias AND aliases.lane <> given.lane;
END $function$

-- Have all that is in lanes which lead to others in those, as far as it may be now; for no lanes in
-- particular, where something may have ended. What is running stays, for its run names the lane it
-- was claimed in: until it has ended, the other lane has the same lease, and both are marked.
-- name: gather
CREATE OR REPLACE FUNCTION offhook.gather(_targets bytea[])
RETURNS void LANGUAGE plpgsql VOLATILE
{by_index}
AS $function$
#variable_conflict use_column
DECLARE
    _now timestamptz;
    _members bytea[]; _ids bigint[]; _runners bigint[]; _running bytea[]; _held bytea[];
    _each record; _sending record; _kept bigint;
BEGIN
    {durably}
    _targets := coalesce(_targets, ARRAY(
        SELECT DISTINCT coalesce(aliases.lane, marked.lane)
          FROM offhook.lanes AS marked LEFT JOIN offhook.aliases ON aliases.alias = marked.lane
         WHERE marked.joined AND marked.due <= {now}));
    _members := ARRAY(SELECT alias FROM offhook.aliases
                       WHERE lane = ANY(_targets) AND alias <> lane);
    {touch_lanes(messages, _targets || _members)};
    _now := {now};
    SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(lane), '{}') INTO _runners, _held
      FROM ({runners(_targets || _members)}) AS found;
    _running := ARRAY(SELECT lane FROM unnest(_held) AS lane WHERE lane = ANY(_members));

    _ids := ARRAY(
        SELECT id FROM offhook.messages
         WHERE lane = ANY(_members) AND resting IS NULL AND id <> ALL(_runners)
         UNION
        SELECT messages.id FROM offhook.aliases JOIN offhook.messages
            ON left(sender, 64) = left(address, 64) AND kind = '{Kind.MESSAGE}'
           AND sender = address AND messages.lane = ANY(_members)
         WHERE aliases.alias = ANY(_members) AND messages.id <> ALL(_runners));
    PERFORM 1 FROM offhook.messages WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
    UPDATE offhook.messages SET lane = aliases.lane, lane_name = aliases.lane_name
      FROM offhook.aliases WHERE messages.id = ANY(_ids) AND aliases.alias = messages.lane;

    -- Of two states, the one used last stays. A run in either lane saves the state that it was given,
    -- and not over another.
    FOR _each IN
        SELECT alias, lane FROM offhook.aliases
         WHERE alias = ANY(_members) AND alias <> ALL(_held) AND lane <> ALL(_held) ORDER BY alias
    LOOP
        INSERT INTO offhook.conversation_states (lane, person, version, used, value)
        SELECT _each.lane, person, version, used, value FROM offhook.conversation_states
         WHERE conversation_states.lane = _each.alias
            ON CONFLICT (lane) DO UPDATE
           SET person = excluded.person, version = excluded.version, used = excluded.used,
               value = excluded.value
         WHERE excluded.used > conversation_states.used;
        DELETE FROM offhook.conversation_states WHERE conversation_states.lane = _each.alias;
    END LOOP;

    {lock_requests_in(_members)};
    {touch_lanes(sends, _targets || _members)};
    PERFORM 1 FROM offhook.sends WHERE lane = ANY(_members) ORDER BY id FOR UPDATE;
    FOR _each IN SELECT alias, lane FROM offhook.aliases
                  WHERE alias = ANY(_members) ORDER BY alias
    LOOP
        -- What is being sent takes its lease along, unless something of the other lane is being
        -- sent, or it is of what runs.
        _kept := 0;
        SELECT id, message INTO _sending FROM offhook.sends
         WHERE sends.lane = _each.alias AND resting IS NULL
           AND state = '{send_target(CLAIM)}' LIMIT 1;
        IF FOUND THEN
            _kept := _sending.id;
            IF _sending.message <> ALL(_runners) AND NOT EXISTS (
                SELECT 1 FROM offhook.sends
                 WHERE sends.lane = _each.lane AND resting IS NULL
                   AND state = '{send_target(CLAIM)}')
            THEN
                {take_over_lease(sends, _each.lane, _each.alias)};
                UPDATE offhook.lanes SET token = 0, until = NULL, owner = NULL
                 WHERE queue = {sends_queue} AND lane = _each.alias;
                _kept := 0;
            END IF;
        END IF;
        UPDATE offhook.sends SET lane = _each.lane
         WHERE sends.lane = _each.alias AND message <> ALL(_runners) AND id <> _kept;
    END LOOP;
    {advance(sends, _targets || _members, where=lanes.until IS NULL)};

    DELETE FROM offhook.lanes
     WHERE queue = {messages_queue} AND lane = ANY(_members) AND lane <> ALL(_running);
    UPDATE offhook.lanes SET joined = true, suspect = false
     WHERE queue = {messages_queue} AND lane = ANY(_running);
    FOR _each IN
        SELECT target, (SELECT alias FROM offhook.aliases
                         WHERE aliases.lane = target AND alias = ANY(_running)
                         ORDER BY alias LIMIT 1) AS member
          FROM unnest(_targets) AS target
    LOOP
        IF _each.target = ANY(_held) THEN
            UPDATE offhook.lanes
               SET joined = _each.member IS NOT NULL OR EXISTS (
                       SELECT 1 FROM offhook.aliases JOIN offhook.conversation_states AS left_there
                           ON left_there.lane = aliases.alias
                        WHERE aliases.lane = _each.target AND aliases.alias <> aliases.lane),
                   suspect = false
             WHERE queue = {messages_queue} AND lane = _each.target;
        ELSIF _each.member IS NOT NULL THEN
            {take_over_lease(messages, _each.target, _each.member)};
        ELSE
            UPDATE offhook.lanes SET joined = false
             WHERE queue = {messages_queue} AND lane = _each.target;
            {advance(messages, ARRAY[_each.target])};
        END IF;
    END LOOP;
END $function$

-- What runs in lanes under their own leases.
-- name: runners(lanes)
SELECT begun.id, lanes.lane FROM {lanes_in(messages, {lanes})} AS turn
  JOIN offhook.lanes ON lanes.queue = turn.queue AND lanes.lane = turn.lane
 CROSS JOIN LATERAL (
       SELECT id FROM offhook.messages
        WHERE messages.lane = turn.lane AND messages.token = lanes.token AND resting IS NULL
          AND messages.state IN {sources(RESCUE)}
        ORDER BY place LIMIT 1) AS begun
 WHERE lanes.until IS NOT NULL

-- name: take_over_lease(table, lane, from)
UPDATE offhook.lanes
   SET due = theirs.due, token = theirs.token, until = theirs.until, owner = theirs.owner,
       joined = theirs.joined, suspect = false
  FROM (SELECT * FROM offhook.lanes WHERE queue = {{table}_queue} AND lane = {from}) AS theirs
 WHERE lanes.queue = {{table}_queue} AND lanes.lane = {lane}

-- name: addresses_of
SELECT address FROM offhook.aliases WHERE person = ANY($1::text[])
 UNION
SELECT person FROM offhook.aliases WHERE address = ANY($1::text[])

-- name: forget_aliases
DELETE FROM offhook.aliases WHERE alias = ANY(ARRAY(
    SELECT alias FROM offhook.aliases
     WHERE address = ANY($1::text[]) OR person = ANY($1::text[])
     ORDER BY alias FOR UPDATE))

-- name: prune_aliases
DELETE FROM offhook.aliases WHERE alias = ANY(ARRAY(
    SELECT alias FROM offhook.aliases
     WHERE seen < {now_once} - make_interval(secs => $1)
     ORDER BY seen LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING 1
