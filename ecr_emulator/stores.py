"""Opens the stores that settings name, for the server and for commands beside it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from ecr_emulator.blobs.base import BlobSetupError
from ecr_emulator.blobs.selection import open_blobs
from ecr_emulator.core import clock
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.emulator import Stores, StoresError
from ecr_emulator.core.encryption import Encryption, KeysFileError
from ecr_emulator.metadata.selection import MetadataSetupError, has_metadata, open_metadata
from ecr_emulator.settings import MEMORY, Settings

# The settings that say where the stores are, and what they are encrypted with.
SETTINGS = ("data_dir", "metadata_url", "blobs_url", "encryption_keys")


async def open_in(folder: Path, settings: Settings) -> Stores:
    """Open the stores, whose files are in a folder that is there. Raises StoresError."""
    # A throw-away server has nothing to lose in a crash of the machine.
    durable = settings.data_dir != MEMORY
    try:
        encryption = Encryption.load(settings.encryption_keys)
        blobs = await open_blobs(settings, folder, durable=durable)
    except (KeysFileError, BlobSetupError) as error:
        raise StoresError(str(error)) from error
    try:
        metadata, locks = open_metadata(settings, folder, durable=durable)
    except MetadataSetupError as error:
        await blobs.close()
        raise StoresError(str(error)) from error
    return Stores(settings, metadata, locks, blobs, Clock(), encryption)


@contextlib.asynccontextmanager
async def opened(settings: Settings, *, create: bool = False) -> AsyncIterator[Stores]:
    """Open the stores for a command, beside servers that may have them too.

    Where there are none they are made with ``create``. Raises StoresError.
    """
    folder = Path(settings.data_dir)
    if settings.data_dir == MEMORY:
        raise StoresError(f"{MEMORY} is a server's alone; name a folder with --data-dir")
    if not create and not has_metadata(settings, folder):
        raise StoresError(f"there is no registry in the data folder {folder}; name another with --data-dir")
    _make(folder)
    stores = await open_in(folder, settings)
    try:
        if settings.metadata_url:
            offset = await stores.metadata.read(clock.find_offset)
            stores.clock.offset = offset or 0.0
        yield stores
    finally:
        await stores.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoresError(f"can't use the data folder {folder}: {error.strerror}") from None
