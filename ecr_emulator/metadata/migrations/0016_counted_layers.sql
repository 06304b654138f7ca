-- A layer counts the images that name it, in place of a row for each of them: most images of a repository name
-- the same layers. Layers have numbers, so that those that were pushed together lie together. One that images
-- name and that is not there (yet) has no blob.
CREATE TABLE counted_layers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    digest TEXT NOT NULL,
    blob_id INTEGER REFERENCES blobs,
    size INTEGER,                        -- that of its blob
    media_type TEXT,                     -- what the last image that names it says
    image_count INTEGER NOT NULL,
    active_image_count INTEGER NOT NULL, -- those of them that are not archived
    touched_at REAL NOT NULL,            -- when a push last counted on it
    UNIQUE (repository_id, digest)
);
INSERT INTO counted_layers (repository_id, digest, blob_id, size, image_count, active_image_count, touched_at)
SELECT repository_id, layers.digest, blob_id, size, 0, 0, touched_at
FROM layers JOIN blobs ON blobs.id = layers.blob_id ORDER BY blob_id, repository_id;
INSERT INTO counted_layers (repository_id, digest, image_count, active_image_count, touched_at)
SELECT DISTINCT repository_id, digest, 0, 0, 0.0
FROM image_references AS naming
WHERE kind = 'layer' AND NOT EXISTS (
    SELECT 1 FROM layers WHERE layers.repository_id = naming.repository_id AND layers.digest = naming.digest
);
UPDATE counted_layers SET
    media_type = (
        SELECT max(naming.media_type) FROM image_references AS naming
        WHERE naming.repository_id = counted_layers.repository_id AND naming.kind = 'layer'
        AND naming.digest = counted_layers.digest
    ),
    image_count = (
        SELECT count(*) FROM image_references AS naming
        WHERE naming.repository_id = counted_layers.repository_id AND naming.kind = 'layer'
        AND naming.digest = counted_layers.digest
    ),
    active_image_count = (
        SELECT count(*) FROM image_references AS naming JOIN images ON images.id = naming.image_id
        WHERE naming.repository_id = counted_layers.repository_id AND naming.kind = 'layer'
        AND naming.digest = counted_layers.digest AND images.status = 'ACTIVE'
    );
DROP TABLE layers;
ALTER TABLE counted_layers RENAME TO layers;
CREATE INDEX layers_by_blob ON layers (blob_id) WHERE blob_id IS NOT NULL;

-- The images that an index lists.
CREATE TABLE index_children (
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    digest TEXT NOT NULL,
    repository_id INTEGER NOT NULL,      -- after the key: SQLite 3.40 else takes it for NULL when it checks
    PRIMARY KEY (image_id, digest)
) WITHOUT ROWID;
INSERT INTO index_children (image_id, digest, repository_id)
SELECT image_id, digest, repository_id FROM image_references WHERE kind = 'image';
DROP TABLE image_references;
CREATE INDEX index_children_by_digest ON index_children (repository_id, digest);
