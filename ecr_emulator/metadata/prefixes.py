"""Pages of the tables whose rows are told apart by a repository prefix."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Literal

from ecr_emulator.metadata.database import Database, Row


def page_by_prefix(
    database: Database,
    table: Literal["creation_templates", "pull_through_rules"],
    account: str,
    region: str,
    prefixes: Collection[str] | None,
    after: str,
    limit: int,
) -> Sequence[Row]:
    """Return at most ``limit`` rows of a registry by prefix, past ``after``: of these prefixes, or all."""
    named = "" if prefixes is None else " AND prefix IN (SELECT value FROM json_each(:prefixes))"
    return database.all(
        f"SELECT * FROM {table} WHERE account = :account AND region = :region"
        f" AND prefix > :after{named} ORDER BY prefix LIMIT :limit",
        account=account,
        region=region,
        prefixes=json.dumps(list(prefixes or ())),
        after=after,
        limit=limit,
    )
