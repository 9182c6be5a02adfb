-- What handlers remember of conversations, as JSON. `version` is the token of the run that wrote it:
-- a run saves what it was given with its claim, changed, or nothing. `value` is last, for it may be
-- long, and the others are read without it.
CREATE TABLE conversation_states (
    conversation TEXT PRIMARY KEY,   -- its lane
    person TEXT NOT NULL,
    version INTEGER NOT NULL,
    used INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX conversation_states_used ON conversation_states (used);
