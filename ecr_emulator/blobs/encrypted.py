"""Encrypted uploads and blobs, over whatever store has their bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

from ecr_emulator.blobs import reading
from ecr_emulator.blobs.base import (
    Blob,
    BlobStream,
    CorruptBlobError,
    DigestMismatchError,
    Position,
    Published,
    UploadMissingError,
    UploadWriter,
)
from ecr_emulator.blobs.cipher import HEADER_SIZE, TAIL_SIZE, Cipher, Encryptor, Layout

# Uploads whose state is kept between two requests; any other is read again from its bytes.
KEPT_STATES = 256
# Bytes encrypted at a time.
BATCH_SIZE = 1 << 20


class _State:
    """How far an upload has come: its cipher's state, and a running SHA-256 of its plaintext."""

    def __init__(self, encryptor: Encryptor, sha256: Any) -> None:
        self.encryptor = encryptor
        self.sha256 = sha256

    @property
    def position(self) -> Position:
        return Position(self.encryptor.size, self.encryptor.stored_size)

    def take(self, data: bytes) -> bytes:
        self.sha256.update(data)
        return self.encryptor.append(data)


class States:
    """What is kept of uploads between two requests, by their ids: how far they were acknowledged."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, _State] = OrderedDict()

    def pop(self, upload_id: str, position: Position) -> _State | None:
        """Return the state of an upload that has come to a position, where it was kept."""
        state = self._states.pop(upload_id, None)
        return state if state is not None and state.position == position else None

    def keep(self, upload_id: str, state: _State) -> None:
        """Keep a state for the upload's next request, dropping the one unused for longest."""
        self._states[upload_id] = state
        while len(self._states) > KEPT_STATES:
            self._states.popitem(last=False)


class EncryptedUpload:
    """An upload of which the store has encrypted bytes, held for one request by ``writer``."""

    def __init__(
        self, writer: UploadWriter, upload_id: str, position: Position, cipher: Cipher, states: States
    ) -> None:
        self._writer = writer
        self._id = upload_id
        self._position = position
        self._cipher = cipher
        self._states = states
        self._state: _State | None = None

    def keep(self) -> None:
        """Keep the state for the next request, once it was acknowledged how far the upload has come.

        Not before: another process may take other bytes in the place of those that nobody acknowledged.
        """
        if self._state is not None:
            self._states.keep(self._id, self._state)

    async def append(self, chunks: AsyncIterable[bytes]) -> Position:
        """Append bytes, as an UploadWriter does, and return how far the upload has come."""
        state, self._state = await self._reached(), None
        await self._writer.append(self._position.stored_size, _encrypted(state, chunks))
        self._state, self._position = state, state.position
        return self._position

    async def publish(self, digests: Sequence[str]) -> Published:
        """Make the upload a blob, as an UploadWriter does; the digests are those of the plaintext."""
        state = self._state = await self._reached()
        for digest in digests:
            algorithm = digest.partition(":")[0]
            hasher = state.sha256 if algorithm == "sha256" else (await self._read(algorithm)).sha256
            actual = f"{algorithm}:{hasher.hexdigest()}"
            if actual == digest:
                return Published(digest, await self._publish(state.encryptor.trailer()))
        raise DigestMismatchError(actual)

    async def _publish(self, trailer: bytes) -> str:
        whole = await self._writer.append(self._position.stored_size, _one_chunk(trailer))
        return (await self._writer.publish(whole, ())).name

    async def _reached(self) -> _State:
        kept = self._state or self._states.pop(self._id, self._position)
        return kept or await self._read("sha256")

    async def _read(self, algorithm: str) -> _State:
        """Read again what was acknowledged."""
        state = _State(self._cipher.encryptor(), hashlib.new(algorithm))
        if self._position.size == 0:
            return state
        replay = self._cipher.replay(self._position.size)

        def feed(data: bytes) -> None:
            for plaintext in replay.feed(data):
                state.sha256.update(plaintext)

        async for data in self._writer.read(self._position.stored_size):
            await asyncio.to_thread(feed, data)
        if replay.encryptor is None or not replay.is_over:
            raise UploadMissingError
        state.encryptor = replay.encryptor
        if state.position != self._position:
            raise CorruptBlobError("the upload is not what was written")
        return state


async def _encrypted(state: _State, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async for batch in reading.batches(chunks, BATCH_SIZE):
        if stored := await asyncio.to_thread(state.take, b"".join(batch)):
            yield stored
    if rest := await asyncio.to_thread(state.encryptor.end_append):
        yield rest


async def _one_chunk(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def decrypted(blob: Blob, cipher: Cipher) -> BlobStream:
    """Return what the plaintext of a stored blob can be read from.

    Raises WrongKeyError and CorruptBlobError; reading raises CorruptBlobError before it gives a wrong byte.
    """
    head = await reading.part(blob, 0, min(HEADER_SIZE, blob.size))
    tail = await reading.part(blob, max(blob.size - TAIL_SIZE, 0), blob.size)
    layout = cipher.layout(head, tail, blob.size)

    def read(start: int, end: int) -> AsyncIterator[bytes]:
        return _plaintext(blob, layout, start, end)

    return BlobStream(layout.size, read)


async def _plaintext(blob: Blob, layout: Layout, start: int, end: int) -> AsyncIterator[bytes]:
    if start >= end:
        return
    decryptor = layout.decryptor(start, end)
    async for stored in reading.between(blob, *layout.stored_range(start, end)):
        if plaintext := await asyncio.to_thread(decryptor.feed, stored):
            yield plaintext
    decryptor.finish()
