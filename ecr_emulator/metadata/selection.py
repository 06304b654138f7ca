"""The metadata store that the settings choose: SQLite in the data folder, or a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ecr_emulator.metadata import sqlite
from ecr_emulator.metadata.locks import FileLocks, Locks
from ecr_emulator.metadata.schema import SchemaTooNewError
from ecr_emulator.metadata.store import MetadataStore, Transaction
from ecr_emulator.settings import Settings

T = TypeVar("T")

_FILE = "metadata.sqlite"


class MetadataSetupError(RuntimeError):
    """The metadata can't be had; the message tells a person why."""


def open_metadata(settings: Settings, folder: Path, *, durable: bool) -> tuple[MetadataStore, Locks]:
    """Open the store, and the locks that the servers over it share. Raises MetadataSetupError.

    Without ``durable`` a store in the folder loses its last commits where the machine crashes.
    """
    if settings.metadata_url:
        try:
            from ecr_emulator.metadata import postgresql
        except ImportError:
            raise MetadataSetupError(
                "metadata_url needs psycopg: pip install 'ecr-emulator[scaled]'"
            ) from None
        try:
            return postgresql.PostgresMetadata(settings.metadata_url), postgresql.PostgresLocks(
                settings.metadata_url
            )
        except (postgresql.DatabaseSetupError, SchemaTooNewError) as error:
            raise MetadataSetupError(str(error)) from error
    try:
        metadata = sqlite.SqliteMetadata(folder / _FILE, durable=durable)
    except Exception as error:
        raise MetadataSetupError(f"can't use the data folder {folder}: {error}") from error
    return metadata, FileLocks(folder, _FILE)


def has_metadata(settings: Settings, folder: Path) -> bool:
    """Tell whether there is a store to be opened; in a database, it is made where there is none."""
    return bool(settings.metadata_url) or (folder / _FILE).is_file()


def read_metadata(settings: Settings, function: Callable[[Transaction], T]) -> T:
    """Run a function that only reads, beside the servers that may have the metadata.

    Raises OSError where there are none that can be read, and ValueError for those of another schema.
    """
    if not settings.metadata_url:
        return sqlite.read_file(Path(settings.data_dir) / _FILE, function)
    from ecr_emulator.metadata import postgresql

    return postgresql.read_database(settings.metadata_url, function)
