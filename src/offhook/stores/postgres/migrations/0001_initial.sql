-- States: offhook.core.lifecycle. A lane is 16 bytes of BLAKE2b over its name: names may be long,
-- and every unique key begins with or contains the lane, so that the tables can be distributed by it.

CREATE SEQUENCE offhook.message_ids CACHE 1;  -- also the places in lanes: no caching, or order is lost
CREATE SEQUENCE offhook.send_ids CACHE 1;
CREATE SEQUENCE offhook.tokens;

-- The truth about repeats. A row outlives its message (a captured webhook stays a repeat).
CREATE TABLE offhook.dedupe_keys (
    lane bytea NOT NULL,
    key bytea NOT NULL,
    received timestamptz NOT NULL,
    PRIMARY KEY (lane, key)
);
CREATE INDEX dedupe_keys_received ON offhook.dedupe_keys (received);

-- A lane has a row while it has something to do. `due` is when somebody should look at it: at once,
-- when a retry falls due, or when the lease (token, until, owner) runs out. So a crashed worker's
-- lane needs no watcher: it simply falls due. Who changes messages (0) or sends (1) of a lane locks
-- its row first.
CREATE TABLE offhook.lanes (
    queue smallint NOT NULL,         -- 0: messages, 1: sends
    lane bytea NOT NULL,
    due timestamptz NOT NULL,
    token bigint NOT NULL DEFAULT 0,
    until timestamptz,
    owner text,
    suspect boolean NOT NULL DEFAULT false,
    PRIMARY KEY (queue, lane)
);
CREATE INDEX lanes_due ON offhook.lanes (queue, suspect, due);
CREATE INDEX lanes_token ON offhook.lanes (token) WHERE until IS NOT NULL;

CREATE TABLE offhook.messages (
    id bigint NOT NULL,
    lane bytea NOT NULL,
    lane_name text NOT NULL,
    place bigint NOT NULL,           -- the order within the lane; a replay takes a new one
    kind text NOT NULL,
    state text NOT NULL,
    -- Its state when it has no place in its lane. No index names `state` itself: a change from open
    -- to running then touches none of them, and the row's new version stays in its page (HOT).
    resting text GENERATED ALWAYS AS (
        CASE WHEN state NOT IN ('open', 'running', 'waiting') THEN state END) STORED,
    account_sid text NOT NULL,
    sid text NOT NULL,
    sender text NOT NULL,
    recipient text NOT NULL,
    form bytea NOT NULL,
    received timestamptz NOT NULL,
    due timestamptz NOT NULL,
    notice_due timestamptz,          -- when the person is told to wait; NULL when not, or told
    holds boolean NOT NULL DEFAULT true, -- while waiting: whether the lane waits with it
    attempts integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0, -- of its last lease; stays, so that settling can be repeated
    started timestamptz,
    settled timestamptz,
    error text NOT NULL DEFAULT '',
    spooled boolean NOT NULL DEFAULT false,
    reduced boolean NOT NULL DEFAULT false,
    PRIMARY KEY (id, lane)
);
CREATE INDEX messages_live ON offhook.messages (lane, place) WHERE resting IS NULL;
CREATE INDEX messages_oldest ON offhook.messages (received) WHERE resting IS NULL;
CREATE INDEX messages_set_aside ON offhook.messages (resting, id) WHERE resting <> 'done';
CREATE INDEX messages_settled ON offhook.messages (resting, reduced, settled)
    WHERE resting IS NOT NULL AND settled IS NOT NULL;
CREATE INDEX messages_notice ON offhook.messages (notice_due) WHERE notice_due IS NOT NULL;
-- A webhook may claim a SID of any length; an index entry has an end at 2,700 bytes.
CREATE INDEX messages_sid ON offhook.messages (left(sid, 64));
CREATE INDEX messages_received ON offhook.messages USING brin (received)
    WITH (autosummarize = on);

-- Runs that did not complete, and operators' decisions. A first run that completes needs no row.
CREATE TABLE offhook.attempts (
    id bigint GENERATED ALWAYS AS IDENTITY,
    lane bytea NOT NULL,
    message bigint NOT NULL,
    number integer NOT NULL,
    started timestamptz,
    ended timestamptz NOT NULL,
    trigger text NOT NULL,
    error text NOT NULL
);
CREATE INDEX attempts_message ON offhook.attempts (message, id);

-- The ledger.
CREATE TABLE offhook.sends (
    id bigint NOT NULL,
    message bigint NOT NULL,
    identity text NOT NULL,
    lane bytea NOT NULL,
    state text NOT NULL,
    resting text GENERATED ALWAYS AS (
        CASE WHEN state NOT IN ('pending', 'sending') THEN state END) STORED,
    account_sid text NOT NULL,
    sender text NOT NULL,
    recipient text NOT NULL,
    body text NOT NULL,
    media text NOT NULL,             -- JSON
    content_sid text NOT NULL,
    content_variables text NOT NULL, -- JSON
    created timestamptz NOT NULL,
    due timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0,
    settled timestamptz,
    sid text NOT NULL DEFAULT '',
    delivery text NOT NULL DEFAULT '',
    error_code text NOT NULL DEFAULT '',
    error text NOT NULL DEFAULT '',
    PRIMARY KEY (id, lane)
);
CREATE UNIQUE INDEX sends_identity ON offhook.sends (message, lane, identity);
CREATE INDEX sends_live ON offhook.sends (lane, id) WHERE resting IS NULL;
CREATE INDEX sends_lane ON offhook.sends (lane, created);
CREATE INDEX sends_sid ON offhook.sends (left(sid, 64)) WHERE sid <> '';
CREATE INDEX sends_unsettled ON offhook.sends (resting, id) WHERE resting <> 'sent';

-- How many rows messages and sends have: the sum of all changes. Counting reads an index; one row
-- would be a queue of all writers. Upkeep adds the changes up.
CREATE TABLE offhook.tallies (what text NOT NULL, change bigint NOT NULL);

-- Every message leaves two dead versions of its lane behind, at the very place in `lanes_due` where
-- the next claim looks. The default is to wait for a fifth of the table: of a backlog of a million
-- lanes that is never. A fixed number of rows, and no pauses: the table is small.
ALTER TABLE offhook.lanes SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE offhook.tallies SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
-- Room in each page for the version that a claim makes; and the live indexes swept in time.
ALTER TABLE offhook.messages SET (
    fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);
ALTER TABLE offhook.sends SET (
    fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000);
