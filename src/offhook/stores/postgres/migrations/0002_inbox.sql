-- A person's messages, for operators. Statuses are not in it: their sender is ourselves. A webhook
-- may claim a sender of any length; an index entry has an end at 2,700 bytes. It may have been built
-- beforehand, CONCURRENTLY: docs/how-to/rolling-deploys.md.
CREATE INDEX IF NOT EXISTS messages_sender ON offhook.messages (left(sender, 64), id) WHERE kind = 'message';
