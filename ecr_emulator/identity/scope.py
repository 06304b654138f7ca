"""Which registry a request is about: from its credentials, its host name or its token."""

from __future__ import annotations

import re

from ecr_emulator.core.registry import Registry
from ecr_emulator.settings import Settings

_CREDENTIAL = re.compile(
    r"Credential=(?P<key>[^/\s,]+)/(?P<date>\d{8})/(?P<region>[0-9a-z-]{2,25})/(?P<service>[^/\s,]+)/aws4_request"
)
_REGISTRY_HOST = re.compile(r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[0-9a-z-]{2,25})\..+")
_ACCOUNT = re.compile(r"\d{12}")


def default_registry(settings: Settings) -> Registry:
    """Return the registry of callers who name none."""
    return Registry(settings.account_id, settings.region)


def registry_of_signature(authorization: str, settings: Settings) -> Registry:
    """Return the registry of a signed control-plane call.

    The region is that of the signature's credential scope, the account the access key id where
    it is one, 12 digits. What the header does not say is the default.
    """
    match = _CREDENTIAL.search(authorization)
    if match is None:
        return default_registry(settings)
    is_account = _ACCOUNT.fullmatch(match["key"]) is not None
    return Registry(match["key"] if is_account else settings.account_id, match["region"])


def registry_of_host(host: str) -> Registry | None:
    """Return the registry that a host name ``ACCOUNT.dkr.ecr.REGION.…`` names, or None."""
    match = _REGISTRY_HOST.fullmatch(host.partition(":")[0].lower())
    return None if match is None else Registry(match["account"], match["region"])
