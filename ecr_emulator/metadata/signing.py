"""Signing statuses: how far the signing of images has come."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ecr_emulator.metadata.database import Database

Status = Literal["IN_PROGRESS", "COMPLETE", "FAILED"]


class SigningStatus(Struct, frozen=True):
    """How far one image's signing with one profile has come; a failure's cause where it is FAILED."""

    profile_arn: str
    status: Status
    failure_code: str | None = None
    failure_reason: str | None = None


class SigningStatuses:
    """Queries on signing statuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_image(self, image_id: int) -> list[SigningStatus]:
        """Return an image's statuses, by profile."""
        rows = self._database.all(
            "SELECT profile_arn, status, failure_code, failure_reason FROM signing_statuses"
            " WHERE image_id = :image_id ORDER BY profile_arn",
            image_id=image_id,
        )
        return [SigningStatus(**row) for row in rows]

    def put(self, image_id: int, status: SigningStatus) -> None:
        """Set an image's status for a profile."""
        self._database.run(
            "INSERT INTO signing_statuses (image_id, profile_arn, status, failure_code, failure_reason)"
            " VALUES (:image_id, :profile_arn, :status, :failure_code, :failure_reason)"
            " ON CONFLICT (image_id, profile_arn) DO UPDATE SET status = excluded.status,"
            " failure_code = excluded.failure_code, failure_reason = excluded.failure_reason",
            image_id=image_id,
            profile_arn=status.profile_arn,
            status=status.status,
            failure_code=status.failure_code,
            failure_reason=status.failure_reason,
        )
