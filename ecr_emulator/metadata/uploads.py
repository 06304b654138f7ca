"""Layer uploads that are under way."""

from __future__ import annotations

from dataclasses import dataclass

from ecr_emulator.metadata.database import Database


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload: ``size`` bytes of it were received and acknowledged."""

    id: str
    repository_id: int
    size: int
    part_count: int
    smallest_part: int | None
    last_part: int | None
    started_at: float
    updated_at: float


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

    def insert(self, upload_id: str, repository_id: int, started_at: float) -> None:
        """Begin an upload."""
        self._database.run(
            "INSERT INTO uploads (id, repository_id, size, part_count, started_at, updated_at)"
            " VALUES (:id, :repository_id, 0, 0, :now, :now)",
            id=upload_id,
            repository_id=repository_id,
            now=started_at,
        )

    def advance(self, upload: Upload, size: int, now: float) -> bool:
        """Acknowledge that the upload now has ``size`` bytes; false if it has changed meanwhile."""
        changed = self._database.run(
            "UPDATE uploads SET size = :size, part_count = part_count + 1, updated_at = :now,"
            " smallest_part = CASE WHEN last_part IS NULL THEN NULL"
            " ELSE min(coalesce(smallest_part, last_part), last_part) END,"
            " last_part = :part WHERE id = :id AND size = :from_size AND part_count = :part_count",
            id=upload.id,
            from_size=upload.size,
            part_count=upload.part_count,
            part=size - upload.size,
            size=size,
            now=now,
        )
        return changed == 1

    def delete(self, upload_id: str) -> bool:
        """End an upload; false if it was not there."""
        return self._database.run("DELETE FROM uploads WHERE id = :id", id=upload_id) == 1

    def ids(self) -> list[str]:
        """Return the ids of all uploads."""
        return [row["id"] for row in self._database.all("SELECT id FROM uploads")]
