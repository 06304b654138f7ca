"""The port to upstream registries, from which the pull-through cache fetches."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

# Most referrers of one image that are taken from an upstream.
MAX_REFERRERS = 1000


class Fault(enum.Enum):
    """Why something could not be had; the values are BatchGetImage's failure codes."""

    NOT_FOUND = "ImageNotFound"
    ACCESS_DENIED = "UpstreamAccessDenied"
    TOO_MANY_REQUESTS = "UpstreamTooManyRequests"
    UNAVAILABLE = "UpstreamUnavailable"


class UpstreamError(Exception):
    """Something could not be had from an upstream registry; the message is for the client."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


class SecretError(UpstreamError):
    """The secret with the credentials for an upstream registry is of no use."""

    def __init__(self, message: str) -> None:
        super().__init__(Fault.ACCESS_DENIED, message)


def access_denied() -> UpstreamError:
    """Return the error for credentials that the upstream does not take, or lacks."""
    return UpstreamError(
        Fault.ACCESS_DENIED,
        "The authentication to the upstream registry failed. Verify that the credentials for the upstream "
        "registry are valid and that they allow access to the upstream repository.",
    )


def unavailable(reason: str) -> UpstreamError:
    """Return the error for an upstream that does not answer, or with nonsense."""
    return UpstreamError(Fault.UNAVAILABLE, f"The upstream registry is unavailable: {reason}")


class Credentials(Struct, frozen=True):
    """What an upstream registry is told about who asks."""

    username: str
    password: str


class UpstreamManifest(Struct, frozen=True):
    """A manifest as an upstream gave it. Nothing of it has been checked."""

    content: bytes
    media_type: str | None


class UpstreamRepository(Protocol):
    """One repository of an upstream registry. Every method raises UpstreamError."""

    async def check(self) -> None:
        """Check that the registry can be reached and takes the credentials."""
        ...

    async def resolve(self, tag: str) -> str:
        """Return the digest that a tag stands for, without fetching the manifest."""
        ...

    async def manifest(self, reference: str) -> UpstreamManifest:
        """Fetch a manifest by tag or by digest."""
        ...

    async def referrers(self, subject: str) -> list[str]:
        """Return the digests of the manifests whose subject is a digest, such as ECR takes.

        They are none where the registry has no such repository, or neither the referrers API nor a list
        under the tag that stands in for it. Past MAX_REFERRERS some may be left out.
        """
        ...

    def blob(self, digest: str) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Give the bytes of a blob, as they come in. Reading them may raise UpstreamError too."""
        ...


class Upstreams(Protocol):
    """Reaches upstream registries."""

    def repository(self, host: str, name: str, credentials: Credentials | None) -> UpstreamRepository:
        """Return a repository of the registry on a host, which is not asked yet."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
