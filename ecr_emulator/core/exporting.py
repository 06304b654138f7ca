"""Exporting registries as a bundle, beside a server that may go on with them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable, Collection, Sequence
from typing import IO, Any

from msgspec import Struct

from ecr_emulator.blobs import reading
from ecr_emulator.core import bundle, description
from ecr_emulator.core.bundle import BundleError, TarWriter, Write
from ecr_emulator.core.call import unattended
from ecr_emulator.core.description import Description
from ecr_emulator.core.emulator import Stores
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.images import Image, ImageFilter
from ecr_emulator.metadata.layers import Layer
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction

_PAGE = 200
# Bytes of the common index from which it is a file.
_INDEX_IN_MEMORY = 1 << 20

Progress = Callable[[str], None]


class _Content(Struct, frozen=True):
    """A repository as it was in one transaction."""

    described: Description
    layers: Sequence[Layer]
    images: Sequence[tuple[Image, Sequence[str]]]


class Exported(Struct):
    """How much was exported; ``size`` is bytes of blobs."""

    repositories: int = 0
    images: int = 0
    blobs: int = 0
    size: int = 0


async def registries(stores: Stores, account: str | None, region: str | None) -> list[Registry]:
    """Return the registries that have something, of an account, in a region, or all."""
    found = await stores.metadata.read(lambda tx: tx.registries())
    return [
        Registry(*each)
        for each in found
        if (account is None or each[0] == account) and (region is None or each[1] == region)
    ]


async def export(stores: Stores, wanted: Collection[Registry], write: Write, progress: Progress) -> Exported:
    """Write registries as a bundle.

    Each repository is as it was in one moment. Raises BundleError where bytes are damaged, or missing, as
    those of an image that is deleted and collected while it is exported.
    """
    tar = TarWriter(write)
    described = [await stores.metadata.read(_registry, registry) for registry in wanted]
    await tar.add_json(bundle.METADATA, {"version": bundle.VERSION, "registries": described})
    with tempfile.SpooledTemporaryFile(_INDEX_IN_MEMORY, prefix="ecr-emulator-index-") as index:
        exporting = _Export(stores, tar, index)
        for registry in wanted:
            after = ""
            while page := await stores.metadata.read(_repositories, registry, after):
                for repository in page:
                    after = repository.name
                    progress(f"{registry.account}/{registry.region}/{repository.name}")
                    await exporting.add(registry, repository)
        await exporting.end()
    return exporting.exported


def _registry(tx: Transaction, registry: Registry) -> Description:
    return description.of_registry(tx, unattended(registry, 0.0))


def _repositories(tx: Transaction, registry: Registry, after: str) -> list[Repository]:
    return tx.repositories.page(registry.account, registry.region, after, _PAGE)


def _content(tx: Transaction, repository: Repository) -> _Content | None:
    """Return what a repository has, or None where it is not there any more."""
    current = tx.repositories.by_id(repository.id)
    if current is None:
        return None
    layers = tx.layers.used(repository.id)
    images: list[tuple[Image, Sequence[str]]] = []
    described: list[Description] = []
    after = 0
    while page := tx.images.page(repository.id, ImageFilter(), after, _PAGE):
        after = page[-1].id
        tags = tx.tags.of_images([image.id for image in page])
        images += [(image, tags[image.id]) for image in page]
        described += [_image(tx, image, tags[image.id]) for image in page]
    return _Content(
        {
            **description.of_repository(tx, current),
            "layers": [layer.digest for layer in layers],
            "images": described,
        },
        layers,
        images,
    )


def _image(tx: Transaction, image: Image, tags: Sequence[str]) -> Description:
    members = {
        "digest": image.digest,
        "media_type": image.media_type,
        "tags": tags,
        "pushed_at": image.pushed_at,
        "last_pulled_at": image.last_pulled_at,
        # A restoration ends with the store that began it.
        "status": "ACTIVE" if image.status == "ACTIVE" else "ARCHIVED",
        "last_archived_at": image.last_archived_at,
        "last_activated_at": image.last_activated_at,
        "upstream_tags": tx.upstream_tags.of_image(image.id) or None,
    }
    return {name: value for name, value in members.items() if value is not None}


class _Export:
    """A bundle that is being written."""

    def __init__(self, stores: Stores, tar: TarWriter, index: IO[bytes]) -> None:
        self._stores = stores
        self._tar = tar
        self._index = index
        self._index_size = 0
        self._written: set[int] = set()
        self.exported = Exported()

    async def add(self, registry: Registry, repository: Repository) -> None:
        """Write a repository."""
        content = await self._stores.metadata.read(_content, repository)
        if content is None:
            return
        folder = bundle.folder_of(registry, repository.name)
        await self._tar.add_json(f"{folder}/{bundle.METADATA}", content.described)
        for layer in content.layers:
            if layer.blob_id not in self._written:
                await self._add_blob(repository, layer)
        for image, _ in content.images:
            await self._tar.add(bundle.path_of(image.digest), await self._manifest(repository, image))
        await self._tar.add(f"{folder}/oci-layout", bundle.OCI_LAYOUT)
        await self._tar.link(f"{folder}/blobs", "../../../blobs")
        names = [(image, tag) for image, tags in content.images for tag in tags or (None,)]
        manifests = [_descriptor(image, tag) for image, tag in names]
        await self._tar.add_json(f"{folder}/{bundle.INDEX}", {"schemaVersion": 2, "manifests": manifests})
        host = f"{registry.account}.dkr.ecr.{registry.region}.amazonaws.com"
        for image, tags in content.images:
            for tag in tags:
                self._note(_descriptor(image, f"{host}/{repository.name}:{tag}"))
        self.exported.repositories += 1
        self.exported.images += len(content.images)

    async def _add_blob(self, repository: Repository, layer: Layer) -> None:
        problem = f"the layer {layer.digest} of {repository.name}"
        blob = await self._stores.open_blob(layer.blob_name, layer.encryption_key)
        if blob is None:
            raise BundleError(f"{problem} is missing: was it deleted just now? Try again, or run check")
        hasher = hashlib.new(layer.digest.partition(":")[0])
        async with self._tar.file(bundle.path_of(layer.digest), layer.size) as write:
            async for chunk in reading.chunks(blob):
                hasher.update(chunk)
                await write(chunk)
        if not layer.digest.endswith(f":{hasher.hexdigest()}"):
            raise BundleError(f"{problem} has other bytes; run check")
        self._written.add(layer.blob_id)
        self.exported.blobs += 1
        self.exported.size += layer.size

    async def _manifest(self, repository: Repository, image: Image) -> bytes:
        try:
            return await self._stores.metadata.read(lambda tx: tx.images.manifest(image.id))
        except LookupError:
            raise BundleError(
                f"the image {image.digest} of {repository.name} was deleted while it was exported; try again"
            ) from None

    def _note(self, descriptor: dict[str, Any]) -> None:
        """Keep an image for the index of all, which is in a file where it is large."""
        line = b",\n" * bool(self._index_size) + json.dumps(descriptor).encode()
        self._index_size += self._index.write(line)

    async def end(self) -> None:
        """Write what tells of all repositories."""
        head, foot = b'{"schemaVersion": 2, "manifests": [\n', b"\n]}\n"
        await self._tar.add("oci-layout", bundle.OCI_LAYOUT)
        async with self._tar.file(bundle.INDEX, len(head) + self._index_size + len(foot)) as write:
            await write(head)
            self._index.seek(0)
            while chunk := await asyncio.to_thread(self._index.read, reading.CHUNK_SIZE):
                await write(chunk)
            await write(foot)
        await self._tar.end()


def _descriptor(image: Image, name: str | None) -> dict[str, Any]:
    """Return what an index says of an image, under a name or none."""
    descriptor: dict[str, Any] = {
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": image.manifest_size,
    }
    if name is not None:
        descriptor["annotations"] = {bundle.REF_NAME: name}
        if ":" in name:
            descriptor["annotations"][bundle.IMAGE_NAME] = name
    return descriptor
