-- The store's time: how far it is ahead of the server's clock, which somebody may set. `seen` is when
-- a claim has last found it right, to some seconds. `version` counts how often it has been put right,
-- the last time because the clock had been set by `step` seconds.
CREATE TABLE IF NOT EXISTS offhook.clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    distance interval NOT NULL DEFAULT '0',
    seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    version integer NOT NULL DEFAULT 0,
    step float8 NOT NULL DEFAULT 0
);
INSERT INTO offhook.clock DEFAULT VALUES ON CONFLICT DO NOTHING;
