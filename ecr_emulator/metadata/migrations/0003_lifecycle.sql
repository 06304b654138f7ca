-- When a lifecycle policy is to be evaluated next. When those that are there were set is not known.
ALTER TABLE repositories ADD COLUMN lifecycle_due_at REAL;
UPDATE repositories SET lifecycle_due_at = 0 WHERE lifecycle_policy_text IS NOT NULL;
CREATE INDEX repositories_by_lifecycle_due ON repositories (lifecycle_due_at)
    WHERE lifecycle_due_at IS NOT NULL;

-- The last preview of a lifecycle policy that was asked for.
CREATE TABLE lifecycle_previews (
    repository_id INTEGER PRIMARY KEY REFERENCES repositories ON DELETE CASCADE,
    policy_text TEXT NOT NULL,
    status TEXT NOT NULL,                -- IN_PROGRESS, COMPLETE or FAILED
    started_at REAL NOT NULL,
    ended_at REAL
);
CREATE INDEX lifecycle_previews_in_progress ON lifecycle_previews (repository_id)
    WHERE status = 'IN_PROGRESS';

-- What a policy would do, one row for each image that it acts on.
CREATE TABLE lifecycle_preview_results (
    repository_id INTEGER NOT NULL REFERENCES lifecycle_previews ON DELETE CASCADE,
    position INTEGER NOT NULL,           -- the oldest image is at 1
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    storage_class TEXT NOT NULL,         -- STANDARD or ARCHIVE
    action TEXT NOT NULL,                -- EXPIRE or TRANSITION
    target_storage_class TEXT,
    rule_priority INTEGER,
    PRIMARY KEY (repository_id, position)
) WITHOUT ROWID;
CREATE UNIQUE INDEX lifecycle_preview_results_by_image ON lifecycle_preview_results (image_id);
