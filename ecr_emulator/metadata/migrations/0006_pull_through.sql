-- What repositories get that ECR itself creates: for pushes, replication, the pull-through cache.
CREATE TABLE creation_templates (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    prefix TEXT NOT NULL,                -- without the slash that is always meant, or ROOT
    description TEXT,
    encryption_type TEXT NOT NULL,
    kms_key TEXT,
    resource_tags TEXT NOT NULL,         -- JSON object
    tag_mutability TEXT NOT NULL,
    tag_exclusions TEXT NOT NULL,        -- JSON list of wildcard filters
    repository_policy TEXT,
    lifecycle_policy TEXT,
    applied_for TEXT NOT NULL,           -- JSON list of PULL_THROUGH_CACHE, REPLICATION, CREATE_ON_PUSH
    custom_role_arn TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (account, region, prefix)
) WITHOUT ROWID;

-- Which repositories cache those of another registry.
CREATE TABLE pull_through_rules (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    prefix TEXT NOT NULL,                -- without the slash that is always meant, or ROOT
    upstream_host TEXT NOT NULL,
    upstream_registry TEXT NOT NULL,     -- the API's name of the kind of registry
    upstream_prefix TEXT NOT NULL,       -- likewise, ROOT for any repository
    credential_arn TEXT,
    custom_role_arn TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (account, region, prefix)
) WITHOUT ROWID;

-- Tags that came from an upstream registry, and when they were last compared with it. Once a tag is
-- pointed at another image than this one, by a push, it is no longer compared.
CREATE TABLE upstream_tags (
    repository_id INTEGER NOT NULL REFERENCES repositories ON DELETE CASCADE,
    name TEXT NOT NULL,
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    checked_at REAL NOT NULL,
    PRIMARY KEY (repository_id, name)
) WITHOUT ROWID;
CREATE INDEX upstream_tags_by_image ON upstream_tags (image_id);
