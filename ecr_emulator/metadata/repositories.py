"""Repositories, their settings, their policies and their tags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ecr_emulator.metadata.database import Database, Row


class Repository(Struct, frozen=True):
    """A repository; times are seconds since 1970."""

    id: int
    account: str
    region: str
    name: str
    created_at: float
    tag_mutability: str
    tag_exclusions: tuple[str, ...]
    scan_on_push: bool
    encryption_type: str
    kms_key: str | None
    policy_text: str | None = None
    lifecycle_policy_text: str | None = None
    lifecycle_evaluated_at: float | None = None
    lifecycle_due_at: float | None = None
    image_count: int = 0


class RepositoryPolicy(Struct, frozen=True):
    """The id of a repository, and the text of its policy if it has one."""

    id: int
    text: str | None


def _repository(row: Row) -> Repository:
    values: dict[str, Any] = dict(row)
    exclusions = values["tag_exclusions"]
    values["tag_exclusions"] = tuple(json.loads(exclusions)) if exclusions != "[]" else ()
    values["scan_on_push"] = bool(values["scan_on_push"])
    return Repository(**values)


class Repositories:
    """Queries on repositories."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count_all(self) -> tuple[int, int]:
        """Return how many repositories and images all registries have."""
        row = self._database.one(
            "SELECT count(*) AS repositories, CAST(coalesce(sum(image_count), 0) AS BIGINT) AS images"
            " FROM repositories"
        )
        return (0, 0) if row is None else (row["repositories"], row["images"])

    def get(self, account: str, region: str, name: str) -> Repository | None:
        """Return one repository."""
        row = self._database.one(
            "SELECT * FROM repositories WHERE account = :account AND region = :region AND name = :name",
            account=account,
            region=region,
            name=name,
        )
        return None if row is None else _repository(row)

    def policy(self, account: str, region: str, name: str) -> RepositoryPolicy | None:
        """Return the policy of one repository, without the rest of it."""
        row = self._database.one(
            "SELECT id, policy_text FROM repositories"
            " WHERE account = :account AND region = :region AND name = :name",
            account=account,
            region=region,
            name=name,
        )
        return None if row is None else RepositoryPolicy(row["id"], row["policy_text"])

    def by_id(self, repository_id: int) -> Repository | None:
        """Return the repository with an id."""
        row = self._database.one("SELECT * FROM repositories WHERE id = :id", id=repository_id)
        return None if row is None else _repository(row)

    def page(self, account: str, region: str, after: str, limit: int) -> list[Repository]:
        """Return at most ``limit`` repositories by name, from the first one past ``after``."""
        rows = self._database.all(
            "SELECT * FROM repositories WHERE account = :account AND region = :region AND name > :after"
            " ORDER BY name LIMIT :limit",
            account=account,
            region=region,
            after=after,
            limit=limit,
        )
        return [_repository(row) for row in rows]

    def last_id(self) -> int:
        """Return the highest id that a repository has, of any registry; later ones get higher ones."""
        row = self._database.one("SELECT coalesce(max(id), 0) AS id FROM repositories")
        return int(row["id"]) if row else 0

    def are_at_least(self, account: str, region: str, number: int) -> bool:
        """Tell whether a registry has so many repositories, looking at no more of them."""
        row = self._database.one(
            "SELECT 1 FROM repositories WHERE account = :account AND region = :region"
            " LIMIT 1 OFFSET :skipped",
            account=account,
            region=region,
            skipped=number - 1,
        )
        return row is not None

    def scan(self, after_id: int, limit: int) -> list[Repository]:
        """Return at most ``limit`` repositories of any registry past an id."""
        rows = self._database.all(
            "SELECT * FROM repositories WHERE id > :after_id ORDER BY id LIMIT :limit",
            after_id=after_id,
            limit=limit,
        )
        return [_repository(row) for row in rows]

    def next_registry(self, account: str, region: str) -> tuple[str, str] | None:
        """Return the first (account, region) past the one given that has a repository."""
        row = self._database.one(
            "SELECT account, region FROM repositories WHERE (account, region) > (:account, :region)"
            " ORDER BY account, region LIMIT 1",
            account=account,
            region=region,
        )
        return None if row is None else (row["account"], row["region"])

    def insert(
        self,
        *,
        account: str,
        region: str,
        name: str,
        created_at: float,
        tag_mutability: str,
        tag_exclusions: Sequence[str],
        scan_on_push: bool,
        encryption_type: str,
        kms_key: str | None,
    ) -> Repository:
        """Add a repository whose name is free."""
        row_id = self._database.insert(
            "id",
            "INSERT INTO repositories (account, region, name, created_at, tag_mutability, tag_exclusions,"
            " scan_on_push, encryption_type, kms_key) VALUES (:account, :region, :name, :created_at,"
            " :tag_mutability, :tag_exclusions, :scan_on_push, :encryption_type, :kms_key)",
            account=account,
            region=region,
            name=name,
            created_at=created_at,
            tag_mutability=tag_mutability,
            tag_exclusions=json.dumps(list(tag_exclusions)),
            scan_on_push=scan_on_push,
            encryption_type=encryption_type,
            kms_key=kms_key,
        )
        return Repository(
            id=row_id,
            account=account,
            region=region,
            name=name,
            created_at=created_at,
            tag_mutability=tag_mutability,
            tag_exclusions=tuple(tag_exclusions),
            scan_on_push=scan_on_push,
            encryption_type=encryption_type,
            kms_key=kms_key,
        )

    def delete(self, repository_id: int) -> None:
        """Remove a repository with its images, tags, layers and uploads."""
        self._database.run("DELETE FROM repositories WHERE id = :id", id=repository_id)

    def set_mutability(self, repository_id: int, mutability: str, exclusions: Sequence[str]) -> None:
        """Set which tags can be overwritten."""
        self._database.run(
            "UPDATE repositories SET tag_mutability = :mutability, tag_exclusions = :exclusions"
            " WHERE id = :id",
            id=repository_id,
            mutability=mutability,
            exclusions=json.dumps(list(exclusions)),
        )

    def set_scan_on_push(self, repository_id: int, scan_on_push: bool) -> None:
        """Set whether the repository's own setting has images scanned when they are pushed."""
        self._database.run(
            "UPDATE repositories SET scan_on_push = :scan_on_push WHERE id = :id",
            id=repository_id,
            scan_on_push=scan_on_push,
        )

    def set_policy(self, repository_id: int, text: str | None) -> None:
        """Set the repository policy, or remove it."""
        self._database.run(
            "UPDATE repositories SET policy_text = :text WHERE id = :id", id=repository_id, text=text
        )

    def set_lifecycle_policy(self, repository_id: int, text: str, due_at: float) -> None:
        """Set a lifecycle policy, which is yet to be evaluated.

        It is due at ``due_at``, or when the policy before it was: setting it again and again does
        not put it off for ever.
        """
        self._database.run(
            "UPDATE repositories SET lifecycle_policy_text = :text, lifecycle_evaluated_at = NULL,"
            " lifecycle_due_at = CASE WHEN lifecycle_due_at < :due_at THEN lifecycle_due_at ELSE :due_at END"
            " WHERE id = :id",
            id=repository_id,
            text=text,
            due_at=due_at,
        )

    def delete_lifecycle_policy(self, repository_id: int) -> None:
        """Remove the lifecycle policy."""
        self._database.run(
            "UPDATE repositories SET lifecycle_policy_text = NULL, lifecycle_evaluated_at = NULL,"
            " lifecycle_due_at = NULL WHERE id = :id",
            id=repository_id,
        )

    def lifecycle_due(self, now: float) -> list[int]:
        """Return the ids of the repositories whose lifecycle policy is due, the longest due first."""
        rows = self._database.all(
            "SELECT id FROM repositories WHERE lifecycle_due_at <= :now ORDER BY lifecycle_due_at, id",
            now=now,
        )
        return [row["id"] for row in rows]

    def set_lifecycle_evaluated(self, repository_id: int, evaluated_at: float, due_at: float) -> None:
        """Record that the lifecycle policy was evaluated, and when it is due again."""
        self._database.run(
            "UPDATE repositories SET lifecycle_evaluated_at = :evaluated_at, lifecycle_due_at = :due_at"
            " WHERE id = :id",
            id=repository_id,
            evaluated_at=evaluated_at,
            due_at=due_at,
        )

    def bring_lifecycle_forward(self, seconds: float) -> None:
        """Make evaluations of all lifecycle policies due earlier, as the clock was put back."""
        self._database.run(
            "UPDATE repositories SET lifecycle_due_at = lifecycle_due_at - :seconds"
            " WHERE lifecycle_due_at IS NOT NULL",
            seconds=seconds,
        )

    def postpone_lifecycle(self, repository_id: int, due_at: float) -> None:
        """Put off the evaluation of the lifecycle policy, as one that failed is."""
        self._database.run(
            "UPDATE repositories SET lifecycle_due_at = :due_at"
            " WHERE id = :id AND lifecycle_due_at IS NOT NULL",
            id=repository_id,
            due_at=due_at,
        )

    def tags(self, repository_id: int) -> dict[str, str]:
        """Return the repository's tags (the resource's, not its images') by key."""
        rows = self._database.all(
            "SELECT key, value FROM repository_tags WHERE repository_id = :id ORDER BY key", id=repository_id
        )
        return {row["key"]: row["value"] for row in rows}

    def put_tags(self, repository_id: int, tags: Mapping[str, str]) -> None:
        """Add tags, replacing the values of keys that are there."""
        self._database.run_many(
            "INSERT INTO repository_tags (repository_id, key, value) VALUES (:id, :key, :value)"
            " ON CONFLICT (repository_id, key) DO UPDATE SET value = excluded.value",
            [{"id": repository_id, "key": key, "value": value} for key, value in tags.items()],
        )

    def delete_tags(self, repository_id: int, keys: Sequence[str]) -> None:
        """Remove tags; keys that are not there are passed over."""
        self._database.run_many(
            "DELETE FROM repository_tags WHERE repository_id = :id AND key = :key",
            [{"id": repository_id, "key": key} for key in keys],
        )
