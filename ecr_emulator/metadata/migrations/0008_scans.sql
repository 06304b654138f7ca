-- The last scan of an image, one of each type: switching between them brings the other's back.
CREATE TABLE scans (
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    scan_type TEXT NOT NULL,             -- BASIC or ENHANCED
    status TEXT NOT NULL,                -- what the scan came to, or that it has yet to be done
    description TEXT NOT NULL,
    requested_at REAL NOT NULL,
    due_at REAL,                         -- when it is to be performed, for the first time or again
    completed_at REAL,
    source_updated_at REAL,              -- when the vulnerability data was last changed
    severity_counts TEXT NOT NULL,       -- JSON object, numbers of findings by severity
    platform TEXT,
    architecture TEXT,
    PRIMARY KEY (image_id, scan_type)
) WITHOUT ROWID;
CREATE INDEX scans_by_due ON scans (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE scan_findings (
    image_id INTEGER NOT NULL,
    scan_type TEXT NOT NULL,
    position INTEGER NOT NULL,           -- from 1, the worst first
    identity TEXT NOT NULL,              -- the vulnerability, the package and its version
    first_observed_at REAL NOT NULL,
    content TEXT NOT NULL,               -- JSON object, the finding
    PRIMARY KEY (image_id, scan_type, position),
    FOREIGN KEY (image_id, scan_type) REFERENCES scans ON DELETE CASCADE
) WITHOUT ROWID;
