-- Sends that answer no message. Those of request 7 have -7 for their message.
CREATE TABLE send_requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- a number is never used again
    key BLOB UNIQUE,                       -- of 16 bytes; NULL for none
    stage INTEGER NOT NULL,                -- offhook.stores.rows.Stage
    due INTEGER NOT NULL,                  -- when its sends are, or were, to join their lane
    recipient TEXT NOT NULL DEFAULT ''     -- whose message cancels it; empty for nobody's
);
CREATE INDEX send_requests_due ON send_requests (stage, due);
CREATE INDEX send_requests_unless_reply ON send_requests (stage, recipient) WHERE recipient <> '';
