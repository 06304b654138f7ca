"""Scans of images, and what they found."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct

from ecr_emulator.metadata.database import Database, Row


class Scan(Struct, frozen=True):
    """An image's last scan of a type; times are seconds since 1970."""

    image_id: int
    scan_type: str
    status: str
    description: str
    requested_at: float
    due_at: float | None
    completed_at: float | None
    """When it was last complete."""

    source_updated_at: float | None
    severity_counts: dict[str, int]
    platform: str | None
    architecture: str | None


class StoredFinding(Struct, frozen=True):
    """A finding of a scan, at its position from 1 on."""

    position: int
    identity: str
    first_observed_at: float
    content: dict[str, Any]


def _scan(row: Row) -> Scan:
    return Scan(**{**dict(row), "severity_counts": json.loads(row["severity_counts"])})


def _finding(row: Row) -> StoredFinding:
    return StoredFinding(**{**dict(row), "content": orjson.loads(row["content"])})


class Scans:
    """Queries on scans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, image_id: int, scan_type: str) -> Scan | None:
        """Return an image's last scan of a type."""
        row = self._database.one(
            "SELECT * FROM scans WHERE image_id = :image_id AND scan_type = :scan_type",
            image_id=image_id,
            scan_type=scan_type,
        )
        return None if row is None else _scan(row)

    def of_images(self, image_ids: Collection[int], scan_type: str) -> dict[int, Scan]:
        """Return the last scans of a type of several images, by image."""
        rows = self._database.all(
            "SELECT * FROM scans WHERE image_id IN (SELECT CAST(value AS BIGINT) FROM json_each(:ids))"
            " AND scan_type = :scan_type",
            ids=json.dumps(list(image_ids)),
            scan_type=scan_type,
        )
        return {row["image_id"]: _scan(row) for row in rows}

    def request(
        self, image_id: int, scan_type: str, status: str, requested_at: float, due_at: float | None
    ) -> None:
        """Leave a scan to be performed, if it is due ever, which takes the place of the last one."""
        self._database.run(
            "DELETE FROM scans WHERE image_id = :image_id AND scan_type = :scan_type",
            image_id=image_id,
            scan_type=scan_type,
        )
        self._database.run(
            "INSERT INTO scans"
            " (image_id, scan_type, status, description, requested_at, due_at, severity_counts)"
            " VALUES (:image_id, :scan_type, :status, '', :requested_at, :due_at, '{}')",
            image_id=image_id,
            scan_type=scan_type,
            status=status,
            requested_at=requested_at,
            due_at=due_at,
        )

    def next_due(self, now: float) -> Scan | None:
        """Return the scan that has been due for longest."""
        row = self._database.one("SELECT * FROM scans WHERE due_at <= :now ORDER BY due_at LIMIT 1", now=now)
        return None if row is None else _scan(row)

    def schedule(self, scan: Scan, due_at: float | None) -> None:
        """Set when a scan is to be performed again, or that it is not."""
        self._database.run(
            "UPDATE scans SET due_at = :due_at WHERE image_id = :image_id AND scan_type = :scan_type",
            image_id=scan.image_id,
            scan_type=scan.scan_type,
            due_at=due_at,
        )

    def hasten(self, now: float) -> None:
        """Make all scans due that are to be performed."""
        self._database.run("UPDATE scans SET due_at = :now WHERE due_at > :now", now=now)

    def bring_forward(self, seconds: float) -> None:
        """Make all scans that are to be performed due earlier, as the clock was put back."""
        self._database.run(
            "UPDATE scans SET due_at = due_at - :seconds WHERE due_at IS NOT NULL", seconds=seconds
        )

    def complete(
        self,
        scan: Scan,
        *,
        status: str,
        description: str,
        completed_at: float | None,
        due_at: float | None,
        source_updated_at: float | None,
        severity_counts: Mapping[str, int],
        platform: str | None,
        architecture: str | None,
    ) -> bool:
        """Record what a scan came to; tell whether it is still wanted, and not asked for anew.

        One that comes to nothing, with ``completed_at`` None, leaves when the scan was last complete.
        """
        changed = self._database.run(
            "UPDATE scans SET status = :status, description = :description,"
            " completed_at = coalesce(:completed_at, completed_at),"
            " due_at = :due_at, source_updated_at = :source_updated_at, severity_counts = :severity_counts,"
            " platform = :platform, architecture = :architecture"
            " WHERE image_id = :image_id AND scan_type = :scan_type AND requested_at = :requested_at",
            image_id=scan.image_id,
            scan_type=scan.scan_type,
            requested_at=scan.requested_at,
            status=status,
            description=description,
            completed_at=completed_at,
            due_at=due_at,
            source_updated_at=source_updated_at,
            severity_counts=json.dumps(dict(severity_counts)),
            platform=platform,
            architecture=architecture,
        )
        return changed > 0

    def all_findings(self, image_id: int, scan_type: str) -> list[StoredFinding]:
        """Return all findings, in their order."""
        rows = self._database.all(
            "SELECT position, identity, first_observed_at, content FROM scan_findings"
            " WHERE image_id = :image_id AND scan_type = :scan_type ORDER BY position",
            image_id=image_id,
            scan_type=scan_type,
        )
        return [_finding(row) for row in rows]

    def replace_findings(self, image_id: int, scan_type: str, findings: Sequence[StoredFinding]) -> None:
        """Put the findings of a scan in the place of the last one's."""
        self._database.run(
            "DELETE FROM scan_findings WHERE image_id = :image_id AND scan_type = :scan_type",
            image_id=image_id,
            scan_type=scan_type,
        )
        self._database.run_many(
            "INSERT INTO scan_findings (image_id, scan_type, position, identity, first_observed_at, content)"
            " VALUES (:image_id, :scan_type, :position, :identity, :first_observed_at, :content)",
            [
                {
                    "image_id": image_id,
                    "scan_type": scan_type,
                    "position": finding.position,
                    "identity": finding.identity,
                    "first_observed_at": finding.first_observed_at,
                    "content": orjson.dumps(finding.content).decode(),
                }
                for finding in findings
            ],
        )

    def findings(self, image_id: int, scan_type: str, after: int, limit: int) -> list[StoredFinding]:
        """Return at most ``limit`` findings, past the position ``after``."""
        rows = self._database.all(
            "SELECT position, identity, first_observed_at, content FROM scan_findings"
            " WHERE image_id = :image_id AND scan_type = :scan_type AND position > :after"
            " ORDER BY position LIMIT :limit",
            image_id=image_id,
            scan_type=scan_type,
            after=after,
            limit=limit,
        )
        return [_finding(row) for row in rows]
