"""Manifests: what their bytes say. Pure; the bytes themselves are never changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from ecr_emulator.blobs.base import digest_of, is_digest
from ecr_emulator.core import errors

# ECR's limit, and botocore's (ImageManifest).
MAX_SIZE = 4 * 1024 * 1024

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)


class Descriptor(Struct, frozen=True):
    """What a manifest says of a blob or of a child manifest; ``size`` in bytes."""

    digest: str
    size: int
    media_type: str
    external: bool
    """Whether the bytes are somewhere else, as those of Windows base layers are (``urls``)."""


class Manifest(Struct, frozen=True):
    """A parsed manifest of an image, an artifact or an index."""

    content: bytes
    digest: str
    media_type: str
    artifact_type: str | None
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: dict[str, str] | None

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests instead of layers."""
        return self.media_type in INDEX_TYPES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers that have to be in the repository."""
        blobs = (self.config, *self.layers) if self.config else self.layers
        return tuple(blob for blob in blobs if not blob.external)


def invalid(constraint: str) -> errors.InvalidParameterException:
    """Return ECR's error for a manifest that it does not take."""
    return errors.InvalidParameterException(
        f"Invalid parameter at 'ImageManifest' failed to satisfy constraint: '{constraint}'"
    )


def parse(content: bytes, media_type: str | None = None, algorithm: str = "sha256") -> Manifest:
    """Parse a manifest that is pushed under a media type, or under the one that it names itself.

    ``algorithm`` is that of the digest by which it is pushed. Raises InvalidParameterException.
    """
    if len(content) > MAX_SIZE:
        raise invalid(f"Member must have length less than or equal to {MAX_SIZE}")
    document = _load(content)
    stated = document.get("mediaType")
    if stated is not None and media_type is not None and stated != media_type:
        raise invalid("Manifest media type does not match the media type of the request")
    media_type = media_type or stated
    if media_type is None:
        # PutImage's documentation: without mediaType in the manifest the request has to name it.
        raise invalid("Manifest media type must be specified")
    if media_type not in (*IMAGE_TYPES, *INDEX_TYPES):
        raise invalid(f"Manifest media type {str(media_type)[:255]} is not supported")
    if document.get("schemaVersion") != 2:
        raise invalid("Manifest schema version must be 2")
    is_index = media_type in INDEX_TYPES
    if is_index and ("layers" in document or "config" in document):
        raise invalid("Invalid manifest list: it has layers")
    config = None if is_index else _descriptor(document.get("config"), "config")
    artifact_type = document.get("artifactType")
    annotations = document.get("annotations")
    if artifact_type is not None and not isinstance(artifact_type, str):
        raise invalid("artifactType must be a string")
    if annotations is not None and not _is_text_map(annotations):
        raise invalid("annotations must map strings to strings")
    subject = document.get("subject")
    return Manifest(
        content=content,
        digest=digest_of(content, algorithm),
        media_type=media_type,
        artifact_type=artifact_type or None,
        config=config,
        layers=() if is_index else tuple(_descriptors(document, "layers")),
        children=tuple(_descriptors(document, "manifests")) if is_index else (),
        subject=None if subject is None else _descriptor(subject, "subject"),
        annotations=annotations,
    )


def _load(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
        if b"\\u" in content:
            # Escapes can make halves of surrogate pairs, which are no text.
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise invalid("Invalid JSON syntax") from None
    if not isinstance(document, dict):
        raise invalid("Invalid JSON syntax")
    return document


def _descriptors(document: dict[str, Any], member: str) -> Iterator[Descriptor]:
    listed = document.get(member)
    if not isinstance(listed, list):
        raise invalid(f"{member} must be a list")
    for entry in listed:
        yield _descriptor(entry, member)


def _descriptor(entry: Any, member: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise invalid(f"{member} must be a descriptor")
    digest, size, media_type = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(digest, str) or not is_digest(digest):
        raise invalid(f"{member} must have a valid digest")
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise invalid(f"{member} must have a valid size")
    if not isinstance(media_type, str):
        raise invalid(f"{member} must have a media type")
    return Descriptor(digest, size, media_type, external=bool(entry.get("urls")))


def _is_text_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
