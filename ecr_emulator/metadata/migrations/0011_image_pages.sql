-- A page of a repository's images costs the same wherever it begins, and whatever other repositories have.
CREATE INDEX images_by_repository ON images (repository_id, id);
