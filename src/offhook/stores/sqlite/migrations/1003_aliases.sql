-- Lanes of one person: a message under `alias` is put into `lane`. `address` and `person` are what the
-- two are named after: a user id of WhatsApp's and a number.
CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    lane TEXT NOT NULL,
    address TEXT NOT NULL,
    person TEXT NOT NULL,
    seen INTEGER NOT NULL            -- when they were seen together last, to a day
) WITHOUT ROWID;
CREATE INDEX aliases_lane ON aliases (lane);
CREATE INDEX aliases_address ON aliases (address);
CREATE INDEX aliases_person ON aliases (person);
CREATE INDEX aliases_seen ON aliases (seen);
-- Something still runs in a lane that leads to another: both are marked until it has ended.
ALTER TABLE lanes ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;
