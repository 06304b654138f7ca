-- How the copying of an image to another registry stands, for each push of it since there was a rule:
-- with a tag, or by digest ('').
CREATE TABLE replications (
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    destination_account TEXT NOT NULL,
    destination_region TEXT NOT NULL,
    tag TEXT NOT NULL,
    status TEXT NOT NULL,                -- IN_PROGRESS, COMPLETE or FAILED
    failure_code TEXT,
    PRIMARY KEY (image_id, destination_account, destination_region, tag)
) WITHOUT ROWID;

-- Runs that copy what a registry had before its rules.
CREATE TABLE backfills (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    destination_account TEXT NOT NULL,
    destination_region TEXT NOT NULL,
    status TEXT NOT NULL,
    failure_code TEXT,
    started_at REAL NOT NULL,
    ended_at REAL,
    total INTEGER,                       -- of its replications; null until they are known
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL
);
CREATE INDEX backfills_by_registry ON backfills (account, region, number);

-- The replications of a backfill: one for each tag of an image, and for each image without one. They
-- outlive their images.
CREATE TABLE backfill_replications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    backfill_number INTEGER NOT NULL REFERENCES backfills ON DELETE CASCADE,
    repository_name TEXT NOT NULL,
    digest TEXT NOT NULL,
    tag TEXT,
    is_index BOOLEAN NOT NULL,
    status TEXT NOT NULL,                -- WAITING, IN_PROGRESS (to be tried again), COMPLETE, FAILED
    failure_code TEXT
);
CREATE INDEX backfill_replications_by_backfill ON backfill_replications (backfill_number, id);
CREATE INDEX backfill_replications_by_status ON backfill_replications (backfill_number, status, id);
CREATE INDEX backfill_replications_by_failure ON backfill_replications (backfill_number, failure_code)
    WHERE failure_code IS NOT NULL;
