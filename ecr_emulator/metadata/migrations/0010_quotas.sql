-- How many images a repository has, so that a push need not count them.
ALTER TABLE repositories ADD COLUMN image_count INTEGER NOT NULL DEFAULT 0;
UPDATE repositories SET image_count = (SELECT count(*) FROM images WHERE images.repository_id = repositories.id);
