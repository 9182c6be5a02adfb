-- A person's messages, for operators. Statuses are not in it: their sender is ourselves.
CREATE INDEX IF NOT EXISTS messages_sender ON messages (sender) WHERE kind = 'message';
