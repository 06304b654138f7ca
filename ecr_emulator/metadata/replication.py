"""How the copying of images to other registries stands."""

from __future__ import annotations

from msgspec import Struct

from ecr_emulator.metadata.database import Database


class ReplicationState(Struct, frozen=True):
    """How one push of an image stands with one destination."""

    account: str
    region: str
    status: str
    failure_code: str | None


class Replications:
    """Queries on the replications of images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        image_id: int,
        account: str,
        region: str,
        tag: str | None,
        status: str,
        failure_code: str | None = None,
    ) -> None:
        """Set how the push of an image stands with a destination."""
        self._database.run(
            "INSERT INTO replications"
            " (image_id, destination_account, destination_region, tag, status, failure_code)"
            " VALUES (:image_id, :account, :region, :tag, :status, :failure_code)"
            " ON CONFLICT (image_id, destination_account, destination_region, tag)"
            " DO UPDATE SET status = excluded.status, failure_code = excluded.failure_code",
            image_id=image_id,
            account=account,
            region=region,
            tag=tag or "",
            status=status,
            failure_code=failure_code,
        )

    def of_image(self, image_id: int) -> list[ReplicationState]:
        """Return how all pushes of an image stand, ordered by destination and tag."""
        rows = self._database.all(
            "SELECT destination_account AS account, destination_region AS region, status, failure_code"
            " FROM replications WHERE image_id = :image_id"
            " ORDER BY destination_account, destination_region, tag",
            image_id=image_id,
        )
        return [ReplicationState(**dict(row)) for row in rows]
