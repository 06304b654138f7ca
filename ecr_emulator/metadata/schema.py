"""The schema's migrations, which are written once for all databases, in the words of SQLite."""

from __future__ import annotations

from importlib import resources


class SchemaTooNewError(RuntimeError):
    """The database was written by a newer version of the emulator."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the database has schema {version}, this version of the emulator knows {newest()}")


class WrongSchemaError(ValueError):
    """The database has not the schema of this program, which only reads it."""

    def __init__(self, name: object, version: int) -> None:
        super().__init__(f"{name} has schema {version}, not {newest()}; start the server on it first")


def migrations() -> list[tuple[int, str]]:
    """Return the migrations as (number, SQL), in order."""
    folder = resources.files("ecr_emulator.metadata.migrations")
    scripts = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name.split("_")[0]), entry.read_text()) for name, entry in scripts]


def newest() -> int:
    """Return the number of the newest migration."""
    return migrations()[-1][0]
