-- What a send costs: the segments of an SMS, and its price in millionths, once Twilio has said it.
-- Constant defaults: no row is written anew.
ALTER TABLE offhook.sends ADD COLUMN IF NOT EXISTS segments integer NOT NULL DEFAULT 0;
ALTER TABLE offhook.sends ADD COLUMN IF NOT EXISTS price bigint;
ALTER TABLE offhook.sends ADD COLUMN IF NOT EXISTS currency text NOT NULL DEFAULT '';
