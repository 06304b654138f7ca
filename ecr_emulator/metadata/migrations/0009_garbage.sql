-- When a push last counted on a layer: by an upload, a mount, a replica, or a question whether it is there.
ALTER TABLE layers RENAME COLUMN created_at TO touched_at;
