"""What the server keeps about itself, by name."""

from __future__ import annotations

from ecr_emulator.metadata.database import Database


class ServerValues:
    """Queries on the server's own values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        """Return a value, or None where it was never set."""
        row = self._database.one("SELECT value FROM server_values WHERE name = :name", name=name)
        return None if row is None else str(row["value"])

    def put(self, name: str, value: str) -> None:
        """Set a value."""
        self._database.run(
            "INSERT INTO server_values (name, value) VALUES (:name, :value)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name=name,
            value=value,
        )
