-- Lanes of one person: a message under `alias` is put into `lane`. `address` and `person` are what the
-- two are named after: a user id of WhatsApp's and a number. A user id without a known number has a
-- row that leads to itself, so that there is one to be locked.
CREATE TABLE IF NOT EXISTS offhook.aliases (
    alias bytea PRIMARY KEY,
    lane bytea NOT NULL,
    lane_name text NOT NULL,
    address text NOT NULL,
    person text NOT NULL,
    seen timestamptz NOT NULL        -- when they were seen together last, to a day
);
CREATE INDEX IF NOT EXISTS aliases_lane ON offhook.aliases (lane);
CREATE INDEX IF NOT EXISTS aliases_address ON offhook.aliases (address);
CREATE INDEX IF NOT EXISTS aliases_person ON offhook.aliases (person);
CREATE INDEX IF NOT EXISTS aliases_seen ON offhook.aliases (seen);
-- Something still runs in a lane that leads to another: both are marked until it has ended.
ALTER TABLE offhook.lanes ADD COLUMN IF NOT EXISTS joined boolean NOT NULL DEFAULT false;
CREATE INDEX IF NOT EXISTS lanes_joined ON offhook.lanes (due) WHERE joined;
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
        EXECUTE format('GRANT %s ON offhook.aliases TO %s', _granted.privileges, _granted.role);
    END LOOP;
END $$;
