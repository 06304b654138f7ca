-- What is configured for a whole registry (an account in a region), by name: its policy, its
-- replication and scanning configurations, its account settings. Values are texts or JSON.
CREATE TABLE registry_values (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (account, region, name)
) WITHOUT ROWID;

-- Work that a call leaves to an engine, written in the call's own transaction.
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    engine TEXT NOT NULL,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    payload TEXT NOT NULL,               -- JSON
    due_at REAL NOT NULL,
    attempts INTEGER NOT NULL            -- how often it was tried and put off
);
CREATE INDEX tasks_by_due ON tasks (engine, due_at);
