"""Bundles: registries as one tar, of OCI image layouts and metadata.

=============================================  ==========================================================
``metadata.json``                              what is configured for the registries; comes first
``ACCOUNT/REGION/team+app/metadata.json``      the repository ``team/app``; before its blobs and manifests
``blobs/sha256/…``                             blobs once for all repositories, manifests of each of them
``ACCOUNT/REGION/team+app/``                   an OCI image layout, whose ``blobs`` is a link to that folder
``oci-layout``, ``index.json``                 an OCI image layout of all tagged images, by their full names
=============================================  ==========================================================

Both are written and read from the first byte to the last, so that they can come from a pipe.
"""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ecr_emulator.core.emulator import StoresError
from ecr_emulator.core.registry import Registry

VERSION = 1
METADATA = "metadata.json"
# The last file.
INDEX = "index.json"
OCI_LAYOUT = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
REF_NAME = "org.opencontainers.image.ref.name"
# By which containerd, and Docker above it, name an image that they load.
IMAGE_NAME = "io.containerd.image.name"

_REPOSITORY = re.compile(r"(?P<account>\d{12})/(?P<region>[0-9a-z-]+)/(?P<name>[a-z0-9._+-]+)/metadata\.json")
_BLOB = re.compile(r"blobs/(?P<algorithm>sha256|sha512)/(?P<encoded>[0-9a-f]+)")
_BLOCK = tarfile.BLOCKSIZE

Write = Callable[[bytes], Awaitable[None]]


class BundleError(StoresError):
    """A bundle can't be written or read; the message tells a person why."""


def folder_of(registry: Registry, repository_name: str) -> str:
    """Return the folder of a repository. Its name is one folder's: others may be below it."""
    return f"{registry.account}/{registry.region}/{repository_name.replace('/', '+')}"


def repository_of(path: str) -> Registry | None:
    """Return the registry of the repository whose metadata has this path, or None for another path."""
    match = _REPOSITORY.fullmatch(path)
    return None if match is None else Registry(match["account"], match["region"])


def path_of(digest: str) -> str:
    """Return the path of a blob or a manifest."""
    return f"blobs/{digest.replace(':', '/')}"


def digest_of_path(path: str) -> str | None:
    """Return the digest of the blob or the manifest that has this path, or None for another path."""
    match = _BLOB.fullmatch(path)
    return None if match is None else f"{match['algorithm']}:{match['encoded']}"


class TarWriter:
    """Writes a tar from its first byte to its last; the same entries give the same bytes."""

    def __init__(self, write: Write) -> None:
        self._write = write

    async def add(self, path: str, content: bytes) -> None:
        """Add a file with some bytes."""
        async with self.file(path, len(content)) as write:
            await write(content)

    async def add_json(self, path: str, document: Any) -> None:
        """Add a file with a JSON document."""
        await self.add(path, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")

    async def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        entry = tarfile.TarInfo(path)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        await self._write(entry.tobuf(tarfile.PAX_FORMAT))

    @contextlib.asynccontextmanager
    async def file(self, path: str, size: int) -> AsyncIterator[Write]:
        """Add a file of that many bytes, which the block writes. Raises BundleError where it does not."""
        entry = tarfile.TarInfo(path)
        entry.size = size
        await self._write(entry.tobuf(tarfile.PAX_FORMAT))
        written = 0

        async def write(content: bytes) -> None:
            nonlocal written
            written += len(content)
            await self._write(content)

        yield write
        if written != size:
            raise BundleError(f"{path} has {written} bytes instead of {size}")
        await self._write(bytes(-size % _BLOCK))

    async def end(self) -> None:
        """End the tar."""
        await self._write(bytes(2 * _BLOCK))
