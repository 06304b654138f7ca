-- With which key an upload is encrypted, by its name, '' for none; and the bytes that the blob store has of it,
-- which are not as many as were received where it is encrypted.
ALTER TABLE uploads ADD COLUMN encryption_key TEXT NOT NULL DEFAULT '';
ALTER TABLE uploads ADD COLUMN stored_size INTEGER NOT NULL DEFAULT 0;
UPDATE uploads SET stored_size = size;
