"""Layers: which blobs a repository may use, and how many of its images name them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping

from msgspec import Struct

from ecr_emulator.metadata.database import Database, as_json


class Layer(Struct, frozen=True):
    """A blob of a repository; ``size`` in bytes, ``blob_name`` what the blob store has it by.

    ``encryption_key`` is the name of the key that it is encrypted with, ``media_type`` what the last image
    that names it says. How many images name it is counted.
    """

    digest: str
    size: int
    blob_id: int
    blob_name: str
    encryption_key: str
    media_type: str | None
    image_count: int
    active_image_count: int

    @property
    def is_archived(self) -> bool:
        """Whether images name it, and none of them is active."""
        return self.image_count > 0 and self.active_image_count == 0


class LayerCount(Struct, frozen=True):
    """How many images of its repository name a layer, as is noted, and how many of these are active."""

    digest: str
    image_count: int
    active_image_count: int


_LAYERS = (
    "SELECT layers.digest, layers.size, blob_id, name AS blob_name, encryption_key, media_type, image_count,"
    " active_image_count FROM layers JOIN blobs ON blobs.id = layers.blob_id"
)

# A layer that no image of its repository names, and that no push has counted on since ``:before``.
UNUSED = "(image_count = 0 AND touched_at <= :before)"


class Layers:
    """Queries on layers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, repository_id: int, digest: str) -> Layer | None:
        """Return one layer of a repository."""
        row = self._database.one(
            f"{_LAYERS} WHERE repository_id = :repository_id AND layers.digest = :digest",
            repository_id=repository_id,
            digest=digest,
        )
        return None if row is None else Layer(**dict(row))

    def among(self, repository_id: int, digests: Collection[str]) -> list[Layer]:
        """Return those of the digests that are layers of the repository."""
        rows = self._database.all(
            f"{_LAYERS} WHERE repository_id = :repository_id"
            " AND layers.digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=as_json(digests),
        )
        return [Layer(**dict(row)) for row in rows]

    def present(self, repository_id: int, digests: Collection[str]) -> dict[str, int]:
        """Return the sizes of those of the digests that are layers of the repository."""
        rows = self._database.all(
            "SELECT digest, size FROM layers WHERE repository_id = :repository_id"
            " AND digest IN (SELECT value FROM json_each(:digests)) AND blob_id IS NOT NULL",
            repository_id=repository_id,
            digests=as_json(digests),
        )
        return {row["digest"]: row["size"] for row in rows}

    def used(self, repository_id: int) -> list[Layer]:
        """Return the layers of a repository that its images name."""
        rows = self._database.all(
            f"{_LAYERS} WHERE repository_id = :repository_id AND image_count > 0 ORDER BY layers.digest",
            repository_id=repository_id,
        )
        return [Layer(**dict(row)) for row in rows]

    def insert(self, repository_id: int, digest: str, blob_id: int, touched_at: float) -> None:
        """Make a blob a layer, or touch the layer that is there already, and make it of this blob."""
        self._database.run(
            "INSERT INTO layers (repository_id, digest, blob_id, size, image_count, active_image_count,"
            " touched_at) SELECT :repository_id, :digest, id, size, 0, 0, :touched_at FROM blobs"
            " WHERE id = :blob_id ON CONFLICT (repository_id, digest) DO UPDATE SET"
            " touched_at = excluded.touched_at, blob_id = excluded.blob_id, size = excluded.size",
            repository_id=repository_id,
            digest=digest,
            blob_id=blob_id,
            touched_at=touched_at,
        )

    def untouched(self, repository_id: int, digests: Collection[str], before: float) -> list[str]:
        """Return those of the digests that are layers of the repository, untouched since ``before``."""
        rows = self._database.all(
            "SELECT digest FROM layers WHERE repository_id = :repository_id AND touched_at <= :before"
            " AND blob_id IS NOT NULL"
            " AND digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=as_json(digests),
            before=before,
        )
        return [row["digest"] for row in rows]

    def touch(self, repository_id: int, digests: Collection[str], now: float) -> None:
        """Note that a push counts on layers; those that are not there are passed over."""
        self._update(repository_id, digests, "touched_at = :now", now=now)

    def scan(self, before: float, after: int, limit: int) -> list[tuple[int, bool]]:
        """Return the ids of at most ``limit`` layers past one, and whether each is unused."""
        rows = self._database.all(
            f"SELECT id, {UNUSED} AS unused FROM layers WHERE id > :after ORDER BY id LIMIT :limit",
            before=before,
            after=after,
            limit=limit,
        )
        return [(row["id"], bool(row["unused"])) for row in rows]

    def delete_unused(self, ids: Collection[int], before: float) -> int:
        """Remove those of the layers that are unused, and return how many that were."""
        return self._database.run(
            "DELETE FROM layers WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(:ids))"
            f" AND {UNUSED}",
            ids=json.dumps(list(ids)),
            before=before,
        )

    def name(self, repository_id: int, media_types: Mapping[str, str]) -> dict[str, int]:
        """Count one more image, an active one, that names layers: media types by digest.

        Returns the sizes of those that are there. The others are noted, and get their blobs once they come.
        """
        rows = self._database.all(
            "UPDATE layers SET image_count = image_count + 1, active_image_count = active_image_count + 1"
            " WHERE repository_id = :repository_id AND digest IN (SELECT value FROM json_each(:digests))"
            " RETURNING digest, size, media_type",
            repository_id=repository_id,
            digests=as_json(media_types),
        )
        noted = {row["digest"]: row["media_type"] for row in rows}
        if noted != media_types:
            self._note_media_types(repository_id, noted, media_types)
        return {row["digest"]: row["size"] for row in rows if row["size"] is not None}

    def _note_media_types(
        self, repository_id: int, noted: Mapping[str, str | None], media_types: Mapping[str, str]
    ) -> None:
        known, unknown = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for digest, media_type in media_types.items():
            if digest not in noted:
                unknown[media_type].append(digest)
            elif noted[digest] != media_type:
                known[media_type].append(digest)
        for media_type, digests in known.items():
            self._update(repository_id, digests, "media_type = :media_type", media_type=media_type)
        for media_type, digests in unknown.items():
            self._database.run(
                "INSERT INTO layers (repository_id, digest, media_type, image_count, active_image_count,"
                " touched_at) SELECT :repository_id, value, :media_type, 1, 1, 0.0 FROM json_each(:digests)",
                repository_id=repository_id,
                media_type=media_type,
                digests=as_json(digests),
            )

    def forget(self, repository_id: int, digests: Collection[str], *, was_active: bool) -> None:
        """Count one image less that names layers. Those that are not there have nothing left to be noted."""
        counted = "image_count = image_count - 1, active_image_count = active_image_count - :active"
        self._update(repository_id, digests, counted, active=int(was_active))
        self._database.run(
            "DELETE FROM layers WHERE repository_id = :repository_id"
            " AND digest IN (SELECT value FROM json_each(:digests)) AND blob_id IS NULL AND image_count = 0",
            repository_id=repository_id,
            digests=as_json(digests),
        )

    def set_active(self, repository_id: int, digests: Collection[str], *, is_active: bool) -> None:
        """Count one of the images that name layers among the active ones, or no longer."""
        counted = "active_image_count = active_image_count + :one"
        self._update(repository_id, digests, counted, one=1 if is_active else -1)

    def _update(self, repository_id: int, digests: Collection[str], change: str, **values: object) -> None:
        self._database.run(
            f"UPDATE layers SET {change} WHERE repository_id = :repository_id"
            " AND digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=as_json(digests),
            **values,
        )

    def is_named(self, repository_id: int, digest: str) -> bool:
        """Tell whether an image of the repository names a layer, which may not be there."""
        row = self._database.one(
            "SELECT 1 FROM layers WHERE repository_id = :repository_id AND digest = :digest"
            " AND image_count > 0",
            repository_id=repository_id,
            digest=digest,
        )
        return row is not None

    def counts(self, repository_id: int) -> list[LayerCount]:
        """Return what is noted of all layers that the repository has, or that its images name."""
        rows = self._database.all(
            "SELECT digest, image_count, active_image_count FROM layers"
            " WHERE repository_id = :repository_id ORDER BY digest",
            repository_id=repository_id,
        )
        return [LayerCount(**dict(row)) for row in rows]

    def mismatched(self, limit: int) -> list[tuple[int, str]]:
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
