"""Layers: which blobs a repository may use."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from ecr_emulator.metadata.database import Database


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob of a repository; ``size`` in bytes."""

    digest: str
    size: int


class Layers:
    """Queries on layers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, repository_id: int, digest: str) -> Layer | None:
        """Return one layer of a repository."""
        row = self._database.one(
            "SELECT digest, size FROM layers WHERE repository_id = :repository_id AND digest = :digest",
            repository_id=repository_id,
            digest=digest,
        )
        return None if row is None else Layer(row["digest"], row["size"])

    def present(self, repository_id: int, digests: Collection[str]) -> dict[str, int]:
        """Return the sizes of those of the digests that are layers of the repository."""
        rows = self._database.all(
            "SELECT digest, size FROM layers WHERE repository_id = :repository_id"
            " AND digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=json.dumps(list(digests)),
        )
        return {row["digest"]: row["size"] for row in rows}

    def insert(self, repository_id: int, digest: str, size: int, created_at: float) -> None:
        """Add a layer; one that is there already stays as it is."""
        self._database.run(
            "INSERT INTO layers (repository_id, digest, size, created_at)"
            " VALUES (:repository_id, :digest, :size, :created_at) ON CONFLICT DO NOTHING",
            repository_id=repository_id,
            digest=digest,
            size=size,
            created_at=created_at,
        )

    def delete(self, repository_id: int, digest: str) -> None:
        """Remove a layer from a repository; its blob stays while another repository has it."""
        self._database.run(
            "DELETE FROM layers WHERE repository_id = :repository_id AND digest = :digest",
            repository_id=repository_id,
            digest=digest,
        )
