-- Times are milliseconds since the epoch. States: offhook.core.lifecycle.

-- The truth about repeats. A row outlives its message (a captured webhook stays a repeat).
CREATE TABLE dedupe_keys (
    key BLOB PRIMARY KEY,
    message INTEGER NOT NULL,
    received INTEGER NOT NULL
) WITHOUT ROWID;

-- A lane has a row while it has something to do. `due` is when somebody should look at it: at once,
-- when a retry falls due, or when the lease (token, until, owner) runs out. So a crashed worker's
-- lane needs no watcher: it simply falls due.
CREATE TABLE lanes (
    queue INTEGER NOT NULL,          -- 0: messages, 1: sends
    lane TEXT NOT NULL,
    due INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    until INTEGER,
    owner TEXT,
    suspect INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, lane)
) WITHOUT ROWID;
CREATE INDEX lanes_due ON lanes (queue, suspect, due);
CREATE INDEX lanes_token ON lanes (token) WHERE until IS NOT NULL;

CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,          -- the order within the lane; a replay takes a new one
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    lane TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    sid TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    form BLOB NOT NULL,
    received INTEGER NOT NULL,
    due INTEGER NOT NULL,
    notice_due INTEGER,              -- when the person is told to wait; NULL when not, or told
    holds INTEGER NOT NULL DEFAULT 1,-- while waiting: whether the lane waits with it
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,-- of its last lease; stays, so that settling can be repeated
    started INTEGER,
    settled INTEGER,
    error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX messages_live ON messages (lane, place)
    WHERE state IN ('open', 'running', 'waiting');
CREATE INDEX messages_set_aside ON messages (state, id)
    WHERE state IN ('parked', 'discarded', 'dead');
CREATE INDEX messages_notice ON messages (notice_due) WHERE notice_due IS NOT NULL;
CREATE INDEX messages_sid ON messages (sid);

-- Runs that did not complete, and operators' decisions. A first run that completes needs no row.
CREATE TABLE attempts (
    message INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER NOT NULL,
    "trigger" TEXT NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX attempts_message ON attempts (message);

-- The ledger.
CREATE TABLE sends (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message INTEGER NOT NULL,
    identity TEXT NOT NULL,
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    body TEXT NOT NULL,
    media TEXT NOT NULL,             -- JSON
    content_sid TEXT NOT NULL,
    content_variables TEXT NOT NULL, -- JSON
    created INTEGER NOT NULL,
    due INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    settled INTEGER,
    sid TEXT NOT NULL DEFAULT '',
    delivery TEXT NOT NULL DEFAULT '',
    error_code TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    UNIQUE (message, identity)
);
CREATE INDEX sends_live ON sends (lane, id) WHERE state IN ('pending', 'sending');
CREATE INDEX sends_lane ON sends (lane, created);
CREATE INDEX sends_sid ON sends (sid) WHERE sid <> '';
CREATE INDEX sends_unsettled ON sends (state, id) WHERE state NOT IN ('sent', 'pending', 'sending');

CREATE TABLE sequences (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO sequences (name, value) VALUES ('message', 0), ('token', 0);
