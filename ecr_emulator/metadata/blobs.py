"""Blobs: what layers are made of, by the names that the blob store gave them."""

from __future__ import annotations

import json
from collections.abc import Collection

from msgspec import Struct

from ecr_emulator.metadata.database import Database
from ecr_emulator.metadata.layers import UNUSED


class StoredBlob(Struct, frozen=True):
    """A blob in the store; ``size`` in bytes."""

    id: int
    name: str
    size: int


class KnownBlob(StoredBlob, frozen=True):
    """A blob with what its bytes are to be."""

    digest: str
    encryption_key: str


class Blobs:
    """Queries on blobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, digest: str, encryption_key: str) -> StoredBlob | None:
        """Return the blob with a digest that is encrypted with a key."""
        row = self._database.one(
            "SELECT id, name, size FROM blobs WHERE digest = :digest AND encryption_key = :encryption_key",
            digest=digest,
            encryption_key=encryption_key,
        )
        return None if row is None else StoredBlob(**dict(row))

    def page(self, after_id: int, limit: int) -> list[KnownBlob]:
        """Return at most ``limit`` blobs past an id."""
        rows = self._database.all(
            "SELECT id, name, size, digest, encryption_key FROM blobs WHERE id > :after_id"
            " ORDER BY id LIMIT :limit",
            after_id=after_id,
            limit=limit,
        )
        return [KnownBlob(**dict(row)) for row in rows]

    def insert(self, digest: str, encryption_key: str, name: str, size: int) -> int:
        """Add a blob that was published, and return its id."""
        return self._database.insert(
            "id",
            "INSERT INTO blobs (digest, encryption_key, name, size)"
            " VALUES (:digest, :encryption_key, :name, :size)",
            digest=digest,
            encryption_key=encryption_key,
            name=name,
            size=size,
        )

    def scan_unused(
        self, after_id: int, limit: int, before: float | None = None
    ) -> tuple[list[StoredBlob], int | None]:
        """Look at ``limit`` blobs past an id; return those that no layer has, and the last one's id.

        With ``before``, layers that are unused since then count as none. None says that all were looked at.
        """
        counted = "" if before is None else f" AND NOT {UNUSED}"
        rows = self._database.all(
            "SELECT id, name, size, EXISTS (SELECT 1 FROM layers WHERE layers.blob_id = blobs.id"
            f"{counted}) AS used FROM blobs WHERE id > :after_id ORDER BY id LIMIT :limit",
            after_id=after_id,
            limit=limit,
            **({} if before is None else {"before": before}),
        )
        unused = [StoredBlob(row["id"], row["name"], row["size"]) for row in rows if not row["used"]]
        return unused, rows[-1]["id"] if rows else None

    def rename(self, blob_id: int, name: str) -> None:
        """Note that the store has a blob by another name."""
        self._database.run("UPDATE blobs SET name = :name WHERE id = :id", id=blob_id, name=name)

    def delete_unused(self, ids: Collection[int]) -> list[StoredBlob]:
        """Remove those of the blobs that no layer has, and return them: they are nobody's any more."""
        rows = self._database.all(
            "DELETE FROM blobs WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(:ids))"
            " AND NOT EXISTS (SELECT 1 FROM layers WHERE layers.blob_id = blobs.id)"
            " RETURNING id, name, size",
            ids=json.dumps(list(ids)),
        )
        return [StoredBlob(**dict(row)) for row in rows]

    def known(self, names: Collection[str]) -> set[str]:
        """Return those of the names that blobs have."""
        rows = self._database.all(
            "SELECT name FROM blobs WHERE name IN (SELECT value FROM json_each(:names))",
            names=json.dumps(list(names)),
        )
        return {row["name"] for row in rows}
