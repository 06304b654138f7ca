"""Image tags: names that point at one image of a repository, and move."""

from __future__ import annotations

import json
from collections.abc import Collection

from ecr_emulator.metadata.database import Database


class Tags:
    """Queries on image tags."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def image_id(self, repository_id: int, name: str) -> int | None:
        """Return the id of the image that a tag points at."""
        row = self._database.one(
            "SELECT image_id FROM tags WHERE repository_id = :repository_id AND name = :name",
            repository_id=repository_id,
            name=name,
        )
        return None if row is None else int(row["image_id"])

    def of_image(self, image_id: int) -> list[str]:
        """Return the names of an image's tags in order."""
        rows = self._database.all("SELECT name FROM tags WHERE image_id = :id ORDER BY name", id=image_id)
        return [row["name"] for row in rows]

    def count(self, image_id: int) -> int:
        """Return how many tags an image has."""
        row = self._database.one("SELECT count(*) AS number FROM tags WHERE image_id = :id", id=image_id)
        return 0 if row is None else int(row["number"])

    def of_images(self, image_ids: Collection[int]) -> dict[int, list[str]]:
        """Return the names of the tags of several images, by image."""
        names: dict[int, list[str]] = {image_id: [] for image_id in image_ids}
        rows = self._database.all(
            "SELECT image_id, name FROM tags"
            " WHERE image_id IN (SELECT CAST(value AS BIGINT) FROM json_each(:ids))"
            " ORDER BY image_id, name",
            ids=json.dumps(list(image_ids)),
        )
        for row in rows:
            names[row["image_id"]].append(row["name"])
        return names

    def page(self, repository_id: int, after: str, limit: int) -> list[str]:
        """Return at most ``limit`` tags of a repository by name, from the first one past ``after``."""
        rows = self._database.all(
            "SELECT name FROM tags WHERE repository_id = :repository_id AND name > :after"
            " ORDER BY name LIMIT :limit",
            repository_id=repository_id,
            after=after,
            limit=limit,
        )
        return [row["name"] for row in rows]

    def astray(self, limit: int) -> list[tuple[int, str]]:
        """Return at most ``limit`` (repository id, name) of tags that point into another repository."""
        rows = self._database.all(
            "SELECT tags.repository_id, tags.name FROM tags JOIN images ON images.id = tags.image_id"
            " WHERE images.repository_id <> tags.repository_id"
            " ORDER BY tags.repository_id, tags.name LIMIT :limit",
            limit=limit,
        )
        return [(row["repository_id"], row["name"]) for row in rows]

    def put(self, repository_id: int, name: str, image_id: int) -> None:
        """Point a tag at an image, away from the one it pointed at before."""
        self._database.run(
            "INSERT INTO tags (repository_id, name, image_id) VALUES (:repository_id, :name, :image_id)"
            " ON CONFLICT (repository_id, name) DO UPDATE SET image_id = excluded.image_id",
            repository_id=repository_id,
            name=name,
            image_id=image_id,
        )

    def delete(self, repository_id: int, name: str) -> None:
        """Remove a tag."""
        self._database.run(
            "DELETE FROM tags WHERE repository_id = :repository_id AND name = :name",
            repository_id=repository_id,
            name=name,
        )
