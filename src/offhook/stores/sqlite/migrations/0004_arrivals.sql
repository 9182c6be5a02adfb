-- How far each arrivals log has been sorted into this store.
CREATE TABLE arrival_logs (name BLOB PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
