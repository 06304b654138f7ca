"""Layer uploads that are under way."""

from __future__ import annotations

import json
from collections.abc import Collection

from msgspec import Struct

from ecr_emulator.metadata.database import Database


class Upload(Struct, frozen=True):
    """An upload: ``size`` bytes of it were received and acknowledged, as ``stored_size`` in the store."""

    id: str
    repository_id: int
    size: int
    part_count: int
    smallest_part: int | None
    last_part: int | None
    started_at: float
    updated_at: float
    encryption_key: str
    stored_size: int


class Uploads:
    """Queries on uploads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, repository_id: int, upload_id: str) -> Upload | None:
        """Return one upload of a repository."""
        row = self._database.one(
            "SELECT * FROM uploads WHERE id = :id AND repository_id = :repository_id",
            id=upload_id,
            repository_id=repository_id,
        )
        return None if row is None else Upload(**dict(row))

    def insert(self, upload_id: str, repository_id: int, encryption_key: str, started_at: float) -> None:
        """Begin an upload that is encrypted with a key, by its name."""
        self._database.run(
            "INSERT INTO uploads"
            " (id, repository_id, size, part_count, started_at, updated_at, encryption_key, stored_size)"
            " VALUES (:id, :repository_id, 0, 0, :now, :now, :encryption_key, 0)",
            id=upload_id,
            repository_id=repository_id,
            encryption_key=encryption_key,
            now=started_at,
        )

    def advance(self, upload: Upload, size: int, stored_size: int, now: float) -> bool:
        """Acknowledge that the upload now has ``size`` bytes; false if it has changed meanwhile."""
        changed = self._database.run(
            "UPDATE uploads SET size = :size, stored_size = :stored_size, part_count = part_count + 1,"
            " updated_at = :now,"
            " smallest_part = CASE WHEN last_part IS NULL THEN NULL"
            " WHEN smallest_part < last_part THEN smallest_part ELSE last_part END,"
            " last_part = :part WHERE id = :id AND size = :from_size AND part_count = :part_count",
            id=upload.id,
            from_size=upload.size,
            part_count=upload.part_count,
            part=size - upload.size,
            size=size,
            stored_size=stored_size,
            now=now,
        )
        return changed == 1

    def delete(self, upload_id: str) -> bool:
        """End an upload; false if it was not there."""
        return self._database.run("DELETE FROM uploads WHERE id = :id", id=upload_id) == 1

    def delete_stale(self, upload_id: str, before: float) -> bool:
        """End an upload that nobody has gone on with since ``before``; false if there is no such."""
        changed = self._database.run(
            "DELETE FROM uploads WHERE id = :id AND updated_at <= :before", id=upload_id, before=before
        )
        return changed == 1

    def stale(self, before: float, after_id: str, limit: int) -> list[str]:
        """Return at most ``limit`` ids of uploads untouched since ``before``, from the first past an id."""
        rows = self._database.all(
            "SELECT id FROM uploads WHERE updated_at <= :before AND id > :after_id ORDER BY id LIMIT :limit",
            before=before,
            after_id=after_id,
            limit=limit,
        )
        return [row["id"] for row in rows]

    def known(self, upload_ids: Collection[str]) -> set[str]:
        """Return those of the ids that are uploads'."""
        rows = self._database.all(
            "SELECT id FROM uploads WHERE id IN (SELECT value FROM json_each(:ids))",
            ids=json.dumps(list(upload_ids)),
        )
        return {row["id"] for row in rows}
