-- Unknown sends are looked up in Twilio's message list (offhook.core.unknown_sends). `looks`: how
-- often, since it is unknown. `look_due`: the next time; NULL is a minute after it became so.
-- `missing`: since when the list lacks it. `repeats`: how often it may be sent again; -1 if it is
-- not wanted any more. The index may have been built beforehand, CONCURRENTLY:
-- docs/how-to/rolling-deploys.md.
ALTER TABLE offhook.sends
    ADD COLUMN IF NOT EXISTS looks integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS look_due timestamptz,
    ADD COLUMN IF NOT EXISTS missing timestamptz,
    ADD COLUMN IF NOT EXISTS repeats integer NOT NULL DEFAULT 3;
CREATE INDEX IF NOT EXISTS sends_unknown ON offhook.sends (settled) WHERE resting = 'unknown';
