-- A key is one webhook, in whichever lane: of a form that is cut anew, the lane may be another. The
-- older version goes on with it, for its own statements name neither constraint nor index. It may
-- have been built beforehand, CONCURRENTLY: docs/how-to/rolling-deploys.md.
DO $$
BEGIN
    IF to_regclass('offhook.dedupe_keys_key') IS NULL THEN
        LOCK TABLE offhook.dedupe_keys IN SHARE ROW EXCLUSIVE MODE;
        DELETE FROM offhook.dedupe_keys AS later USING offhook.dedupe_keys AS earlier
         WHERE later.key = earlier.key
           AND (later.received, later.lane) > (earlier.received, earlier.lane);
        CREATE UNIQUE INDEX dedupe_keys_key ON offhook.dedupe_keys (key);
    END IF;
END $$;
ALTER TABLE offhook.dedupe_keys DROP CONSTRAINT dedupe_keys_pkey;
ALTER TABLE offhook.dedupe_keys ADD CONSTRAINT dedupe_keys_pkey
    PRIMARY KEY USING INDEX dedupe_keys_key;
