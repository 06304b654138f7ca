"""Where images come from that nobody pushes: OCI image layouts, archives of ``docker save``, out of nothing.

What reads files here blocks, and is to be run off the event loop.
"""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, Self

from msgspec import Struct, field

from ecr_emulator.blobs.base import digest_of, is_digest
from ecr_emulator.core import errors, manifest
from ecr_emulator.core.bundle import REF_NAME, path_of
from ecr_emulator.core.emulator import StoresError
from ecr_emulator.core.manifest import OCI_INDEX, OCI_MANIFEST, Manifest

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
# What layers begin with that are compressed, and what their media type ends with.
_COMPRESSIONS = {b"\x1f\x8b": "+gzip", b"\x28\xb5\x2f\xfd": "+zstd"}
_CHUNK_SIZE = 1 << 20
# Indexes that are in one another.
_MAX_DEPTH = 8


class SourceError(StoresError):
    """There is no image where it is to come from; the message tells a person why."""


Open = Callable[[], Iterator[bytes]]


class SourceImage(Struct):
    """An image with all that it names: its manifests, itself last, and its blobs by digest."""

    manifests: list[Manifest] = field(default_factory=list)
    blobs: dict[str, Open] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest of the image itself."""
        return self.manifests[-1].digest


class _Files(Protocol):
    """The files of a folder or of a tar."""

    def open(self, path: str) -> IO[bytes]:
        """Open a file. Raises SourceError where there is none."""
        ...


class _Folder:
    """A folder's files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, path: str) -> IO[bytes]:
        """Open a file."""
        try:
            return (self._folder / path).open("rb")
        except OSError as error:
            raise SourceError(f"can't read {self._folder / path}: {error.strerror}") from None


class _Tar:
    """The files of a tar, compressed or not, among them those that links lead to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._tar = tarfile.open(path)  # noqa: SIM115 - closed with the source
            self._entries = {entry.name.removeprefix("./"): entry for entry in self._tar}
        except (OSError, tarfile.TarError, EOFError) as error:
            raise SourceError(f"can't read {path}: {error}") from None

    def open(self, path: str) -> IO[bytes]:
        """Open a file."""
        try:
            file = self._tar.extractfile(self._entries[path])
        except KeyError:
            file = None
        if file is None:
            raise SourceError(f"{self._path} has no file {path}")
        return file

    def close(self) -> None:
        """Let go of the tar."""
        self._tar.close()


class Opened:
    """A folder or a tar with images, open until the end of a block."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise SourceError(f"{path} does not exist")
        self._path = path
        self._files: _Files = _Folder(path) if path.is_dir() else _Tar(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if isinstance(self._files, _Tar):
            self._files.close()

    def oci_image(self, ref: str | None) -> SourceImage:
        """Return an image of an OCI image layout: the one with a reference name, else the only one.

        Raises SourceError.
        """
        listed = self._json("index.json").get("manifests", [])
        names = [_ref_name(entry) for entry in listed]
        entry = listed[self._choose(names, ref)]
        image = SourceImage()
        self._add_manifest(image, entry, 0)
        return image

    def docker_image(self, ref: str | None) -> SourceImage:
        """Return an image of an archive that ``docker save`` wrote: one with a name, else the only one.

        Its layers stay as they are, so that one which is not compressed is none in the registry either;
        manifests are OCI's. Raises SourceError.
        """
        listed = self._json("manifest.json")
        names = [_docker_name(entry, ref) for entry in listed]
        entry = listed[self._choose(names, ref)]
        image = SourceImage()
        config = self._read(entry["Config"])
        image.blobs[digest_of(config)] = lambda: iter([config])
        layers = [self._add_layer(image, path) for path in entry["Layers"]]
        _add_image(image, config, layers)
        return image

    def _choose(self, names: Sequence[str | None], ref: str | None) -> int:
        if ref is None and len(names) == 1:
            return 0
        if ref in names and ref is not None:
            return names.index(ref)
        known = ", ".join(sorted({name for name in names if name})) or "none with a name"
        wanted = f"no image {ref!r}" if ref else f"{len(names)} images, so that ref has to name one"
        raise SourceError(f"{self._path} has {wanted}; there is {known}")

    def _add_manifest(self, image: SourceImage, entry: Any, depth: int) -> None:
        digest, media_type = entry.get("digest"), entry.get("mediaType")
        if not isinstance(digest, str) or not is_digest(digest) or depth > _MAX_DEPTH:
            raise SourceError(f"{self._path} has an index that is none")
        content = self._read(path_of(digest))
        algorithm = digest.partition(":")[0]
        try:
            parsed = manifest.parse(content, media_type, algorithm)
        except errors.EcrError as error:
            raise SourceError(f"{self._path}: the manifest {digest}: {error.message}") from None
        if parsed.digest != digest:
            raise SourceError(f"{self._path}: {path_of(digest)} has the digest {parsed.digest}")
        for child in parsed.children:
            if not child.external:
                self._add_manifest(image, {"digest": child.digest, "mediaType": child.media_type}, depth + 1)
        for blob in parsed.blobs:
            image.blobs[blob.digest] = self._opener(path_of(blob.digest))
        image.manifests.append(parsed)

    def _add_layer(self, image: SourceImage, path: str) -> dict[str, Any]:
        size, hasher, start = 0, hashlib.sha256(), b""
        for chunk in self._opener(path)():
            start = start or chunk[:4]
            size += len(chunk)
            hasher.update(chunk)
        digest = f"sha256:{hasher.hexdigest()}"
        image.blobs[digest] = self._opener(path)
        suffix = next((suffix for magic, suffix in _COMPRESSIONS.items() if start.startswith(magic)), "")
        return {"mediaType": OCI_LAYER + suffix, "digest": digest, "size": size}

    def _opener(self, path: str) -> Open:
        def chunks() -> Iterator[bytes]:
            with self._files.open(path) as file:
                while chunk := file.read(_CHUNK_SIZE):
                    yield chunk

        return chunks

    def _read(self, path: str) -> bytes:
        with self._files.open(path) as file:
            content = file.read(manifest.MAX_SIZE + 1)
        if len(content) > manifest.MAX_SIZE:
            raise SourceError(f"{self._path}: {path} is too large")
        return content

    def _json(self, path: str) -> Any:
        try:
            return json.loads(self._read(path))
        except (ValueError, RecursionError):
            raise SourceError(f"{self._path}: {path} is no JSON") from None


def _ref_name(entry: Any) -> str | None:
    name = (entry.get("annotations") or {}).get(REF_NAME)
    return name if isinstance(name, str) else None


def _docker_name(entry: Any, ref: str | None) -> str | None:
    """Return the name that is asked for where an image has it, in full or not, else its first one."""
    names = entry.get("RepoTags") or [None]
    return ref if ref and any(f"/{name}".endswith(f"/{ref}") for name in names) else names[0]


def _add_image(image: SourceImage, config: bytes, layers: Sequence[dict[str, Any]]) -> Manifest:
    """Add the manifest of a config and layers."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": list(layers),
    }
    parsed = manifest.parse(json.dumps(document).encode())
    image.manifests.append(parsed)
    return parsed


class GeneratedLayer(Struct, frozen=True):
    """A layer with one file of ``size`` bytes; the same seed gives the same bytes."""

    size: int
    seed: str

    def chunks(self) -> Iterator[bytes]:
        """Give the bytes of the layer, which is a tar without compression."""
        name = f"generated/{hashlib.sha256(self.seed.encode()).hexdigest()[:16]}"
        entry = tarfile.TarInfo(name)
        entry.size = self.size
        yield entry.tobuf(tarfile.PAX_FORMAT)
        source = random.Random(self.seed)  # noqa: S311 - nothing secret
        left = self.size
        while left:
            chunk = source.randbytes(min(left, _CHUNK_SIZE))
            left -= len(chunk)
            yield chunk
        yield bytes(-self.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)


def generate(
    layers: Sequence[GeneratedLayer], platforms: Sequence[str], labels: dict[str, str], seed: str
) -> SourceImage:
    """Make an image with layers; an index of images, one for each platform, where there are several.

    The same arguments give the same digests.
    """
    image = SourceImage()
    described = [_describe(image, layer) for layer in layers]
    children: list[dict[str, Any]] = []
    for platform in platforms:
        os_name, architecture, *variant = platform.split("/")
        machine = {
            "os": os_name,
            "architecture": architecture,
            **({"variant": variant[0]} if variant else {}),
        }
        config = json.dumps(
            {
                **machine,
                "config": {"Labels": {"generated-from": seed, **labels}},
                "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
            }
        ).encode()
        image.blobs[digest_of(config)] = lambda config=config: iter([config])  # type: ignore[misc]
        parsed = _add_image(image, config, described)
        children.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": parsed.digest,
                "size": len(parsed.content),
                "platform": machine,
            }
        )
    if len(platforms) > 1:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
        image.manifests.append(manifest.parse(json.dumps(index).encode()))
    return image


def _describe(image: SourceImage, layer: GeneratedLayer) -> dict[str, Any]:
    """Add a layer and return its descriptor."""
    hasher, size = hashlib.sha256(), 0
    for chunk in layer.chunks():
        hasher.update(chunk)
        size += len(chunk)
    digest = f"sha256:{hasher.hexdigest()}"
    image.blobs[digest] = layer.chunks
    return {"mediaType": OCI_LAYER, "digest": digest, "size": size}
