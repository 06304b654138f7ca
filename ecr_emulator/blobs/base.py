"""The port to a blob store, and the digests that name blobs."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

# The algorithms of the OCI image specification that are registered; the length is that of the hex.
DIGEST_PATTERN = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
_DIGEST = re.compile(DIGEST_PATTERN)
_HASHERS = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}

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


class WrongKeyError(Exception):
    """A blob or an upload was encrypted with another key."""


class CorruptBlobError(Exception):
    """The store has other bytes of an encrypted blob than were written."""


class BlobSetupError(RuntimeError):
    """The blob store can't be had; the message tells a person why."""


class BlobStoreUnavailableError(Exception):
    """The store fails, or does not answer, now: whoever asks again later may be served."""


def is_digest(text: str) -> bool:
    """Tell whether a text is a well-formed sha256 or sha512 digest."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes."""
    return f"{algorithm}:{_HASHERS[algorithm](content).hexdigest()}"


def new_name(digest: str, upload_id: str) -> str:
    """Return a name for a blob that an upload becomes now.

    ``sha256/ab/abcd….MILLISECONDS-RANDOM-UPLOAD``, the first two in hex.
    """
    algorithm, _, encoded = digest.partition(":")
    milliseconds = time.time_ns() // 1_000_000
    return f"{algorithm}/{encoded[:2]}/{encoded}.{milliseconds:x}-{secrets.token_hex(8)}-{upload_id}"


def upload_of(name: str) -> str:
    """Return the id of the upload that became a blob, empty where its name does not say."""
    return name.rpartition(".")[2].partition("-")[2].partition("-")[2]


def published_at(name: str) -> float:
    """Return when a blob was published, in seconds of real time since 1970; 0 where its name does not say."""
    milliseconds = name.rpartition(".")[2].partition("-")[0] if "." in name else "0"
    return int(milliseconds, 16) / 1000


class Published(Struct, frozen=True):
    """A blob that was just put in the store, under a name that no other ever had or will have."""

    digest: str
    name: str


class Position(Struct, frozen=True):
    """How far an upload has come: bytes that were taken, and bytes that the store has of them.

    They differ where what is stored is encrypted.
    """

    size: int = 0
    stored_size: int = 0


class BlobFile(Struct, frozen=True):
    """A blob that is a file on this machine; ``size`` in bytes."""

    path: Path
    size: int


class BlobStream(Struct, frozen=True):
    """A blob that has to be read through the store; ``size`` in bytes.

    ``read`` gives the bytes from one position up to another, which it leaves out. ``url`` returns where
    clients can get them without credentials, for a time, in stores that have such URLs.
    """

    size: int
    read: Callable[[int, int], AsyncIterator[bytes]]
    url: Callable[[], Awaitable[str]] | None = None


Blob = BlobFile | BlobStream


class UploadWriter(Protocol):
    """The bytes of one upload, held for one request alone."""

    async def append(self, offset: int, chunks: AsyncIterable[bytes]) -> int:
        """Write from ``offset`` on and return the upload's new size.

        Bytes past ``offset`` that an earlier, failed append left are dropped, but a blob that was published
        of them keeps them. Raises UploadMissingError where fewer bytes than ``offset`` are there.
        """
        ...

    def read(self, size: int) -> AsyncIterator[bytes]:
        """Give the upload's first ``size`` bytes. Raises UploadMissingError where fewer bytes are there."""
        ...

    async def publish(self, size: int, digests: Sequence[str]) -> Published:
        """Make the upload's first ``size`` bytes a blob, durably, under a new name.

        It has the first of ``digests`` that the bytes have; where none is given, their SHA-256. Until the
        upload is discarded it can be appended to, and published again under another name. Raises
        DigestMismatchError where the bytes have none of the digests, and UploadMissingError where there are
        fewer of them.
        """
        ...


class BlobStore(Protocol):
    """Keeps uploads, by their ids, and blobs, by names that ``publish`` makes.

    A name is never used for a second blob, so that one which nothing refers to any more can be removed
    without looking at who comes meanwhile. ``new_name`` makes them. Everything raises
    BlobStoreUnavailableError where the store is another service, and that fails.
    """

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

    async def open(self, name: str) -> Blob | None:
        """Return what a blob can be read from, or None where it is not there."""
        ...

    def names(self) -> AsyncIterator[list[str]]:
        """Give the names of the blobs, in batches of a bounded size."""
        ...

    async def remove(self, name: str) -> int | None:
        """Remove a blob, and return its size in bytes, or None where it is not there."""
        ...

    async def close(self) -> None:
        """Let go of what the store holds open."""
        ...
