"""Leases: objects in a bucket by which servers keep out of each other's way."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Self

from ecr_emulator.blobs.base import BlobStoreUnavailableError, UploadBusyError
from ecr_emulator.blobs.bucket import Bucket, ConflictError, Fetched, MissingError, clean_up

# Seconds for which a lease is held if the server does not renew it, as one that was killed does not, and
# seconds between two attempts to get it.
DURATION = 30.0
BUSY_POLL = 0.2


class Lease:
    """An object that keeps other requests out, of this and of other servers, for as long as it is renewed.

    Its age is told by the clock of S3, of which there is one. A server that sleeps for too long loses it and
    is told by ``check``. That nobody's bytes get into a blob of others does not depend on it.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._token = secrets.token_hex(16)
        self._attempts = 0
        self._etag = ""
        self._valid_until = 0.0

    @contextlib.asynccontextmanager
    async def held(self, patience: float) -> AsyncIterator[Self]:
        """Hold the lease for the block. Raises UploadBusyError after ``patience`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while not await self._claim():
            if loop.time() > deadline:
                raise UploadBusyError
            await asyncio.sleep(BUSY_POLL)
        renewing = asyncio.create_task(self._renew())
        try:
            yield self
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            if self._is_valid():
                await clean_up(self._bucket.delete([self._key]))

    def check(self) -> None:
        """Raise UploadBusyError where the lease has run out, and somebody else may have it."""
        if not self._is_valid():
            raise UploadBusyError

    def _is_valid(self) -> bool:
        return asyncio.get_running_loop().time() < self._valid_until

    async def _claim(self) -> bool:
        """Take the lease, where nobody has it any more; tell whether this one has it now."""
        if await self._put(IfNoneMatch="*"):
            return True
        found = await self._find()
        if found is None:
            return False
        # Ages are differences of whole seconds.
        return self._recognise(found) or (found.age > DURATION + 1 and await self._put(IfMatch=found.etag))

    async def _put(self, **condition: str) -> bool:
        """Write the object on a condition, each time with other bytes and so with another ETag."""
        self._attempts += 1
        begun_at = asyncio.get_running_loop().time()
        try:
            self._etag = await self._bucket.put(
                self._key, f"{self._token} {self._attempts}".encode(), **condition
            )
        except (ConflictError, MissingError):
            return False
        self._valid_until = begun_at + DURATION
        return True

    async def _find(self) -> Fetched | None:
        try:
            return await self._bucket.get(self._key)
        except MissingError:
            return None

    def _recognise(self, found: Fetched) -> bool:
        """Tell whether the lease is this one's: S3 may have written what it did not answer."""
        if not found.content.startswith(self._token.encode()):
            return False
        self._etag = found.etag
        self._valid_until = asyncio.get_running_loop().time() + DURATION - found.age - 1
        return True

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(DURATION / 3)
            with contextlib.suppress(BlobStoreUnavailableError):
                if not await self._put(IfMatch=self._etag) and (found := await self._find()):
                    self._recognise(found)
