"""Pages of the tables whose rows are told apart by a repository prefix."""

from __future__ import annotations

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
    parameters: dict[str, object] = {"account": account, "region": region, "after": after, "limit": limit}
    named = ""
    if prefixes is not None:
        if not prefixes:
            return []
        # One parameter each, which makes it look-ups in the index: a push and a pull ask this.
        places = {f"prefix{index}": prefix for index, prefix in enumerate(prefixes)}
        named = f" AND prefix IN ({', '.join(f':{place}' for place in places)})"
        parameters |= places
    return database.all(
        f"SELECT * FROM {table} WHERE account = :account AND region = :region"
        f" AND prefix > :after{named} ORDER BY prefix LIMIT :limit",
        **parameters,
    )
