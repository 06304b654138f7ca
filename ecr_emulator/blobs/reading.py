"""Reading blobs whole, wherever they are."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from ecr_emulator.blobs.base import Blob, BlobFile

# Bytes read from a file at a time.
CHUNK_SIZE = 1 << 20


async def chunks(blob: Blob) -> AsyncIterator[bytes]:
    """Give a blob's bytes."""
    if not isinstance(blob, BlobFile):
        async for chunk in blob.read(0, blob.size):
            yield chunk
        return
    file = await asyncio.to_thread(blob.path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK_SIZE):
            yield chunk
    finally:
        await asyncio.to_thread(file.close)


@contextlib.asynccontextmanager
async def as_file(blob: Blob) -> AsyncIterator[Path]:
    """Give a file with a blob's bytes, which must not be changed; a copy, where the blob is none."""
    if isinstance(blob, BlobFile):
        yield blob.path
        return
    copy = await asyncio.to_thread(_new_file)
    try:
        async for chunk in chunks(blob):
            await asyncio.to_thread(copy.write, chunk)
        await asyncio.to_thread(copy.flush)
        yield Path(copy.name)
    finally:
        await asyncio.to_thread(copy.close)


def _new_file() -> IO[bytes]:
    """Return a file that is gone when it is closed."""
    return tempfile.NamedTemporaryFile(prefix="ecr-emulator-blob-")
