"""Blobs as files: ``blobs/sha256/ab/abcd….TIME-RANDOM``, and ``uploads/ID`` while they come in."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path

from ecr_emulator.blobs.base import (
    PATIENCE,
    BlobFile,
    DigestMismatchError,
    Published,
    UploadBusyError,
    UploadMissingError,
    new_name,
)
from ecr_emulator.blobs.reading import batches

# Bytes handed to a thread at a time: large enough that the hop costs little.
WRITE_SIZE = 1 << 20
# Bytes of an upload after which the disk is given what came in.
FLUSH_SIZE = 8 << 20
# Uploads whose hash state is kept between two requests; any other is hashed anew from its file.
KEPT_HASHERS = 256
# Seconds between two attempts to hold an upload.
BUSY_POLL = 0.05
# Names that are listed at a time.
LIST_SIZE = 500


class _Hasher:
    """A running SHA-256 of an upload's first ``size`` bytes (hashlib's state can't be stored)."""

    def __init__(self) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()

    def update(self, data: bytes) -> None:
        self.sha256.update(data)
        self.size += len(data)


class FilesystemBlobs:
    """A BlobStore in one folder. With ``durable`` a published blob is on the disk, not just written."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._blobs = folder / "blobs"
        self._uploads = folder / "uploads"
        self.durable = durable
        self._hashers: OrderedDict[str, _Hasher] = OrderedDict()
        self._durable_folders: set[Path] = set()
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._uploads.mkdir(exist_ok=True)

    @contextlib.asynccontextmanager
    async def upload(self, upload_id: str, *, patience: float = PATIENCE) -> AsyncIterator[FileUpload]:
        """Hold an upload, new or begun, for one request."""
        path = self._uploads / upload_id
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while (descriptor := await asyncio.to_thread(_open_locked, path)) is None:
            if loop.time() > deadline:
                raise UploadBusyError
            await asyncio.sleep(BUSY_POLL)
        upload = FileUpload(self, upload_id, descriptor, path)
        try:
            yield upload
        except BaseException as error:
            upload.forget()
            if isinstance(error, Exception):
                await asyncio.to_thread(upload.undo)
            raise
        finally:
            upload.close()

    async def discard(self, upload_id: str) -> None:
        """Remove an upload's bytes, if there are any."""
        self._hashers.pop(upload_id, None)
        await asyncio.to_thread((self._uploads / upload_id).unlink, missing_ok=True)

    async def upload_ids(self, idle: float = 0.0) -> list[str]:
        """Return the ids of the uploads of which there are bytes, none written within ``idle`` seconds."""
        return await asyncio.to_thread(self._upload_ids, idle)

    def _upload_ids(self, idle: float) -> list[str]:
        if idle <= 0:
            return os.listdir(self._uploads)
        written_before = time.time() - idle
        ids = []
        with os.scandir(self._uploads) as entries:
            for entry in entries:
                # One that has ended since it was listed is none any more.
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_mtime <= written_before:
                        ids.append(entry.name)
        return ids

    async def open(self, name: str) -> BlobFile | None:
        """Return the blob's file, or None where it is not there."""
        path = self._blobs / name
        try:
            return BlobFile(path, (await asyncio.to_thread(path.stat)).st_size)
        except FileNotFoundError:
            return None

    async def names(self) -> AsyncIterator[list[str]]:
        """Give the names of the blobs, a folder at a time and in batches."""
        for algorithm in await asyncio.to_thread(_names, self._blobs):
            for prefix in await asyncio.to_thread(_names, self._blobs / algorithm):
                folder = f"{algorithm}/{prefix}"
                names = await asyncio.to_thread(_names, self._blobs / folder)
                for start in range(0, len(names), LIST_SIZE):
                    yield [f"{folder}/{name}" for name in names[start : start + LIST_SIZE]]

    async def remove(self, name: str) -> int | None:
        """Remove a blob, and return its size in bytes, or None where it is not there."""
        return await asyncio.to_thread(self._remove, name)

    def _remove(self, name: str) -> int | None:
        path = self._blobs / name
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return None
        return size

    async def close(self) -> None:
        """Nothing is held open between two requests."""

    def kept_hasher(self, upload_id: str, size: int) -> _Hasher | None:
        """Return the hasher of an upload's first ``size`` bytes where it was kept."""
        hasher = self._hashers.pop(upload_id, None)
        return hasher if hasher is not None and hasher.size == size else None

    def drop_hasher(self, upload_id: str) -> None:
        """Keep the hasher of an upload no longer."""
        self._hashers.pop(upload_id, None)

    def keep_hasher(self, upload_id: str, hasher: _Hasher) -> None:
        """Keep a hasher for the upload's next request, dropping the one unused for longest."""
        self._hashers[upload_id] = hasher
        while len(self._hashers) > KEPT_HASHERS:
            self._hashers.popitem(last=False)

    def publish(self, upload: Path, descriptor: int, digest: str) -> str:
        """Link an upload's file as a blob, and return its name."""
        if self.durable:
            os.fsync(descriptor)
        name = new_name(digest, upload.name)
        path = self._blobs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(upload, path)
        if self.durable:
            _fsync_folder(path.parent)
            if path.parent not in self._durable_folders:
                for folder in path.parents[1:3]:
                    _fsync_folder(folder)
                self._durable_folders.add(path.parent)
        return name


def _open_locked(path: Path) -> int | None:
    """Open an upload's file and keep out other requests, of this and of other server processes.

    Returns None where another has it. Raises UploadMissingError where the upload has ended meanwhile.
    """
    with contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        try:
            is_upload = os.path.samestat(os.fstat(descriptor), path.stat())
        except FileNotFoundError:
            is_upload = False
        if not is_upload:
            raise UploadMissingError
        stack.pop_all()
        return descriptor


class FileUpload:
    """An UploadWriter over a file that is open and locked."""

    def __init__(self, store: FilesystemBlobs, upload_id: str, descriptor: int, path: Path) -> None:
        self._store = store
        self._id = upload_id
        self._descriptor = descriptor
        self._path = path
        self._size_before: int | None = None

    async def append(self, offset: int, chunks: AsyncIterable[bytes]) -> int:
        """Write from ``offset`` on and return the upload's new size."""
        if self._is_published():
            # A completion got no further than this: the bytes are a blob's too, and have to stay as they are.
            await asyncio.to_thread(self._part_from_blob, offset)
        hasher = await self._hasher(offset)
        self._size_before = position = offset
        writing: asyncio.Future[None] | None = None
        try:
            async for batch in batches(chunks, WRITE_SIZE):
                if writing is not None:
                    await asyncio.shield(writing)
                # The next batch is received while this one is written and hashed.
                writing = asyncio.ensure_future(asyncio.to_thread(self._write, batch, position, hasher))
                position += sum(map(len, batch))
            if writing is not None:
                await asyncio.shield(writing)
        finally:
            # The file is neither cut nor closed while a thread writes to it.
            if writing is not None:
                await asyncio.gather(writing, return_exceptions=True)
        self._store.keep_hasher(self._id, hasher)
        return position

    def _part_from_blob(self, size: int) -> None:
        """Go on with a copy of the upload's first ``size`` bytes."""
        if os.fstat(self._descriptor).st_size < size:
            raise UploadMissingError
        aside = self._path.with_name(f"{self._path.name}.copy")
        with contextlib.ExitStack() as stack:
            copy = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, copy)
            fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            position = 0
            while position < size:
                position += os.copy_file_range(self._descriptor, copy, size - position, position, position)
            aside.replace(self._path)
            stack.pop_all()
            os.close(self._descriptor)
            self._descriptor = copy

    def close(self) -> None:
        """Let go of the file, which also unlocks it."""
        os.close(self._descriptor)

    def forget(self) -> None:
        """Keep no hasher of what was appended.

        Another process may take other bytes in the place of those that nobody acknowledged.
        """
        if self._size_before is not None:
            self._store.drop_hasher(self._id)

    def undo(self) -> None:
        """Drop what was appended: it has to make room where the disk is full.

        Not where it was published: whoever failed after that may not know whether the blob is wanted.
        """
        if self._size_before is not None and not self._is_published():
            os.ftruncate(self._descriptor, self._size_before)

    async def read(self, size: int) -> AsyncIterator[bytes]:
        """Give the upload's first ``size`` bytes."""
        position = 0
        while position < size:
            length = min(WRITE_SIZE, size - position)
            data = await asyncio.to_thread(os.pread, self._descriptor, length, position)
            if not data:
                raise UploadMissingError
            yield data
            position += len(data)

    async def publish(self, size: int, digests: Sequence[str]) -> Published:
        """Make the upload's first ``size`` bytes a blob, durably, under a new name."""
        hasher = await self._hasher(size)
        self._store.keep_hasher(self._id, hasher)
        for digest in digests or [f"sha256:{hasher.sha256.hexdigest()}"]:
            algorithm = digest.partition(":")[0]
            if algorithm == "sha256":
                actual = f"sha256:{hasher.sha256.hexdigest()}"
            else:
                actual = await asyncio.to_thread(self._hash_file, algorithm)
            if actual == digest:
                name = await asyncio.to_thread(self._store.publish, self._path, self._descriptor, digest)
                return Published(digest, name)
        raise DigestMismatchError(actual)

    def _is_published(self) -> bool:
        return os.fstat(self._descriptor).st_nlink > 1

    async def _hasher(self, size: int) -> _Hasher:
        """Return the hasher of the first ``size`` bytes, having cut off what follows them."""
        kept = self._store.kept_hasher(self._id, size)
        if kept is None and size == 0:
            kept = _Hasher()
        if kept is not None and os.fstat(self._descriptor).st_size == size:
            return kept
        return await asyncio.to_thread(self._prepare, size, kept)

    def _prepare(self, size: int, kept: _Hasher | None) -> _Hasher:
        present = os.fstat(self._descriptor).st_size
        if present < size:
            raise UploadMissingError
        if present > size:
            os.ftruncate(self._descriptor, size)
        if kept is not None:
            return kept
        hasher = _Hasher()
        while data := os.pread(self._descriptor, WRITE_SIZE, hasher.size):
            hasher.update(data)
        return hasher

    def _write(self, batch: Sequence[bytes], position: int, hasher: _Hasher) -> None:
        before = position
        for chunk in batch:
            hasher.update(chunk)
        views = [memoryview(chunk) for chunk in batch]
        while views:
            written = os.pwritev(self._descriptor, views, position)
            position += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]
        block = before - before % FLUSH_SIZE
        if self._store.durable and position - block >= FLUSH_SIZE:
            # Linux begins to write to the disk what publishing would wait for. Of pages that are to be
            # written it drops none, so that the first pull finds them in memory.
            os.posix_fadvise(self._descriptor, block, position - block, os.POSIX_FADV_DONTNEED)

    def _hash_file(self, algorithm: str) -> str:
        with open(self._path, "rb") as file:
            return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _names(folder: Path) -> list[str]:
    """Return the names in a folder, in order; none where it is not there."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
