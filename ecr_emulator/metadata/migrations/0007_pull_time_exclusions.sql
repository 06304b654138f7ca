-- Principals whose pulls of a registry's images are not recorded.
CREATE TABLE pull_time_exclusions (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    principal_arn TEXT NOT NULL,
    PRIMARY KEY (account, region, principal_arn)
) WITHOUT ROWID;
