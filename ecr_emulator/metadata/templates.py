"""Repository creation templates: what repositories get that ECR itself creates."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from ecr_emulator.metadata.database import Database, Row
from ecr_emulator.metadata.prefixes import page_by_prefix


class CreationTemplate(Struct, frozen=True):
    """A template; ``prefix`` is without the slash that is always meant, times are seconds since 1970."""

    prefix: str
    description: str | None
    encryption_type: str
    kms_key: str | None
    resource_tags: dict[str, str]
    tag_mutability: str
    tag_exclusions: tuple[str, ...]
    repository_policy: str | None
    lifecycle_policy: str | None
    applied_for: tuple[str, ...]
    custom_role_arn: str | None
    created_at: float
    updated_at: float


def _template(row: Row) -> CreationTemplate:
    values: dict[str, Any] = {name: row[name] for name in CreationTemplate.__struct_fields__}
    values["resource_tags"] = json.loads(values["resource_tags"])
    values["tag_exclusions"] = tuple(json.loads(values["tag_exclusions"]))
    values["applied_for"] = tuple(json.loads(values["applied_for"]))
    return CreationTemplate(**values)


class CreationTemplates:
    """Queries on repository creation templates."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, account: str, region: str, prefix: str) -> CreationTemplate | None:
        """Return the template of a prefix."""
        return next(iter(self.page(account, region, [prefix], "", 1)), None)

    def page(
        self, account: str, region: str, prefixes: Collection[str] | None, after: str, limit: int
    ) -> list[CreationTemplate]:
        """Return at most ``limit`` templates by prefix, past ``after``: of these prefixes, or all."""
        rows = page_by_prefix(self._database, "creation_templates", account, region, prefixes, after, limit)
        return [_template(row) for row in rows]

    def put(self, account: str, region: str, template: CreationTemplate) -> None:
        """Add a template, or replace the one of its prefix."""
        values: dict[str, Any] = asdict(template)
        for name in ("resource_tags", "tag_exclusions", "applied_for"):
            values[name] = json.dumps(values[name])
        self.delete(account, region, template.prefix)
        self._database.run(
            "INSERT INTO creation_templates (account, region, prefix, description,"
            " encryption_type, kms_key, resource_tags, tag_mutability, tag_exclusions, repository_policy,"
            " lifecycle_policy, applied_for, custom_role_arn, created_at, updated_at)"
            " VALUES (:account, :region, :prefix, :description,"
            " :encryption_type, :kms_key, :resource_tags, :tag_mutability, :tag_exclusions,"
            " :repository_policy, :lifecycle_policy, :applied_for, :custom_role_arn, :created_at,"
            " :updated_at)",
            account=account,
            region=region,
            **values,
        )

    def delete(self, account: str, region: str, prefix: str) -> None:
        """Remove a template."""
        self._database.run(
            "DELETE FROM creation_templates"
            " WHERE account = :account AND region = :region AND prefix = :prefix",
            account=account,
            region=region,
            prefix=prefix,
        )
