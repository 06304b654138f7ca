"""Manifests: what their bytes say. Pure; the bytes themselves are never changed."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import DecodeError, Meta, Struct, ValidationError
from msgspec.json import Decoder

from ecr_emulator.blobs.base import DIGEST_PATTERN, digest_of
from ecr_emulator.core import errors

# ECR's limit, and botocore's (ImageManifest).
MAX_SIZE = 4 * 1024 * 1024

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)


class Descriptor(Struct, frozen=True, rename="camel"):
    """What a manifest says of a blob or of a child manifest; ``size`` in bytes."""

    digest: Annotated[str, Meta(pattern=rf"\A(?:{DIGEST_PATTERN})\Z")]
    size: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    media_type: str
    urls: Any = None

    @property
    def external(self) -> bool:
        """Whether the bytes are somewhere else, as those of Windows base layers are (``urls``)."""
        return bool(self.urls)


class _Document(Struct, frozen=True, rename="camel"):
    """The members of a manifest that count; others may be anything."""

    schema_version: Any = None
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = None
    manifests: tuple[Descriptor, ...] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


_DECODER = Decoder(_Document)


class Manifest(Struct, frozen=True):
    """A parsed manifest of an image, an artifact or an index."""

    content: bytes
    digest: str
    media_type: str
    artifact_type: str | None
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    """Config and layers that have to be in the repository."""

    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    annotations: dict[str, str] | None

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests instead of layers."""
        return self.media_type in INDEX_TYPES

    @property
    def images(self) -> set[str]:
        """The digests of children, which have to be in the repository."""
        return {child.digest for child in self.children if not child.external}


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
    stated = document.media_type
    if stated is not None and media_type is not None and stated != media_type:
        raise invalid("Manifest media type does not match the media type of the request")
    media_type = media_type or stated
    if media_type is None:
        # PutImage's documentation: without mediaType in the manifest the request has to name it.
        raise invalid("Manifest media type must be specified")
    if media_type not in (*IMAGE_TYPES, *INDEX_TYPES):
        raise invalid(f"Manifest media type {media_type[:255]} is not supported")
    if document.schema_version != 2:
        raise invalid("Manifest schema version must be 2")
    is_index = media_type in INDEX_TYPES
    if is_index and (document.config is not None or document.layers is not None):
        raise invalid("Invalid manifest list: it has layers")
    for member in ("manifests",) if is_index else ("config", "layers"):
        if getattr(document, member) is None:
            raise invalid(f"{member}: Object missing required field")
    config, layers = document.config, document.layers or ()
    return Manifest(
        content=content,
        digest=digest_of(content, algorithm),
        media_type=media_type,
        artifact_type=document.artifact_type or None,
        config=config,
        layers=layers,
        blobs=tuple([blob for blob in ((config, *layers) if config else layers) if not blob.urls]),
        children=document.manifests or () if is_index else (),
        subject=document.subject,
        annotations=document.annotations,
    )


def _load(content: bytes) -> _Document:
    try:
        # What is passed over is not looked at, but all of it is given out as text.
        content.decode()
        return _DECODER.decode(content)
    except ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        raise invalid(f"{path.rstrip('`')}: {reason}" if path else "Invalid JSON syntax") from None
    except (DecodeError, ValueError, RecursionError):
        raise invalid("Invalid JSON syntax") from None
