-- The blobs that layers are made of, by the names that the blob store gave them. A name is used once: a blob
-- whose row has gone is nobody's any more. Blobs of repositories with different keys are different blobs.
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    encryption_key TEXT NOT NULL,        -- the name of the key that it is encrypted with; '' for none
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    UNIQUE (digest, encryption_key)
);
INSERT INTO blobs (digest, encryption_key, name, size)
SELECT digest, '', replace(substr(digest, 1, 9), ':', '/') || '/' || substr(digest, 8), max(size)
FROM layers GROUP BY digest;

CREATE TABLE layers_of_blobs (
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    digest TEXT NOT NULL,
    blob_id INTEGER NOT NULL REFERENCES blobs,
    touched_at REAL NOT NULL,            -- when a push last counted on it
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
INSERT INTO layers_of_blobs (repository_id, digest, blob_id, touched_at)
SELECT layers.repository_id, layers.digest, blobs.id, layers.touched_at
FROM layers JOIN blobs ON blobs.digest = layers.digest;
DROP TABLE layers;
ALTER TABLE layers_of_blobs RENAME TO layers;
CREATE INDEX layers_by_blob ON layers (blob_id);
