"""What is configured for a whole registry, by name."""

from __future__ import annotations

from ecr_emulator.metadata.database import Database


class RegistryValues:
    """Queries on a registry's values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, account: str, region: str, name: str) -> str | None:
        """Return a value, or None where it is not set."""
        row = self._database.one(
            "SELECT value FROM registry_values"
            " WHERE account = :account AND region = :region AND name = :name",
            account=account,
            region=region,
            name=name,
        )
        return None if row is None else str(row["value"])

    def put(self, account: str, region: str, name: str, value: str) -> None:
        """Set a value."""
        self._database.run(
            "INSERT INTO registry_values (account, region, name, value)"
            " VALUES (:account, :region, :name, :value)"
            " ON CONFLICT (account, region, name) DO UPDATE SET value = excluded.value",
            account=account,
            region=region,
            name=name,
            value=value,
        )

    def delete(self, account: str, region: str, name: str) -> None:
        """Remove a value."""
        self._database.run(
            "DELETE FROM registry_values WHERE account = :account AND region = :region AND name = :name",
            account=account,
            region=region,
            name=name,
        )
