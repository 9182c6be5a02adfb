-- What handlers remember of conversations, as JSON. `version` is the token of the run that wrote it:
-- a run saves what it was given with its claim, changed, or nothing. Who changes a state has locked
-- the lane of its messages.
CREATE TABLE IF NOT EXISTS offhook.conversation_states (
    lane bytea PRIMARY KEY,
    person text NOT NULL,
    version bigint NOT NULL,
    used timestamptz NOT NULL,
    value bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS conversation_states_used ON offhook.conversation_states (used);
-- Messages are claimed by a function that reads this table. A role that does not own it, and has
-- worked with the others so far, is to go on.
DO $$
DECLARE
    _granted record;
BEGIN
    FOR _granted IN
        SELECT CASE WHEN grantee = 'PUBLIC' THEN grantee::text ELSE quote_ident(grantee) END AS role,
               string_agg(privilege_type, ', ') AS privileges
          FROM information_schema.role_table_grants
         WHERE table_schema = 'offhook' AND table_name = 'sends' AND grantee <> current_user
         GROUP BY grantee
    LOOP
        EXECUTE format('GRANT %s ON offhook.conversation_states TO %s',
                       _granted.privileges, _granted.role);
    END LOOP;
END $$;
