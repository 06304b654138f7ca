"""Importing a bundle, beside a server that may be at work.

What is there already is left as it is or brought to what the bundle says, so that an import which was cut
short can be run again. Nothing is announced: images that come back are no pushes.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from typing import IO, Any

from msgspec import Struct, field
from msgspec.structs import replace

from ecr_emulator.blobs.base import DigestMismatchError, digest_of
from ecr_emulator.blobs.reading import CHUNK_SIZE
from ecr_emulator.core import bundle, description, errors, images, layers, manifest
from ecr_emulator.core.bundle import BundleError
from ecr_emulator.core.call import Call, unattended
from ecr_emulator.core.description import Description
from ecr_emulator.core.emulator import Stores, limits_of
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.store import Transaction

# Bytes of metadata of a repository, or of all registries.
_MAX_METADATA = 1 << 30
# Manifests that are stored in one transaction.
_BATCH = 100
# Bytes of a repository's manifests from which they wait in a file.
_IN_MEMORY = 8 << 20

Progress = Callable[[str], None]


class Imported(Struct):
    """How much was imported; ``blobs`` are those that were not there, of ``size`` bytes."""

    repositories: int = 0
    images: int = 0
    blobs: int = 0
    size: int = 0


class _Repository(Struct):
    """The repository whose blobs and manifests are being read.

    Images are stored once all is there: none is ever seen without its layers.
    """

    call: Call
    described: Description
    missing_layers: set[str]
    missing_images: dict[str, Description]
    manifests: IO[bytes]
    waiting: list[tuple[Description, int]] = field(default_factory=list)
    """Images whose manifests were read, with the sizes of these."""

    @property
    def name(self) -> str:
        """The repository's name."""
        return str(self.described["name"])


async def restore(
    stores: Stores, stream: IO[bytes], progress: Progress, into: Registry | None = None
) -> Imported:
    """Read a bundle, compressed or not, into the stores; a bundle of one registry ``into`` another.

    Raises BundleError for what is no bundle, is cut off or is damaged, and DescriptionError.
    """
    importing = _Import(stores, progress, into)
    try:
        # Errors of the stream are those of the first read.
        tar = await asyncio.to_thread(tarfile.open, fileobj=stream, mode="r|*")
        while (entry := await asyncio.to_thread(tar.next)) is not None:
            content = tar.extractfile(entry) if entry.isreg() else None
            if content is not None:
                await importing.read(entry, content)
            # The list of entries that tarfile keeps would grow with the tar.
            tar.members = []  # type: ignore[attr-defined]
        return await importing.end()
    except (tarfile.TarError, EOFError) as error:
        raise BundleError(f"this is no whole tar: {error}") from None
    except errors.EcrError as error:
        raise BundleError(f"{importing.at}: {error.message}") from None
    finally:
        importing.close()


class _Import:
    """A bundle that is being read."""

    def __init__(self, stores: Stores, progress: Progress, into: Registry | None) -> None:
        self._stores = stores
        self._quotas = limits_of(stores)
        self._progress = progress
        self._into = into
        self._source: Registry | None = None
        self._begun = False
        self._is_whole = False
        self._repository: _Repository | None = None
        self._imported = Imported()
        self.at = bundle.METADATA

    async def read(self, entry: tarfile.TarInfo, content: IO[bytes]) -> None:
        """Take in one file of the bundle."""
        path = entry.name.removeprefix("./")
        if not self._begun:
            if path != bundle.METADATA:
                raise BundleError(f"this is no export: it begins with {path!r}, not {bundle.METADATA}")
            await self._begin(await _json(entry, content))
        elif registry := bundle.repository_of(path):
            await self._end_repository()
            await self._begin_repository(registry, await _json(entry, content))
        elif path == bundle.INDEX:
            self._is_whole = True
        elif self._repository and (digest := bundle.digest_of_path(path)):
            await self._content(self._repository, digest, entry, content)

    async def end(self) -> Imported:
        """Tell what was imported, once all is read."""
        if not self._begun:
            raise BundleError("this is no export: it is empty")
        await self._end_repository()
        if not self._is_whole:
            raise BundleError(f"this export is cut off: it does not end with {bundle.INDEX}")
        return self._imported

    async def _begin(self, document: Any) -> None:
        description.validate(document, "exported_registries")
        registries = document["registries"]
        if self._into is not None:
            if len(registries) != 1:
                raise BundleError(f"an export of {len(registries)} registries can't become one")
            self._source = Registry(registries[0]["account"], registries[0]["region"])
        for described in registries:
            mapped = self._mapped(described)
            await asyncio.to_thread(description.prepare, mapped)
            call = self._call(Registry(described["account"], described["region"]))
            await self._stores.metadata.write(description.apply_registry, call, mapped)
        self._begun = True

    def _call(self, registry: Registry) -> Call:
        return unattended(
            self._into or registry, self._stores.clock.now(), self._quotas, self._stores.encryption
        )

    def _mapped(self, described: Description) -> Description:
        if self._source is None or self._into is None:
            return described
        mapped: Description = description.remapped(described, self._source, self._into)
        return mapped

    async def _begin_repository(self, registry: Registry, document: Any) -> None:
        description.validate(document, "exported_repository")
        described = self._mapped(document)
        call = self._call(registry)
        self.at = f"{call.registry.account}/{call.registry.region}/{described['name']}"
        self._progress(self.at)
        await asyncio.to_thread(description.prepare, described)
        missing = await self._stores.metadata.write(_apply, call, described)
        by_digest = {image["digest"]: image for image in described["images"]}
        manifests = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the repository
        self._repository = _Repository(call, described, missing, by_digest, manifests)

    async def _content(
        self, repository: _Repository, digest: str, entry: tarfile.TarInfo, content: IO[bytes]
    ) -> None:
        if digest in repository.missing_layers:
            await self._layer(repository, digest, content)
            self._imported.blobs += 1
            self._imported.size += entry.size
        elif (described := repository.missing_images.pop(digest, None)) is not None:
            read = await _bytes(entry, content, manifest.MAX_SIZE)
            await asyncio.to_thread(repository.manifests.write, read)
            repository.waiting.append((described, len(read)))

    async def _layer(self, repository: _Repository, digest: str, content: IO[bytes]) -> None:
        try:
            await layers.store(self._stores, repository.call, repository.name, digest, _chunks(content))
        except DigestMismatchError as error:
            raise BundleError(f"{bundle.path_of(digest)} has the digest {error.actual}") from None
        repository.missing_layers.remove(digest)

    async def _end_repository(self) -> None:
        """Store the images of a repository that is whole."""
        repository = self._repository
        if repository is None:
            return
        for digest in (*sorted(repository.missing_layers), *repository.missing_images):
            raise BundleError(f"{self.at}: {bundle.path_of(digest)} is missing")
        repository.manifests.seek(0)
        for start in range(0, len(repository.waiting), _BATCH):
            batch = [
                (described, await asyncio.to_thread(repository.manifests.read, size))
                for described, size in repository.waiting[start : start + _BATCH]
            ]
            await self._stores.metadata.write(_put_images, repository.call, repository.name, batch)
        await self._stores.metadata.write(_size_indexes, repository.call, repository.described)
        self._imported.repositories += 1
        self._imported.images += len(repository.waiting)
        self.close()

    def close(self) -> None:
        """Let go of what is kept of a repository."""
        if self._repository is not None:
            self._repository.manifests.close()
            self._repository = None


async def _bytes(entry: tarfile.TarInfo, content: IO[bytes], limit: int) -> bytes:
    if entry.size > limit:
        raise BundleError(f"{entry.name} has {entry.size} bytes, more than {limit}")
    return await asyncio.to_thread(content.read)


async def _json(entry: tarfile.TarInfo, content: IO[bytes]) -> Any:
    try:
        return json.loads(await _bytes(entry, content, _MAX_METADATA))
    except (ValueError, RecursionError):
        raise BundleError(f"{entry.name} is no JSON") from None


async def _chunks(content: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(content.read, CHUNK_SIZE):
        yield chunk


def _apply(tx: Transaction, call: Call, described: Description) -> set[str]:
    """Bring a repository to its description, and return the layers that are not there yet."""
    repository = description.apply_repository(tx, call, described)
    return layers.adopt(tx, call, repository, described["layers"])


def _put_images(
    tx: Transaction, call: Call, repository_name: str, batch: Collection[tuple[Description, bytes]]
) -> None:
    for described, content in batch:
        _put_image(tx, call, repository_name, described, content)


def _put_image(
    tx: Transaction, call: Call, repository_name: str, described: Description, content: bytes
) -> None:
    algorithm = described["digest"].partition(":")[0]
    if (actual := digest_of(content, algorithm)) != described["digest"]:
        raise BundleError(f"{bundle.path_of(described['digest'])} has the digest {actual}")
    parsed = manifest.parse(content, described["media_type"], algorithm)
    repository = tx.repositories.get(call.registry.account, call.registry.region, repository_name)
    if repository is None:
        raise BundleError(f"the repository {repository_name} was deleted while it was imported")
    pushed = replace(call, now=described["pushed_at"])
    image, _ = images.cache(tx, pushed, repository, parsed)
    history = replace(
        image,
        last_pulled_at=described.get("last_pulled_at"),
        status=described.get("status", "ACTIVE"),
        last_archived_at=described.get("last_archived_at"),
        last_activated_at=described.get("last_activated_at"),
    )
    images.set_history(tx, image, history)
    for tag in described.get("tags", ()):
        tx.tags.put(repository.id, tag, image.id)
    for tag, checked_at in described.get("upstream_tags", {}).items():
        tx.upstream_tags.put(repository.id, tag, image.id, checked_at)


def _size_indexes(tx: Transaction, call: Call, described: Description) -> None:
    """Set the sizes of indexes, some of whose images may have come after them."""
    repository = tx.repositories.get(call.registry.account, call.registry.region, described["name"])
    for image in described["images"] if repository else ():
        if image["media_type"] in manifest.INDEX_TYPES:
            found = tx.images.by_digest(repository.id, image["digest"]) if repository else None
            if found is not None:
                tx.images.size_as_index(found.id)
