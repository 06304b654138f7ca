"""Pull time update exclusions: principals whose pulls are not recorded."""

from __future__ import annotations

from ecr_emulator.metadata.database import Database


class PullTimeExclusions:
    """Queries on a registry's pull time update exclusions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, account: str, region: str, principal_arn: str) -> None:
        """Add an exclusion that is not there yet."""
        self._database.run(
            "INSERT INTO pull_time_exclusions (account, region, principal_arn)"
            " VALUES (:account, :region, :principal_arn)",
            account=account,
            region=region,
            principal_arn=principal_arn,
        )

    def delete(self, account: str, region: str, principal_arn: str) -> bool:
        """Remove an exclusion; false if it was not there."""
        removed = self._database.run(
            "DELETE FROM pull_time_exclusions WHERE account = :account AND region = :region"
            " AND principal_arn = :principal_arn",
            account=account,
            region=region,
            principal_arn=principal_arn,
        )
        return removed == 1

    def page(self, account: str, region: str, after: str, limit: int) -> list[str]:
        """Return at most ``limit`` principals by ARN, from the first one past ``after``."""
        rows = self._database.all(
            "SELECT principal_arn FROM pull_time_exclusions WHERE account = :account AND region = :region"
            " AND principal_arn > :after ORDER BY principal_arn LIMIT :limit",
            account=account,
            region=region,
            after=after,
            limit=limit,
        )
        return [row["principal_arn"] for row in rows]
