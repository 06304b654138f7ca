"""Replication backfills, and the replications that each is made of."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from msgspec import Struct

from ecr_emulator.metadata.database import Database, Row


class Backfill(Struct, frozen=True):
    """A backfill; times are seconds since 1970, ``total`` is None until its replications are known."""

    number: int
    id: str
    account: str
    region: str
    destination_account: str
    destination_region: str
    status: str
    failure_code: str | None
    started_at: float
    ended_at: float | None
    total: int | None
    completed: int
    failed: int


class BackfillReplication(Struct, frozen=True):
    """One replication of a backfill."""

    id: int
    backfill_number: int
    repository_name: str
    digest: str
    tag: str | None
    is_index: bool
    status: str
    failure_code: str | None


def _replication(row: Row) -> BackfillReplication:
    values: dict[str, Any] = dict(row)
    values["is_index"] = bool(values["is_index"])
    return BackfillReplication(**values)


class Backfills:
    """Queries on backfills."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, account: str, region: str, backfill_id: str) -> Backfill | None:
        """Return one backfill of a registry."""
        row = self._database.one(
            "SELECT * FROM backfills WHERE id = :id AND account = :account AND region = :region",
            id=backfill_id,
            account=account,
            region=region,
        )
        return None if row is None else Backfill(**dict(row))

    def by_number(self, number: int) -> Backfill | None:
        """Return the backfill with a number."""
        row = self._database.one("SELECT * FROM backfills WHERE number = :number", number=number)
        return None if row is None else Backfill(**dict(row))

    def page(
        self, account: str, region: str, ended_after: float, before: int | None, limit: int
    ) -> list[Backfill]:
        """Return at most ``limit`` backfills of a registry, the newest first, older than ``before``.

        Those that ended up to ``ended_after`` are passed over.
        """
        rows = self._database.all(
            "SELECT * FROM backfills WHERE account = :account AND region = :region"
            " AND (number < :before OR :before IS NULL)"
            " AND (ended_at IS NULL OR ended_at > :ended_after) ORDER BY number DESC LIMIT :limit",
            account=account,
            region=region,
            before=before,
            ended_after=ended_after,
            limit=limit,
        )
        return [Backfill(**dict(row)) for row in rows]

    def running(self, account: str, region: str) -> list[Backfill]:
        """Return the backfills of a registry that have not ended."""
        rows = self._database.all(
            "SELECT * FROM backfills WHERE account = :account AND region = :region AND ended_at IS NULL",
            account=account,
            region=region,
        )
        return [Backfill(**dict(row)) for row in rows]

    def insert(
        self,
        backfill_id: str,
        account: str,
        region: str,
        destination_account: str,
        destination_region: str,
        status: str,
        started_at: float,
    ) -> int:
        """Add a backfill and return its number."""
        return self._database.insert(
            "number",
            "INSERT INTO backfills (id, account, region, destination_account, destination_region, status,"
            " started_at, completed, failed) VALUES (:id, :account, :region, :destination_account,"
            " :destination_region, :status, :started_at, 0, 0)",
            id=backfill_id,
            account=account,
            region=region,
            destination_account=destination_account,
            destination_region=destination_region,
            status=status,
            started_at=started_at,
        )

    def set_status(
        self, number: int, status: str, *, ended_at: float | None = None, failure_code: str | None = None
    ) -> None:
        """Move a backfill to another status."""
        self._database.run(
            "UPDATE backfills SET status = :status, ended_at = :ended_at, failure_code = :failure_code"
            " WHERE number = :number",
            number=number,
            status=status,
            ended_at=ended_at,
            failure_code=failure_code,
        )

    def delete_ended(self, account: str, region: str, ended_until: float) -> None:
        """Remove the backfills of a registry that ended so long ago."""
        self._database.run(
            "DELETE FROM backfills WHERE account = :account AND region = :region"
            " AND ended_at <= :ended_until",
            account=account,
            region=region,
            ended_until=ended_until,
        )

    def add_images(self, number: int, repository_id: int, index_types: Collection[str]) -> int:
        """Add a replication for each tag of a repository's active images, and each untagged image.

        Returns how many were added.
        """
        return self._database.run(
            "INSERT INTO backfill_replications"
            " (backfill_number, repository_name, digest, tag, is_index, status)"
            " SELECT :number, repositories.name, images.digest, tags.name,"
            " images.media_type IN (SELECT value FROM json_each(:index_types)), 'WAITING'"
            " FROM images JOIN repositories ON repositories.id = images.repository_id"
            " LEFT JOIN tags ON tags.image_id = images.id"
            " WHERE images.repository_id = :repository_id AND images.status = 'ACTIVE'"
            " ORDER BY images.id, tags.name",
            number=number,
            repository_id=repository_id,
            index_types=json.dumps(list(index_types)),
        )

    def set_total(self, number: int, total: int) -> None:
        """Record how many replications a backfill has."""
        self._database.run(
            "UPDATE backfills SET total = :total WHERE number = :number", number=number, total=total
        )

    def replication(self, replication_id: int) -> BackfillReplication | None:
        """Return one replication."""
        row = self._database.one("SELECT * FROM backfill_replications WHERE id = :id", id=replication_id)
        return None if row is None else _replication(row)

    def replication_ids(self, number: int) -> list[int]:
        """Return the ids of all replications of a backfill, in order."""
        rows = self._database.all(
            "SELECT id FROM backfill_replications WHERE backfill_number = :number ORDER BY id", number=number
        )
        return [row["id"] for row in rows]

    def outcomes(self, number: int, status: str | None, after: int, limit: int) -> list[BackfillReplication]:
        """Return at most ``limit`` replications that were completed, failed or, without a status, both.

        They come in order, past the one with the id ``after``.
        """
        wanted = "status IN ('COMPLETE', 'FAILED')" if status is None else "status = :status"
        rows = self._database.all(
            f"SELECT * FROM backfill_replications WHERE backfill_number = :number AND {wanted}"
            " AND id > :after ORDER BY id LIMIT :limit",
            number=number,
            status=status,
            after=after,
            limit=limit,
        )
        return [_replication(row) for row in rows]

    def has_tried(self, number: int) -> bool:
        """Tell whether a replication of a backfill failed and is to be tried again."""
        row = self._database.one(
            "SELECT 1 FROM backfill_replications WHERE backfill_number = :number"
            " AND status = 'IN_PROGRESS' LIMIT 1",
            number=number,
        )
        return row is not None

    def finish(self, replication: BackfillReplication, failure_code: str | None) -> None:
        """Record the outcome of a replication, and count it."""
        self._database.run(
            "UPDATE backfill_replications SET status = :status, failure_code = :failure_code WHERE id = :id",
            id=replication.id,
            status="COMPLETE" if failure_code is None else "FAILED",
            failure_code=failure_code,
        )
        self._database.run(
            "UPDATE backfills SET completed = completed + :completed, failed = failed + :failed"
            " WHERE number = :number",
            number=replication.backfill_number,
            completed=int(failure_code is None),
            failed=int(failure_code is not None),
        )

    def set_tried(self, replication_id: int) -> None:
        """Record that a replication failed and is to be tried again."""
        self._database.run(
            "UPDATE backfill_replications SET status = 'IN_PROGRESS' WHERE id = :id", id=replication_id
        )

    def failure_codes(self, number: int) -> list[str]:
        """Return the failure codes of a backfill's replications, each once."""
        rows = self._database.all(
            "SELECT DISTINCT failure_code FROM backfill_replications"
            " WHERE backfill_number = :number AND failure_code IS NOT NULL ORDER BY failure_code",
            number=number,
        )
        return [row["failure_code"] for row in rows]
