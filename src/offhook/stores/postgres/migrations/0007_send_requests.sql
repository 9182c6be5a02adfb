-- Sends that answer no message. Those of request 7 have -7 for their message.
CREATE TABLE IF NOT EXISTS offhook.send_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea UNIQUE,                -- of 16 bytes; NULL for none
    stage smallint NOT NULL,         -- offhook.stores.rows.Stage
    created timestamptz NOT NULL,
    due timestamptz NOT NULL,        -- when its sends are, or were, to join their lane
    recipient text NOT NULL          -- whose message cancels it; empty for nobody's
);
CREATE INDEX IF NOT EXISTS send_requests_due ON offhook.send_requests (stage, due);
CREATE INDEX IF NOT EXISTS send_requests_unless_reply ON offhook.send_requests (stage, recipient)
    WHERE recipient <> '';
-- Webhooks are stored by a function that reads this table. A role that does not own it, and has worked
-- with the others so far, is to go on.
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
        EXECUTE format('GRANT %s ON offhook.send_requests TO %s',
                       _granted.privileges, _granted.role);
    END LOOP;
END $$;
