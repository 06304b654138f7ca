"""Opens the stores that settings name, for the server and for commands beside it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from ecr_emulator.blobs.base import BlobStore
from ecr_emulator.blobs.filesystem import FilesystemBlobs
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.emulator import Stores, StoresError
from ecr_emulator.metadata.sqlite import SqliteMetadata
from ecr_emulator.metadata.store import MetadataStore
from ecr_emulator.settings import MEMORY, Settings

# The settings that say where the stores are.
SETTINGS = ("data_dir",)
_METADATA_FILE = "metadata.sqlite"


def open_in(folder: Path, settings: Settings) -> tuple[MetadataStore, BlobStore]:
    """Open the stores, whose files are in a folder that is there. Raises StoresError."""
    # A throw-away server has nothing to lose in a crash of the machine.
    durable = settings.data_dir != MEMORY
    try:
        blobs = FilesystemBlobs(folder, durable=durable)
        return SqliteMetadata(folder / _METADATA_FILE, durable=durable), blobs
    except Exception as error:
        raise StoresError(f"can't use the data folder {folder}: {error}") from error


@contextlib.asynccontextmanager
async def opened(settings: Settings, *, create: bool = False) -> AsyncIterator[Stores]:
    """Open the stores for a command, beside a server that may have them too.

    Where there are none they are made with ``create``. Raises StoresError.
    """
    folder = Path(settings.data_dir)
    if settings.data_dir == MEMORY:
        raise StoresError(f"{MEMORY} is a server's alone; name a folder with --data-dir")
    if not create and not (folder / _METADATA_FILE).is_file():
        raise StoresError(f"there is no registry in the data folder {folder}; name another with --data-dir")
    _make(folder)
    metadata, blobs = open_in(folder, settings)
    try:
        yield Stores(settings, metadata, blobs, Clock())
    finally:
        await metadata.close()
        await blobs.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoresError(f"can't use the data folder {folder}: {error.strerror}") from None
