-- Unknown sends are looked up in Twilio's message list (offhook.core.unknown_sends). `looks`: how
-- often, since it is unknown. `look_due`: the next time; NULL is a minute after it became so.
-- `missing`: since when the list lacks it. `repeats`: how often it may be sent again; -1 if it is
-- not wanted any more.
ALTER TABLE sends ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sends ADD COLUMN look_due INTEGER;
ALTER TABLE sends ADD COLUMN missing INTEGER;
ALTER TABLE sends ADD COLUMN repeats INTEGER NOT NULL DEFAULT 3;
CREATE INDEX IF NOT EXISTS sends_unknown ON sends (settled) WHERE state = 'unknown';
