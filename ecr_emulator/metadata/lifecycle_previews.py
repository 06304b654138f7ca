"""Previews of lifecycle policies, and what these would do."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from msgspec import Struct
from msgspec.structs import asdict

from ecr_emulator.metadata.database import Database, Row
from ecr_emulator.metadata.images import TAG_CONDITIONS, TagStatus


class Preview(Struct, frozen=True):
    """The last preview of a repository; ``status`` is IN_PROGRESS, COMPLETE or FAILED."""

    repository_id: int
    policy_text: str
    status: str
    started_at: float
    ended_at: float | None


class NewResult(Struct, frozen=True):
    """What a policy would do to the image with a digest; the oldest image is at position 1."""

    position: int
    digest: str
    storage_class: str
    action: str
    target_storage_class: str | None
    rule_priority: int | None


class Result(NewResult, frozen=True):
    """A result that was kept, with its image."""

    image_id: int
    pushed_at: float


_RESULTS = (
    "SELECT results.position, images.digest, results.storage_class, results.action,"
    " results.target_storage_class, results.rule_priority, results.image_id, images.pushed_at"
    " FROM lifecycle_preview_results AS results JOIN images ON images.id = results.image_id"
    " WHERE results.repository_id = :repository_id"
)


def _results(rows: Sequence[Row]) -> list[Result]:
    return [Result(**dict(row)) for row in rows]


class LifecyclePreviews:
    """Queries on previews."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, repository_id: int) -> Preview | None:
        """Return a repository's preview."""
        row = self._database.one(
            "SELECT * FROM lifecycle_previews WHERE repository_id = :id", id=repository_id
        )
        return None if row is None else Preview(**dict(row))

    def start(self, repository_id: int, policy_text: str, now: float) -> None:
        """Begin a preview, in place of the one before."""
        self._database.run("DELETE FROM lifecycle_previews WHERE repository_id = :id", id=repository_id)
        self._database.run(
            "INSERT INTO lifecycle_previews (repository_id, policy_text, status, started_at)"
            " VALUES (:id, :policy_text, 'IN_PROGRESS', :now)",
            id=repository_id,
            policy_text=policy_text,
            now=now,
        )

    def in_progress(self) -> list[int]:
        """Return the ids of the repositories whose preview is not done."""
        rows = self._database.all(
            "SELECT repository_id FROM lifecycle_previews WHERE status = 'IN_PROGRESS' ORDER BY repository_id"
        )
        return [row["repository_id"] for row in rows]

    def end(self, repository_id: int, status: str, now: float) -> None:
        """End a preview as COMPLETE or FAILED."""
        self._database.run(
            "UPDATE lifecycle_previews SET status = :status, ended_at = :now WHERE repository_id = :id",
            id=repository_id,
            status=status,
            now=now,
        )

    def clear_results(self, repository_id: int) -> None:
        """Remove a preview's results."""
        self._database.run(
            "DELETE FROM lifecycle_preview_results WHERE repository_id = :id", id=repository_id
        )

    def add_results(self, repository_id: int, results: Sequence[NewResult]) -> None:
        """Keep results; those whose image has gone are left out."""
        self._database.run_many(
            "INSERT INTO lifecycle_preview_results (repository_id, position, image_id, storage_class,"
            " action, target_storage_class, rule_priority) SELECT repository_id, :position, id,"
            " :storage_class, :action, :target_storage_class, :rule_priority FROM images"
            " WHERE repository_id = :repository_id AND digest = :digest",
            [{"repository_id": repository_id, **asdict(result)} for result in results],
        )

    def page(self, repository_id: int, tag_status: TagStatus, after: int, limit: int) -> list[Result]:
        """Return at most ``limit`` results in order, past the position ``after``."""
        return _results(
            self._database.all(
                f"{_RESULTS} AND results.position > :after{TAG_CONDITIONS[tag_status]}"
                " ORDER BY results.position LIMIT :limit",
                repository_id=repository_id,
                after=after,
                limit=limit,
            )
        )

    def of_images(
        self, repository_id: int, tag_status: TagStatus, image_ids: Collection[int]
    ) -> list[Result]:
        """Return the results for some images, in order."""
        return _results(
            self._database.all(
                f"{_RESULTS} AND results.image_id IN (SELECT CAST(value AS BIGINT) FROM json_each(:ids))"
                f"{TAG_CONDITIONS[tag_status]} ORDER BY results.position",
                repository_id=repository_id,
                ids=json.dumps(list(image_ids)),
            )
        )

    def counts(self, repository_id: int) -> dict[str, int]:
        """Return the number of results by action."""
        rows = self._database.all(
            "SELECT action, count(*) AS number FROM lifecycle_preview_results"
            " WHERE repository_id = :id GROUP BY action",
            id=repository_id,
        )
        return {row["action"]: row["number"] for row in rows}
