"""The port to a blob store, and the digests that name blobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# The algorithms of the OCI image specification that are registered; the length is that of the hex.
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")

# Seconds that a request waits for another that is writing to the same upload.
PATIENCE = 5.0


class DigestMismatchError(Exception):
    """The bytes that were uploaded have another digest than the one named."""

    def __init__(self, actual: str) -> None:
        super().__init__(actual)
        self.actual = actual


class UploadMissingError(Exception):
    """The store has no bytes of this upload, or fewer than were acknowledged."""


class UploadBusyError(Exception):
    """Another request is writing to this upload."""


def is_digest(text: str) -> bool:
    """Tell whether a text is a well-formed sha256 or sha512 digest."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A blob that is a file on this machine; ``size`` in bytes."""

    path: Path
    size: int


class UploadWriter(Protocol):
    """The bytes of one upload, held for one request alone."""

    async def append(self, offset: int, chunks: AsyncIterable[bytes]) -> int:
        """Write from ``offset`` on and return the upload's new size.

        Bytes past ``offset`` that an earlier, failed append left are dropped. Raises
        UploadMissingError where fewer bytes than ``offset`` are there, or they were published.
        """
        ...

    async def publish(self, size: int, digests: Sequence[str]) -> str:
        """Make the upload's first ``size`` bytes a blob, durably, and return its digest.

        That is the first of ``digests`` that the bytes have. Nothing can be appended any more, but
        publishing again is possible until the upload is discarded. Raises DigestMismatchError where
        they have none of them, and UploadMissingError where fewer bytes are there.
        """
        ...


class BlobStore(Protocol):
    """Keeps uploads and blobs."""

    def upload(
        self, upload_id: str, *, patience: float = PATIENCE
    ) -> AbstractAsyncContextManager[UploadWriter]:
        """Hold an upload, new or begun, for one request.

        Where the block raises an Exception, what was appended in it is dropped. Raises
        UploadBusyError where another request keeps holding the upload for longer than ``patience``
        seconds, and UploadMissingError where it has ended meanwhile.
        """
        ...

    async def discard(self, upload_id: str) -> None:
        """Remove an upload's bytes, if there are any."""
        ...

    async def upload_ids(self, idle: float = 0.0) -> list[str]:
        """Return the ids of the uploads of which there are bytes, none written within ``idle`` seconds."""
        ...

    def exists(self, digest: str) -> bool:
        """Tell at once whether a blob is there; called inside metadata transactions."""
        ...

    async def open(self, digest: str) -> BlobFile | None:
        """Return what a blob can be read from, or None where it is not there."""
        ...

    def digests(self) -> AsyncIterator[list[str]]:
        """Give the digests of all blobs, in batches of a bounded size."""
        ...

    def remove(self, digest: str) -> int | None:
        """Remove a blob at once, and return its size in bytes, or None where it is not there.

        Called while metadata is held (``MetadataStore.hold``), so that nobody begins to count on the blob.
        """
        ...

    async def clear(self) -> None:
        """Remove every blob and every upload."""
        ...

    async def close(self) -> None:
        """Let go of what the store holds open."""
        ...
