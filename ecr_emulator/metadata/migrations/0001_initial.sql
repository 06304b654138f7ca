-- Times are seconds since 1970 (UTC); a repository is its row's id everywhere but in its own table,
-- so that ids are never used again (AUTOINCREMENT).

CREATE TABLE repositories (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    tag_mutability TEXT NOT NULL,
    tag_exclusions TEXT NOT NULL,        -- JSON list of wildcard filters
    scan_on_push BOOLEAN NOT NULL,
    encryption_type TEXT NOT NULL,
    kms_key TEXT,
    policy_text TEXT,
    lifecycle_policy_text TEXT,
    lifecycle_evaluated_at REAL,
    UNIQUE (account, region, name)
);

CREATE TABLE repository_tags (
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (repository_id, key)
) WITHOUT ROWID;

-- A blob that a repository may use; its bytes are in the blob store, once for all repositories.
CREATE TABLE layers (
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX layers_by_digest ON layers (digest);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    size INTEGER NOT NULL,               -- bytes received and acknowledged
    part_count INTEGER NOT NULL,
    smallest_part INTEGER,               -- bytes of the smallest part but the last
    last_part INTEGER,                   -- bytes of the last part
    started_at REAL NOT NULL,
    updated_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_repository ON uploads (repository_id);

CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT,                  -- the manifest's artifactType, else its config's media type
    config_media_type TEXT,
    subject_digest TEXT,
    annotations TEXT,                    -- JSON object, as the referrers API shows it
    manifest_size INTEGER NOT NULL,
    size INTEGER NOT NULL,               -- bytes of config and layers, or of the largest child
    pushed_at REAL NOT NULL,
    last_pulled_at REAL,
    status TEXT NOT NULL,                -- ACTIVE, ARCHIVED or ACTIVATING
    last_archived_at REAL,
    last_activated_at REAL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX images_by_subject ON images (repository_id, subject_digest) WHERE subject_digest IS NOT NULL;

-- Apart from images, so that lists of images do not read past manifests.
CREATE TABLE manifests (
    image_id INTEGER PRIMARY KEY REFERENCES images ON DELETE CASCADE,
    content BLOB NOT NULL
);

-- What a manifest names: its config and layers (kind 'layer'), its child manifests (kind 'image').
CREATE TABLE image_references (
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    repository_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (image_id, kind, digest)
) WITHOUT ROWID;
CREATE INDEX image_references_by_digest ON image_references (repository_id, kind, digest);

CREATE TABLE tags (
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    name TEXT NOT NULL,
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (repository_id, name)
) WITHOUT ROWID;
CREATE INDEX tags_by_image ON tags (image_id, name);

-- What the server keeps about itself: the key that signs its tokens.
CREATE TABLE server_values (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
