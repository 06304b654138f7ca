"""Another registry of this emulator as an upstream: ECR to ECR, without a network between them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from ecr_emulator.blobs import reading
from ecr_emulator.core import errors, images, layers
from ecr_emulator.core.authorization import Access, Guard
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import FoundImage, ImageId
from ecr_emulator.core.upstream import (
    MAX_REFERRERS,
    Fault,
    UpstreamError,
    UpstreamManifest,
    access_denied,
)
from ecr_emulator.metadata.images import ReferrerFilter


class LocalRepository:
    """A repository of the registry that ``call`` is on; what that caches of others is not fetched for it.

    The caller needs the permissions that a pull needs.
    """

    def __init__(self, emulator: Emulator, call: Call, name: str) -> None:
        self._emulator = emulator
        self._call = call
        self._name = name

    async def check(self) -> None:
        """Every registry is there, and takes the role that it was given."""

    async def resolve(self, tag: str) -> str:
        """Return the digest that a tag stands for."""
        return (await self._find(tag)).image.digest

    async def manifest(self, reference: str) -> UpstreamManifest:
        """Return a manifest by tag or by digest."""
        found = await self._find(reference)
        return UpstreamManifest(found.manifest, found.image.media_type)

    async def referrers(self, subject: str) -> list[str]:
        """Return the digests of the active images whose subject is a digest."""
        try:
            metadata = self._guarded("ecr:BatchGetImage").metadata
            found = await metadata.read(
                images.referrers, self._call, self._name, subject, ReferrerFilter(), 0, MAX_REFERRERS + 1
            )
        except errors.RepositoryNotFoundException:
            return []
        except errors.EcrError as error:
            raise _translate(error) from error
        return [image.digest for image in found]

    async def _find(self, reference: str) -> FoundImage:
        image_id = ImageId(digest=reference) if ":" in reference else ImageId(tag=reference)
        try:
            metadata = self._guarded("ecr:BatchGetImage").metadata
            return await metadata.read(images.find, self._call, self._name, image_id)
        except errors.EcrError as error:
            raise _translate(error) from error

    def _guarded(self, action: str) -> Emulator:
        access = Access(action, self._call.registry, self._name)
        return replace(self._emulator, metadata=Guard(self._emulator.metadata, self._call, [access]))

    @asynccontextmanager
    async def blob(self, digest: str) -> AsyncIterator[AsyncIterable[bytes]]:
        """Give the bytes of a layer."""
        try:
            emulator = self._guarded("ecr:GetDownloadUrlForLayer")
            blob = await layers.open_blob(emulator, self._call, self._name, digest)
        except errors.EcrError as error:
            raise _translate(error) from error
        yield reading.chunks(blob)


def _translate(error: errors.EcrError) -> UpstreamError:
    if isinstance(error, errors.AccessDeniedException):
        return access_denied()
    if isinstance(error, errors.KmsException):
        return UpstreamError(Fault.ACCESS_DENIED, error.message)
    return UpstreamError(Fault.NOT_FOUND, error.message)
