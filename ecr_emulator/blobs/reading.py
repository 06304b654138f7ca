"""Reading blobs, wherever they are."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import IO

from ecr_emulator.blobs.base import Blob, BlobFile

# Bytes read from a file at a time.
CHUNK_SIZE = 1 << 20
# Chunks that one system call writes (IOV_MAX).
MAX_CHUNKS = 1024


async def between(blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
    """Give a blob's bytes from one position up to another, which it leaves out."""
    if not isinstance(blob, BlobFile):
        async for chunk in blob.read(start, end):
            yield chunk
        return
    file = await asyncio.to_thread(blob.path.open, "rb", buffering=0)
    try:
        await asyncio.to_thread(file.seek, start)
        while start < end and (chunk := await asyncio.to_thread(file.read, min(CHUNK_SIZE, end - start))):
            start += len(chunk)
            yield chunk
    finally:
        await asyncio.to_thread(file.close)


def chunks(blob: Blob) -> AsyncIterator[bytes]:
    """Give all of a blob's bytes."""
    return between(blob, 0, blob.size)


async def part(blob: Blob, start: int, end: int) -> bytes:
    """Return a blob's bytes from one position up to another, which it leaves out."""
    return b"".join([chunk async for chunk in between(blob, start, end)])


async def batches(chunks: AsyncIterable[bytes], size: int) -> AsyncIterator[list[bytes]]:
    """Gather chunks to batches of at least ``size`` bytes, but the last, and of at most MAX_CHUNKS chunks."""
    batch: list[bytes] = []
    batch_size = 0
    async for chunk in chunks:
        batch.append(chunk)
        batch_size += len(chunk)
        if len(batch) == MAX_CHUNKS:
            batch = [b"".join(batch)]
        if batch_size >= size:
            yield batch
            batch, batch_size = [], 0
    if batch:
        yield batch


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
