"""Layers: which blobs a repository may use."""

from __future__ import annotations

import json
from collections.abc import Collection

from msgspec import Struct

from ecr_emulator.metadata.database import Database


class Layer(Struct, frozen=True):
    """A blob of a repository; ``size`` in bytes, ``blob_name`` what the blob store has it by.

    ``encryption_key`` is the name of the key that it is encrypted with.
    """

    digest: str
    size: int
    blob_id: int
    blob_name: str
    encryption_key: str


# A layer that no image of its repository names, and that no push has counted on since ``:before``.
UNUSED = (
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
            "SELECT layers.digest, size, blob_id, name AS blob_name, encryption_key"
            " FROM layers JOIN blobs ON blobs.id = layers.blob_id"
            " WHERE repository_id = :repository_id AND layers.digest = :digest",
            repository_id=repository_id,
            digest=digest,
        )
        return None if row is None else Layer(**dict(row))

    def among(self, repository_id: int, digests: Collection[str]) -> list[Layer]:
        """Return those of the digests that are layers of the repository."""
        rows = self._database.all(
            "SELECT layers.digest, size, blob_id, name AS blob_name, encryption_key"
            " FROM layers JOIN blobs ON blobs.id = layers.blob_id"
            " WHERE repository_id = :repository_id"
            " AND layers.digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=json.dumps(list(digests)),
        )
        return [Layer(**dict(row)) for row in rows]

    def present(self, repository_id: int, digests: Collection[str]) -> dict[str, int]:
        """Return the sizes of those of the digests that are layers of the repository."""
        rows = self._database.all(
            "SELECT layers.digest, size FROM layers JOIN blobs ON blobs.id = layers.blob_id"
            " WHERE repository_id = :repository_id"
            " AND layers.digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=json.dumps(list(digests)),
        )
        return {row["digest"]: row["size"] for row in rows}

    def used(self, repository_id: int) -> list[Layer]:
        """Return the layers of a repository that its images name."""
        rows = self._database.all(
            "SELECT layers.digest, size, blob_id, name AS blob_name, encryption_key"
            " FROM layers JOIN blobs ON blobs.id = layers.blob_id"
            " WHERE repository_id = :repository_id AND EXISTS (SELECT 1 FROM image_references AS naming"
            " WHERE naming.repository_id = layers.repository_id AND naming.kind = 'layer'"
            " AND naming.digest = layers.digest) ORDER BY layers.digest",
            repository_id=repository_id,
        )
        return [Layer(**dict(row)) for row in rows]

    def insert(self, repository_id: int, digest: str, blob_id: int, touched_at: float) -> None:
        """Make a blob a layer, or touch the layer that is there already, and make it of this blob."""
        self._database.run(
            "INSERT INTO layers (repository_id, digest, blob_id, touched_at)"
            " VALUES (:repository_id, :digest, :blob_id, :touched_at)"
            " ON CONFLICT (repository_id, digest) DO UPDATE SET touched_at = excluded.touched_at,"
            " blob_id = excluded.blob_id",
            repository_id=repository_id,
            digest=digest,
            blob_id=blob_id,
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
            f"SELECT repository_id, digest, {UNUSED} AS unused FROM layers"
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
                f"DELETE FROM layers WHERE repository_id = :repository_id AND digest = :digest AND {UNUSED}",
                repository_id=repository_id,
                digest=digest,
                before=before,
            )
            for repository_id, digest in keys
        )

    def mismatched(self, limit: int) -> list[LayerKey]:
        """Return at most ``limit`` layers whose blob has another digest."""
        rows = self._database.all(
            "SELECT repository_id, layers.digest FROM layers JOIN blobs ON blobs.id = layers.blob_id"
            " WHERE layers.digest <> blobs.digest ORDER BY repository_id, layers.digest LIMIT :limit",
            limit=limit,
        )
        return [(row["repository_id"], row["digest"]) for row in rows]

    def repositories_of(self, blob_id: int, limit: int) -> list[int]:
        """Return the ids of at most ``limit`` repositories of which a blob is a layer."""
        rows = self._database.all(
            "SELECT repository_id FROM layers WHERE blob_id = :blob_id ORDER BY repository_id LIMIT :limit",
            blob_id=blob_id,
            limit=limit,
        )
        return [row["repository_id"] for row in rows]

    def delete(self, repository_id: int, digest: str) -> None:
        """Remove a layer from a repository; its blob stays while another repository has it."""
        self._database.run(
            "DELETE FROM layers WHERE repository_id = :repository_id AND digest = :digest",
            repository_id=repository_id,
            digest=digest,
        )
