"""Blobs as objects of S3, or of a service that speaks its API.

``PREFIX/blobs/sha256/ab/abcd….0123`` is a blob. ``PREFIX/uploads/ID/`` has the pieces of an upload, one
object for each append, and for as long as a request holds it an object that keeps others out. Servers meet
in the bucket alone: whatever one of them has in memory, another can read back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from functools import partial
from typing import Any, Self

from msgspec import Struct

from ecr_emulator.blobs import pieces
from ecr_emulator.blobs.base import (
    PATIENCE,
    BlobStream,
    DigestMismatchError,
    Published,
    UploadMissingError,
    new_name,
)
from ecr_emulator.blobs.bucket import Bucket, MissingError, Part, S3Location, clean_up
from ecr_emulator.blobs.leases import Lease
from ecr_emulator.blobs.pieces import Piece, Slice

# Bytes of a part that is sent, at least.
PART_SIZE = 8 * 1024 * 1024
# Uploads whose hash state is kept between two requests; any other is hashed anew from its pieces.
KEPT_HASHERS = 256
# Seconds after which a blob that is not all put together is taken for one that a killed server left.
UNFINISHED_AGE = 24 * 3600.0

_LEASE = "lease"


class _Hashed(Struct, frozen=True):
    """A running SHA-256 of slices (hashlib's state can't be stored)."""

    slices: list[Slice]
    sha256: Any

    @classmethod
    def nothing(cls) -> Self:
        return cls([], hashlib.sha256())


class S3Blobs:
    """A BlobStore in a bucket, which ``connect`` opens."""

    def __init__(self, bucket: Bucket, location: S3Location) -> None:
        self.bucket = bucket
        self._blobs = f"{location.prefix}blobs/"
        self._uploads = f"{location.prefix}uploads/"
        self._redirect = location.redirect
        self._hashed: OrderedDict[str, _Hashed] = OrderedDict()

    @classmethod
    async def connect(cls, location: S3Location) -> Self:
        """Open the store. Raises BlobSetupError for a bucket that can't be used."""
        return cls(await Bucket.connect(location), location)

    async def close(self) -> None:
        """Let go of the connections."""
        await self.bucket.close()

    async def open(self, name: str) -> BlobStream | None:
        """Return what a blob can be read from, or None where it is not there."""
        key = self._blobs + name
        size = await self.bucket.size(key)
        if size is None:
            return None
        url = partial(self.bucket.url, key) if self._redirect else None
        return BlobStream(size, partial(self.bucket.read, key), url)

    async def names(self) -> AsyncIterator[list[str]]:
        """Give the names of the blobs, in batches; then those of which a killed server left parts."""
        async for listed in self.bucket.objects(self._blobs):
            yield [each.key.removeprefix(self._blobs) for each in listed]
        async for listed in self.bucket.unfinished(self._blobs):
            yield [each.key.removeprefix(self._blobs) for each in listed if each.age >= UNFINISHED_AGE]

    async def remove(self, name: str) -> int | None:
        """Remove a blob, and return its size in bytes, or None where it is not there."""
        key = self._blobs + name
        size = await self.bucket.size(key)
        if size is None:
            await self.bucket.abort(key)
        else:
            await self.bucket.delete([key])
        return size

    @contextlib.asynccontextmanager
    async def upload(self, upload_id: str, *, patience: float = PATIENCE) -> AsyncIterator[S3Upload]:
        """Hold an upload, new or begun, for one request."""
        folder = self._folder(upload_id)
        async with Lease(self.bucket, folder + _LEASE).held(patience) as lease:
            upload = S3Upload(self, upload_id, folder, lease, self._hashed.get(upload_id, _Hashed.nothing()))
            try:
                yield upload
            except Exception:
                await upload.undo()
                raise
            self._hashed[upload_id] = upload.hashed
            self._hashed.move_to_end(upload_id)
            while len(self._hashed) > KEPT_HASHERS:
                self._hashed.popitem(last=False)

    def _folder(self, upload_id: str) -> str:
        return f"{self._uploads}{upload_id}/"

    async def discard(self, upload_id: str) -> None:
        """Remove an upload's bytes, if there are any."""
        self._hashed.pop(upload_id, None)
        folder = self._folder(upload_id)
        await self.bucket.abort(folder)
        async for listed in self.bucket.objects(folder):
            await self.bucket.delete([each.key for each in listed])

    async def upload_ids(self, idle: float = 0.0) -> list[str]:
        """Return the ids of the uploads of which there are bytes, none written within ``idle`` seconds."""
        ages: dict[str, float] = {}
        for listing in (self.bucket.objects(self._uploads), self.bucket.unfinished(self._uploads)):
            async for listed in listing:
                for each in listed:
                    upload_id = each.key.removeprefix(self._uploads).partition("/")[0]
                    ages[upload_id] = min(each.age, ages.get(upload_id, each.age))
        return [upload_id for upload_id, age in ages.items() if age >= idle]

    async def pieces(self, folder: str) -> list[Piece]:
        """Return the pieces of an upload."""
        return [
            Piece(each.key, int(each.key.removeprefix(folder).partition("-")[0]), each.size)
            async for listed in self.bucket.objects(folder)
            for each in listed
            if each.key != folder + _LEASE
        ]

    async def read_slices(self, slices: Iterable[Slice]) -> AsyncIterator[bytes]:
        """Give the bytes of slices. Raises UploadMissingError where a piece is not there any more."""
        try:
            for each in slices:
                async for chunk in self.bucket.read(each.piece.key, each.start, each.stop):
                    yield chunk
        except MissingError:
            raise UploadMissingError from None

    async def publish(self, name: str, slices: Sequence[Slice]) -> None:
        """Make a blob of slices, within S3 where they are large enough.

        Raises UploadMissingError where a piece is not there any more.
        """
        key = self._blobs + name
        size = sum(each.size for each in slices)
        divided = pieces.parts(slices)
        try:
            if len(divided) == 1 and len(slices) == 1 and slices[0].is_whole:
                await self.bucket.copy(slices[0].piece.key, key)
            elif size < pieces.MIN_PART:
                await self.bucket.put(key, b"".join([chunk async for chunk in self.read_slices(slices)]))
            else:
                async with self.bucket.multipart(key, copies=True) as multipart:
                    for part in divided:
                        if len(part) > 1 or part[0].size < pieces.MIN_PART:
                            await multipart.send_all(self.read_slices(part))
                        else:
                            span = None if part[0].is_whole else (part[0].start, part[0].stop)
                            await multipart.copy(part[0].piece.key, span)
                    await multipart.complete(size)
        except MissingError:
            raise UploadMissingError from None


class S3Upload:
    """An UploadWriter over the objects of an upload, which has to be held."""

    def __init__(self, store: S3Blobs, upload_id: str, folder: str, lease: Lease, hashed: _Hashed) -> None:
        self._store = store
        self._id = upload_id
        self._folder = folder
        self._lease = lease
        self.hashed = hashed
        self._written: list[str] = []

    async def append(self, offset: int, chunks: AsyncIterable[bytes]) -> int:
        """Write from ``offset`` on and return the upload's new size."""
        listed = await self._store.pieces(self._folder)
        await self._store.bucket.delete([piece.key for piece in listed if piece.offset >= offset])
        before = await self._hash([piece for piece in listed if piece.offset < offset], offset)
        sha256 = before.sha256.copy()
        key = f"{self._folder}{offset:012}-{secrets.token_hex(8)}"
        self._written.append(key)
        try:
            size = await self._store.bucket.write(key, _hashing(sha256, _parts(chunks)))
        except MissingError:
            raise UploadMissingError from None
        # Whoever holds it now may have gone on from the same byte.
        self._lease.check()
        if size > 0:
            self.hashed = _Hashed([*before.slices, Slice(Piece(key, offset, size), 0, size)], sha256)
        return offset + size

    async def undo(self) -> None:
        """Drop what was appended."""
        if self._written:
            await clean_up(self._store.bucket.delete(self._written))

    async def read(self, size: int) -> AsyncIterator[bytes]:
        """Give the upload's first ``size`` bytes."""
        slices = pieces.first_bytes(await self._store.pieces(self._folder), size)
        async for chunk in self._store.read_slices(slices):
            yield chunk

    async def publish(self, size: int, digests: Sequence[str]) -> Published:
        """Make the upload's first ``size`` bytes a blob, durably, under a new name."""
        self.hashed = await self._hash(await self._store.pieces(self._folder), size)
        for digest in digests or [f"sha256:{self.hashed.sha256.hexdigest()}"]:
            algorithm, _, encoded = digest.partition(":")
            if algorithm == "sha256":
                actual = self.hashed.sha256.hexdigest()
            else:
                actual = (await self._read(algorithm, self.hashed.slices)).hexdigest()
            if actual == encoded:
                name = new_name(digest, self._id)
                await self._store.publish(name, self.hashed.slices)
                return Published(digest, name)
        raise DigestMismatchError(f"{algorithm}:{actual}")

    async def _hash(self, listed: Iterable[Piece], size: int) -> _Hashed:
        """Return the hash of the first ``size`` bytes of pieces, of these and no others.

        So what is put together is what was hashed, whoever else wrote to the upload.
        """
        slices = pieces.first_bytes(listed, size)
        if slices != self.hashed.slices:
            return _Hashed(slices, await self._read("sha256", slices))
        return self.hashed

    async def _read(self, algorithm: str, slices: Sequence[Slice]) -> Any:
        hasher = hashlib.new(algorithm)
        async for part in _parts(self._store.read_slices(slices)):
            await asyncio.to_thread(hasher.update, part.content)
        return hasher


async def _parts(chunks: AsyncIterable[bytes]) -> AsyncIterator[Part]:
    """Join small chunks to parts of at least PART_SIZE, but for the last."""
    held: list[bytes] = []
    size = 0
    async for chunk in chunks:
        if size >= PART_SIZE and chunk:
            held, size = [b"".join(held)], 0
            # Not kept while the next one comes in.
            yield Part(held.pop(), is_last=False)
        held.append(chunk)
        size += len(chunk)
    if size:
        yield Part(b"".join(held), is_last=True)


async def _hashing(hasher: Any, parts: AsyncIterable[Part]) -> AsyncIterator[Part]:
    """Hand parts on, each hashed in a thread while the next comes in."""
    hashing: asyncio.Future[None] | None = None
    async for part in parts:
        if hashing is not None:
            await hashing
        hashing = asyncio.ensure_future(asyncio.to_thread(hasher.update, part.content))
        yield part
        del part
    if hashing is not None:
        await hashing
