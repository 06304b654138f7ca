-- When an upstream was last asked for the referrers of an image.
CREATE TABLE upstream_referrers (
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    subject_digest TEXT NOT NULL,        -- of an image, or of artifacts alone
    listed_at REAL NOT NULL,
    PRIMARY KEY (repository_id, subject_digest)
) WITHOUT ROWID;
