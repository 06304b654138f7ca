"""Download URLs of layers: what GetDownloadUrlForLayer hands out in place of S3's pre-signed ones."""

from __future__ import annotations

from ecr_emulator.core.call import Call
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.seals import Seals

# Seconds for which ECR's URLs are valid.
LIFETIME = 3600.0
PATH_PREFIX = "/_layers/"
_PURPOSE = "layer-download"


class ExpiredDownloadError(Exception):
    """The URL was valid once."""


def seal_download(seals: Seals, call: Call, repository_name: str, digest: str) -> str:
    """Return the path of a URL that gives a layer's bytes to whoever has it."""
    value = [call.registry.account, call.registry.region, repository_name, digest, call.now + LIFETIME]
    return PATH_PREFIX + seals.seal(_PURPOSE, value)


def open_download(seals: Seals, sealed: str, now: float) -> tuple[Registry, str, str]:
    """Return registry, repository name and digest of a download URL.

    Raises InvalidSealError for a URL that the server did not make, and ExpiredDownloadError.
    """
    account, region, repository_name, digest, expires_at = seals.open(_PURPOSE, sealed)
    if now >= expires_at:
        raise ExpiredDownloadError
    return Registry(account, region), repository_name, digest
