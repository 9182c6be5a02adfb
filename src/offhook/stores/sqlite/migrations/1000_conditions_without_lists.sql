-- To find out whether a row belongs into an index whose condition has a list of three states, SQLite
-- puts the three into a table, for each such index and for the row as it was and as it will be: a
-- third of what an INSERT took, two thirds of an UPDATE. Alternatives are compared one by one. An
-- index is used by queries with the same words only, so earlier versions can't do without the old.
DROP INDEX messages_live;
CREATE INDEX messages_live ON messages (lane, place)
    WHERE (state = 'open' OR state = 'running' OR state = 'waiting');
DROP INDEX messages_oldest;
CREATE INDEX messages_oldest ON messages (received)
    WHERE (state = 'open' OR state = 'running' OR state = 'waiting');
DROP INDEX messages_set_aside;
CREATE INDEX messages_set_aside ON messages (state, id)
    WHERE (state = 'parked' OR state = 'discarded' OR state = 'dead');
DROP INDEX sends_unsettled;
CREATE INDEX sends_unsettled ON sends (state, id)
    WHERE (state <> 'sent' AND state <> 'pending' AND state <> 'sending');
