-- How far an image's signing with a signing profile has come: a row for each profile of the rules that
-- the image matched when it was pushed. Signatures themselves are images, whose subject is the image.
CREATE TABLE signing_statuses (
    image_id INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    profile_arn TEXT NOT NULL,
    status TEXT NOT NULL,                -- IN_PROGRESS, COMPLETE or FAILED
    failure_code TEXT,
    failure_reason TEXT,
    PRIMARY KEY (image_id, profile_arn)
) WITHOUT ROWID;
