-- What operating the store needs: counts, ages and pruning that do not read what is done.

-- It came by way of a spool: received before its neighbours, and perhaps out of order.
ALTER TABLE messages ADD COLUMN spooled INTEGER NOT NULL DEFAULT 0;
-- Its form holds no more than what names it (OFFHOOK_KEEP_BODIES=false).
ALTER TABLE messages ADD COLUMN reduced INTEGER NOT NULL DEFAULT 0;

-- What is to be reduced or pruned next, and how many have settled of late.
CREATE INDEX messages_settled ON messages (state, reduced, settled) WHERE settled IS NOT NULL;
-- How long the oldest has waited, and how many wait.
CREATE INDEX messages_oldest ON messages (received) WHERE state IN ('open', 'running', 'waiting');
CREATE INDEX messages_waiting ON messages (due) WHERE state = 'waiting';
-- Which keys are to be pruned next, and how many webhooks have come of late.
CREATE INDEX dedupe_keys_received ON dedupe_keys (received);

-- How many rows these tables have, kept where rows come and go: counting them reads an index. In
-- `sequences`, whose page every commit writes anyway.
INSERT INTO sequences (name, value)
    SELECT 'rows of messages', count(*) FROM messages UNION ALL
    SELECT 'rows of sends', count(*) FROM sends;
