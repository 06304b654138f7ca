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


# A layer that no image of its repository names, and that no push has counted on since ``:before``.
_UNUSED = (
    "(touched_at <= :before AND NOT EXISTS (SELECT 1 FROM image_references AS naming"
    " WHERE naming.repository_id = layers.repository_id AND naming.kind = 'layer'"
    " AND naming.digest = layers.digest))"
)

# A layer's repository and digest.
LayerKey = tuple[int, str]


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

    def insert(self, repository_id: int, digest: str, size: int, touched_at: float) -> None:
        """Add a layer, or touch one that is there already."""
        self._database.run(
            "INSERT INTO layers (repository_id, digest, size, touched_at)"
            " VALUES (:repository_id, :digest, :size, :touched_at)"
            " ON CONFLICT (repository_id, digest) DO UPDATE SET touched_at = excluded.touched_at",
            repository_id=repository_id,
            digest=digest,
            size=size,
            touched_at=touched_at,
        )

    def untouched(self, repository_id: int, digests: Collection[str], before: float) -> list[str]:
        """Return those of the digests that are layers of the repository, untouched since ``before``."""
        rows = self._database.all(
            "SELECT digest FROM layers WHERE repository_id = :repository_id AND touched_at <= :before"
            " AND digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=json.dumps(list(digests)),
            before=before,
        )
        return [row["digest"] for row in rows]

    def touch(self, repository_id: int, digests: Collection[str], now: float) -> None:
        """Note that a push counts on layers; those that are not there are passed over."""
        self._database.run(
            "UPDATE layers SET touched_at = :now WHERE repository_id = :repository_id"
            " AND digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=json.dumps(list(digests)),
            now=now,
        )

    def scan(self, before: float, after: LayerKey, limit: int) -> list[tuple[LayerKey, bool]]:
        """Return at most ``limit`` layers past one, and whether each is unused."""
        rows = self._database.all(
            f"SELECT repository_id, digest, {_UNUSED} AS unused FROM layers"
            " WHERE (repository_id, digest) > (:repository_id, :digest)"
            " ORDER BY repository_id, digest LIMIT :limit",
            before=before,
            repository_id=after[0],
            digest=after[1],
            limit=limit,
        )
        return [((row["repository_id"], row["digest"]), bool(row["unused"])) for row in rows]

    def delete_unused(self, keys: Collection[LayerKey], before: float) -> int:
        """Remove those of the layers that are unused, and return how many that were."""
        return sum(
            self._database.run(
                f"DELETE FROM layers WHERE repository_id = :repository_id AND digest = :digest AND {_UNUSED}",
                repository_id=repository_id,
                digest=digest,
                before=before,
            )
            for repository_id, digest in keys
        )

    def unnamed(self, digests: Collection[str], before: float | None = None) -> list[str]:
        """Return those of the digests that no layer has, or with ``before`` none but unused ones."""
        used = "" if before is None else f" AND NOT {_UNUSED}"
        rows = self._database.all(
            "SELECT value AS digest FROM json_each(:digests)"
            f" WHERE NOT EXISTS (SELECT 1 FROM layers WHERE layers.digest = value{used})",
            digests=json.dumps(list(digests)),
            **({} if before is None else {"before": before}),
        )
        return [row["digest"] for row in rows]

    def delete(self, repository_id: int, digest: str) -> None:
        """Remove a layer from a repository; its blob stays while another repository has it."""
        self._database.run(
            "DELETE FROM layers WHERE repository_id = :repository_id AND digest = :digest",
            repository_id=repository_id,
            digest=digest,
        )
