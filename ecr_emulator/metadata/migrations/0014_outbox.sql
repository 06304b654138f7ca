-- Events of image actions. The newest can be asked for; older ones stay while they wait to be delivered.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    detail_type TEXT NOT NULL,
    repository TEXT NOT NULL,
    happened_at REAL NOT NULL,
    content TEXT NOT NULL                -- JSON, as it is delivered
);

-- Where events go. After a failed attempt a sink is tried again once it is due.
CREATE TABLE event_sinks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0
);

-- The outbox: the events that a sink has not got yet.
CREATE TABLE outbox (
    sink_id INTEGER NOT NULL REFERENCES event_sinks ON DELETE CASCADE,
    event_id INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
    PRIMARY KEY (sink_id, event_id)
) WITHOUT ROWID;
CREATE INDEX outbox_by_event ON outbox (event_id);
