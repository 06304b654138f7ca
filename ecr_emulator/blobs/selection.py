"""The blob store that the settings choose: files in the data folder, or a bucket of S3."""

from __future__ import annotations

from pathlib import Path

from ecr_emulator.blobs.base import BlobSetupError, BlobStore
from ecr_emulator.blobs.filesystem import FilesystemBlobs
from ecr_emulator.settings import Settings


async def open_blobs(settings: Settings, folder: Path, *, durable: bool) -> BlobStore:
    """Open the store. Raises BlobSetupError.

    Without ``durable`` a store in the folder may lose what it published last where the machine crashes.
    """
    if settings.blobs_url:
        try:
            from ecr_emulator.blobs.bucket import S3Location
            from ecr_emulator.blobs.s3 import S3Blobs
        except ImportError:
            raise BlobSetupError("blobs_url needs aiobotocore: pip install 'ecr-emulator[scaled]'") from None
        try:
            return await S3Blobs.connect(S3Location.parse(settings.blobs_url))
        except BlobSetupError as error:
            raise BlobSetupError(f"can't use blobs_url: {error}") from error
    try:
        return FilesystemBlobs(folder, durable=durable)
    except OSError as error:
        raise BlobSetupError(f"can't use the data folder {folder}: {error}") from error
