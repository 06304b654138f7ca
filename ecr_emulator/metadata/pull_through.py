"""Pull-through cache rules, and what is known of the tags and referrers of upstream registries."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import asdict

from ecr_emulator.metadata.database import Database
from ecr_emulator.metadata.prefixes import page_by_prefix


class PullThroughRule(Struct, frozen=True):
    """A rule; prefixes are without the slash that is always meant, times are seconds since 1970."""

    prefix: str
    upstream_host: str
    upstream_registry: str
    upstream_prefix: str
    credential_arn: str | None
    custom_role_arn: str | None
    created_at: float
    updated_at: float


class UpstreamTag(Struct, frozen=True):
    """A tag as it came from an upstream; it was last compared at ``checked_at``."""

    image_id: int
    checked_at: float


class PullThroughRules:
    """Queries on pull-through cache rules."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, account: str, region: str, prefix: str) -> PullThroughRule | None:
        """Return the rule of a prefix."""
        return next(iter(self.page(account, region, [prefix], "", 1)), None)

    def page(
        self, account: str, region: str, prefixes: Collection[str] | None, after: str, limit: int
    ) -> list[PullThroughRule]:
        """Return at most ``limit`` rules by prefix, past ``after``: of these prefixes, or all."""
        rows = page_by_prefix(self._database, "pull_through_rules", account, region, prefixes, after, limit)
        return [
            PullThroughRule(**{name: row[name] for name in PullThroughRule.__struct_fields__}) for row in rows
        ]

    def count(self, account: str, region: str) -> int:
        """Return how many rules a registry has."""
        row = self._database.one(
            "SELECT count(*) AS number FROM pull_through_rules WHERE account = :account AND region = :region",
            account=account,
            region=region,
        )
        return 0 if row is None else int(row["number"])

    def put(self, account: str, region: str, rule: PullThroughRule) -> None:
        """Add a rule, or replace the one of its prefix."""
        self.delete(account, region, rule.prefix)
        self._database.run(
            "INSERT INTO pull_through_rules (account, region, prefix, upstream_host,"
            " upstream_registry, upstream_prefix, credential_arn, custom_role_arn, created_at, updated_at)"
            " VALUES (:account, :region, :prefix, :upstream_host, :upstream_registry, :upstream_prefix,"
            " :credential_arn, :custom_role_arn, :created_at, :updated_at)",
            account=account,
            region=region,
            **asdict(rule),
        )

    def delete(self, account: str, region: str, prefix: str) -> None:
        """Remove a rule."""
        self._database.run(
            "DELETE FROM pull_through_rules"
            " WHERE account = :account AND region = :region AND prefix = :prefix",
            account=account,
            region=region,
            prefix=prefix,
        )


class UpstreamTags:
    """Queries on tags that came from an upstream registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, repository_id: int, name: str) -> UpstreamTag | None:
        """Return what is known of a tag, or None for one that did not come from an upstream."""
        row = self._database.one(
            "SELECT image_id, checked_at FROM upstream_tags"
            " WHERE repository_id = :repository_id AND name = :name",
            repository_id=repository_id,
            name=name,
        )
        return None if row is None else UpstreamTag(row["image_id"], row["checked_at"])

    def of_image(self, image_id: int) -> dict[str, float]:
        """Return when the tags that came from an upstream with an image were last compared, by name."""
        rows = self._database.all(
            "SELECT name, checked_at FROM upstream_tags WHERE image_id = :id ORDER BY name", id=image_id
        )
        return {row["name"]: row["checked_at"] for row in rows}

    def put(self, repository_id: int, name: str, image_id: int, checked_at: float) -> None:
        """Note that a tag was compared with its upstream, and points at this image."""
        self._database.run(
            "INSERT INTO upstream_tags (repository_id, name, image_id, checked_at)"
            " VALUES (:repository_id, :name, :image_id, :checked_at) ON CONFLICT (repository_id, name)"
            " DO UPDATE SET image_id = excluded.image_id, checked_at = excluded.checked_at",
            repository_id=repository_id,
            name=name,
            image_id=image_id,
            checked_at=checked_at,
        )


class UpstreamReferrers:
    """Queries on when an upstream registry was asked for the referrers of an image."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed_at(self, repository_id: int, subject_digest: str) -> float | None:
        """Return when the referrers of a digest were last listed, or None where they never were."""
        row = self._database.one(
            "SELECT listed_at FROM upstream_referrers"
            " WHERE repository_id = :repository_id AND subject_digest = :subject_digest",
            repository_id=repository_id,
            subject_digest=subject_digest,
        )
        return None if row is None else float(row["listed_at"])

    def put(self, repository_id: int, subject_digest: str, listed_at: float) -> None:
        """Note that the referrers of a digest were listed."""
        self._database.run(
            "INSERT INTO upstream_referrers (repository_id, subject_digest, listed_at)"
            " VALUES (:repository_id, :subject_digest, :listed_at)"
            " ON CONFLICT (repository_id, subject_digest) DO UPDATE SET listed_at = excluded.listed_at",
            repository_id=repository_id,
            subject_digest=subject_digest,
            listed_at=listed_at,
        )

    def delete(self, repository_id: int, subject_digest: str) -> None:
        """Forget that the referrers of a digest were listed."""
        self._database.run(
            "DELETE FROM upstream_referrers"
            " WHERE repository_id = :repository_id AND subject_digest = :subject_digest",
            repository_id=repository_id,
            subject_digest=subject_digest,
        )
