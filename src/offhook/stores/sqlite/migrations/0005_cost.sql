-- What a send costs: the segments of an SMS, and its price in millionths, once Twilio has said it.
ALTER TABLE sends ADD COLUMN segments INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sends ADD COLUMN price INTEGER;
ALTER TABLE sends ADD COLUMN currency TEXT NOT NULL DEFAULT '';
