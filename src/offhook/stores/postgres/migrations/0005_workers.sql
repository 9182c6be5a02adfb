-- Workers that hold a lock in a session of their own (sql/presence.sql). Such locks are gone after a
-- crash of the server and on another that takes its place, though the workers live. So is what
-- stands in an unlogged table.
CREATE UNLOGGED TABLE IF NOT EXISTS offhook.workers (
    owner text PRIMARY KEY,
    key integer NOT NULL,            -- of the lock; each session has its own
    server timestamptz NOT NULL      -- when the server was started that has given the lock
);
