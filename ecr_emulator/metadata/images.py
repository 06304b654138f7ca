"""Images, their manifests and the images that indexes list."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Literal

from msgspec import Struct

from ecr_emulator.metadata.database import Database, as_json

TagStatus = Literal["TAGGED", "UNTAGGED", "ANY"]


class ImageFilter(Struct, frozen=True):
    """Which images a list shows; ``status`` is one of an image's, or ANY."""

    tag_status: TagStatus = "ANY"
    status: str = "ANY"


class ReferrerFilter(Struct, frozen=True):
    """Which referrers a list shows; without ``artifact_types`` those of any type."""

    artifact_types: tuple[str, ...] | None = None
    status: str = "ACTIVE"


class Image(Struct, frozen=True):
    """An image: a manifest in a repository. Sizes in bytes, times in seconds since 1970."""

    id: int
    repository_id: int
    digest: str
    media_type: str
    artifact_type: str | None
    config_media_type: str | None
    subject_digest: str | None
    annotations: str | None
    """As JSON, since few ask for them."""

    manifest_size: int
    size: int
    pushed_at: float
    last_pulled_at: float | None
    status: str = "ACTIVE"
    last_archived_at: float | None = None
    last_activated_at: float | None = None

    def read_annotations(self) -> dict[str, str]:
        """Return what the manifest's annotations are, by their names."""
        annotations: dict[str, str] = json.loads(self.annotations or "{}")
        return annotations


class ImageHistory(Struct, frozen=True):
    """What lifecycle policies look at in an image; times in seconds since 1970.

    ``referenced`` says that an index names the image. An archived index counts for archived images only.
    """

    id: int
    digest: str
    subject_digest: str | None
    pushed_at: float
    last_pulled_at: float | None
    status: str
    last_archived_at: float | None
    last_activated_at: float | None
    referenced: bool


_COLUMNS = ", ".join(f"images.{name}" for name in Image.__struct_fields__)


# Conditions on whether an image has a tag, by the API's filter value.
TAG_CONDITIONS = {
    "ANY": "",
    "TAGGED": " AND EXISTS (SELECT 1 FROM tags WHERE tags.image_id = images.id)",
    "UNTAGGED": " AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.image_id = images.id)",
}


class Images:
    """Queries on images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_id(self, image_id: int) -> Image | None:
        """Return the image with an id."""
        return self._first("images WHERE id = :id", id=image_id)

    def by_digest(self, repository_id: int, digest: str) -> Image | None:
        """Return the image with a digest."""
        return self._first(
            "images WHERE repository_id = :repository_id AND digest = :digest",
            repository_id=repository_id,
            digest=digest,
        )

    def by_tag(self, repository_id: int, tag: str) -> Image | None:
        """Return the image that a tag points at."""
        return self._first(
            "tags JOIN images ON images.id = tags.image_id"
            " WHERE tags.repository_id = :repository_id AND tags.name = :tag",
            repository_id=repository_id,
            tag=tag,
        )

    def _first(self, selected: str, **parameters: object) -> Image | None:
        found = self._all(selected, **parameters)
        return found[0] if found else None

    def _all(self, selected: str, **parameters: object) -> list[Image]:
        return self._database.construct(Image, f"SELECT {_COLUMNS} FROM {selected}", **parameters)

    def manifest(self, image_id: int) -> bytes:
        """Return the manifest's bytes as they were pushed."""
        row = self._database.one("SELECT content FROM manifests WHERE image_id = :id", id=image_id)
        if row is None:
            raise LookupError(f"image {image_id} has no manifest")
        return bytes(row["content"])

    def scan(self, after: int, limit: int) -> list[Image]:
        """Return at most ``limit`` images of any repository past an id."""
        return self._all("images WHERE id > :after ORDER BY id LIMIT :limit", after=after, limit=limit)

    def count(self, repository_id: int) -> int:
        """Count a repository's images."""
        row = self._database.one(
            "SELECT count(*) AS number FROM images WHERE repository_id = :repository_id",
            repository_id=repository_id,
        )
        return 0 if row is None else int(row["number"])

    def children(self, repository_id: int, image_id: int) -> list[str]:
        """Return the images that are noted as those that an index of a repository lists."""
        rows = self._database.all(
            "SELECT digest FROM index_children WHERE image_id = :image_id AND repository_id = :repository_id"
            " ORDER BY digest",
            repository_id=repository_id,
            image_id=image_id,
        )
        return [row["digest"] for row in rows]

    def set_history(
        self,
        image_id: int,
        last_pulled_at: float | None,
        status: str,
        last_archived_at: float | None,
        last_activated_at: float | None,
    ) -> None:
        """Set what happened to an image since it was pushed."""
        self._database.run(
            "UPDATE images SET last_pulled_at = :last_pulled_at, status = :status,"
            " last_archived_at = :last_archived_at, last_activated_at = :last_activated_at WHERE id = :id",
            id=image_id,
            last_pulled_at=last_pulled_at,
            status=status,
            last_archived_at=last_archived_at,
            last_activated_at=last_activated_at,
        )

    def insert(self, image: Image, manifest: bytes) -> int:
        """Add an image, whatever the ``id`` it is given with, and return its id."""
        image_id = self._database.insert(
            "id",
            "INSERT INTO images (repository_id, digest, media_type, artifact_type, config_media_type,"
            " subject_digest, annotations, manifest_size, size, pushed_at, last_pulled_at, status)"
            " VALUES (:repository_id, :digest, :media_type, :artifact_type, :config_media_type,"
            " :subject_digest, :annotations, :manifest_size, :size, :pushed_at, :last_pulled_at, :status)",
            repository_id=image.repository_id,
            digest=image.digest,
            media_type=image.media_type,
            artifact_type=image.artifact_type,
            config_media_type=image.config_media_type,
            subject_digest=image.subject_digest,
            annotations=image.annotations,
            manifest_size=image.manifest_size,
            size=image.size,
            pushed_at=image.pushed_at,
            last_pulled_at=image.last_pulled_at,
            status=image.status,
        )
        self._database.run(
            "INSERT INTO manifests (image_id, content) VALUES (:id, :content)", id=image_id, content=manifest
        )
        self._database.run(
            "UPDATE repositories SET image_count = image_count + 1 WHERE id = :id", id=image.repository_id
        )
        return image_id

    def add_children(self, image_id: int, repository_id: int, digests: Collection[str]) -> None:
        """Note the images that an index lists."""
        self._database.run(
            "INSERT INTO index_children (image_id, repository_id, digest)"
            " SELECT :image_id, :repository_id, value FROM json_each(:digests)",
            image_id=image_id,
            repository_id=repository_id,
            digests=as_json(digests),
        )

    def referring_indexes(self, repository_id: int, digest: str) -> list[str]:
        """Return the digests of the indexes that name an image as their child."""
        rows = self._database.all(
            "SELECT images.digest FROM index_children AS child JOIN images ON images.id = child.image_id"
            " WHERE child.repository_id = :repository_id AND child.digest = :digest ORDER BY images.id",
            repository_id=repository_id,
            digest=digest,
        )
        return [row["digest"] for row in rows]

    def present(self, repository_id: int, digests: Collection[str]) -> dict[str, int]:
        """Return the sizes of those of the digests that are images of the repository."""
        rows = self._database.all(
            "SELECT digest, size FROM images WHERE repository_id = :repository_id"
            " AND digest IN (SELECT value FROM json_each(:digests))",
            repository_id=repository_id,
            digests=as_json(digests),
        )
        return {row["digest"]: row["size"] for row in rows}

    def missing_children(self, image_id: int) -> list[str]:
        """Return the images that an index names and its repository does not have."""
        rows = self._database.all(
            "SELECT digest FROM index_children AS named WHERE image_id = :id"
            " AND NOT EXISTS (SELECT 1 FROM images WHERE images.repository_id = named.repository_id"
            " AND images.digest = named.digest) ORDER BY digest",
            id=image_id,
        )
        return [row["digest"] for row in rows]

    def size_as_index(self, image_id: int) -> int:
        """Set the size of an index to that of its largest image, as far as these are there; return it."""
        row = self._database.one(
            "SELECT coalesce(max(child.size), 0) AS size FROM index_children AS named"
            " JOIN images AS child ON child.repository_id = named.repository_id"
            " AND child.digest = named.digest WHERE named.image_id = :id",
            id=image_id,
        )
        size = 0 if row is None else int(row["size"])
        self._database.run("UPDATE images SET size = :size WHERE id = :id", id=image_id, size=size)
        return size

    def referrers(
        self, repository_id: int, subject_digest: str, wanted: ReferrerFilter, after: int, limit: int
    ) -> list[Image]:
        """Return at most ``limit`` images whose subject is a digest, oldest first, past the id ``after``."""
        types = wanted.artifact_types
        of_type = "" if types is None else " AND artifact_type IN (SELECT value FROM json_each(:types))"
        return self._all(
            "images WHERE repository_id = :repository_id AND subject_digest = :subject_digest"
            f" AND id > :after AND (:status = 'ANY' OR status = :status){of_type} ORDER BY id LIMIT :limit",
            repository_id=repository_id,
            subject_digest=subject_digest,
            after=after,
            status=wanted.status,
            types=json.dumps(types),
            limit=limit,
        )

    def page(self, repository_id: int, wanted: ImageFilter, after: int, limit: int) -> list[Image]:
        """Return at most ``limit`` images in the order of their first push, past the id ``after``."""
        return self._all(
            "images WHERE repository_id = :repository_id AND id > :after"
            " AND (:status = 'ANY' OR status = :status)"
            f"{TAG_CONDITIONS[wanted.tag_status]} ORDER BY id LIMIT :limit",
            repository_id=repository_id,
            status=wanted.status,
            after=after,
            limit=limit,
        )

    def page_of_identifiers(
        self, repository_id: int, wanted: ImageFilter, after: tuple[int, str], limit: int
    ) -> list[tuple[int, str, str | None]]:
        """Return at most ``limit`` (image id, digest, tag), one for each tag and each untagged image.

        They come in the order of their images' first push and of their tags' names, past the
        (image id, tag) in ``after``, where the tag of an untagged image is "".
        """
        join = "JOIN" if wanted.tag_status == "TAGGED" else "LEFT JOIN"
        untagged = " AND tags.name IS NULL" if wanted.tag_status == "UNTAGGED" else ""
        rows = self._database.all(
            f"SELECT images.id, digest, tags.name FROM images {join} tags ON tags.image_id = images.id"
            " WHERE images.repository_id = :repository_id AND images.id >= :after_id"
            " AND (:status = 'ANY' OR status = :status)"
            f" AND (images.id > :after_id OR tags.name > :after_tag){untagged}"
            " ORDER BY images.id, tags.name LIMIT :limit",
            repository_id=repository_id,
            status=wanted.status,
            after_id=after[0],
            after_tag=after[1],
            limit=limit,
        )
        return [(row["id"], row["digest"], row["name"]) for row in rows]

    def histories(self, repository_id: int, digests: Collection[str] | None = None) -> list[ImageHistory]:
        """Return the histories of a repository's images, or of those with some digests."""
        named = "" if digests is None else " AND digest IN (SELECT value FROM json_each(:digests))"
        rows = self._database.all(
            "SELECT id, digest, subject_digest, pushed_at, last_pulled_at, status, last_archived_at,"
            " last_activated_at, EXISTS (SELECT 1 FROM index_children AS child"
            " JOIN images AS indexes ON indexes.id = child.image_id"
            " WHERE child.repository_id = images.repository_id AND child.digest = images.digest"
            " AND (indexes.status <> 'ARCHIVED' OR images.status = 'ARCHIVED')) AS referenced"
            f" FROM images WHERE repository_id = :repository_id{named}",
            repository_id=repository_id,
            digests=None if digests is None else as_json(digests),
        )
        return [ImageHistory(**{**dict(row), "referenced": bool(row["referenced"])}) for row in rows]

    def exist(self, repository_id: int) -> bool:
        """Tell whether the repository has an image."""
        row = self._database.one(
            "SELECT 1 FROM images WHERE repository_id = :repository_id LIMIT 1", repository_id=repository_id
        )
        return row is not None

    def set_pulled(self, image_id: int, pulled_at: float) -> None:
        """Record when an image was pulled."""
        self._database.run(
            "UPDATE images SET last_pulled_at = :pulled_at WHERE id = :id", id=image_id, pulled_at=pulled_at
        )

    def archive(self, image_id: int, now: float) -> None:
        """Put an image into the archive."""
        self._database.run(
            "UPDATE images SET status = 'ARCHIVED', last_archived_at = :now WHERE id = :id",
            id=image_id,
            now=now,
        )

    def begin_restoring(self, image_id: int) -> None:
        """Begin to take an image out of the archive."""
        self._database.run("UPDATE images SET status = 'ACTIVATING' WHERE id = :id", id=image_id)

    def restore(self, image_id: int, now: float) -> None:
        """Take an image out of the archive."""
        self._database.run(
            "UPDATE images SET status = 'ACTIVE', last_activated_at = :now WHERE id = :id",
            id=image_id,
            now=now,
        )

    def delete(self, image_id: int) -> None:
        """Remove an image with its manifest, its tags and what it lists; its layers do not know of it."""
        self._database.run(
            "UPDATE repositories SET image_count = image_count - 1"
            " WHERE id = (SELECT repository_id FROM images WHERE id = :id)",
            id=image_id,
        )
        self._database.run("DELETE FROM images WHERE id = :id", id=image_id)
