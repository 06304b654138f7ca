"""Who calls, and which registry a request is about: from its credentials or its host name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from ecr_emulator.core.identities import AccessKey
from ecr_emulator.core.registry import Registry
from ecr_emulator.settings import Settings

_CREDENTIAL = re.compile(
    r"Credential=(?P<key>[^/\s,]+)/(?P<date>\d{8})/(?P<region>[0-9a-z-]{2,25})/(?P<service>[^/\s,]+)/aws4_request"
)
_REGISTRY_HOST = re.compile(r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[0-9a-z-]{2,25})\..+")
_ACCOUNT = re.compile(r"\d{12}")


class Caller(Struct, frozen=True):
    """A principal, and the registry that a call of its is about where it names no other account."""

    arn: str
    registry: Registry


def default_registry(settings: Settings) -> Registry:
    """Return the registry of callers who name none."""
    return Registry(settings.account_id, settings.region)


def caller_of_signature(
    authorization: str, settings: Settings, access_keys: Mapping[str, AccessKey]
) -> Caller:
    """Return who signed a control-plane call.

    The region is that of the signature's credential scope. The access key id is that of one of the
    ``access_keys``, or else it is the account, if it is 12 digits, whose root then calls. What the
    header does not say is the default.
    """
    match = _CREDENTIAL.search(authorization)
    key, region = match.group("key", "region") if match else ("", settings.region)
    return caller_of_key(key, region, settings, access_keys)


def caller_of_key(key: str, region: str, settings: Settings, access_keys: Mapping[str, AccessKey]) -> Caller:
    """Return who has an access key id, calling a region."""
    known = access_keys.get(key)
    if known is not None:
        return Caller(known.arn, Registry(account_of_arn(known.arn), region))
    registry = Registry(key if _ACCOUNT.fullmatch(key) else settings.account_id, region)
    return Caller(registry.root_arn, registry)


def registry_of_host(host: str) -> Registry | None:
    """Return the registry that a host name ``ACCOUNT.dkr.ecr.REGION.…`` names, or None."""
    match = _REGISTRY_HOST.fullmatch(host.partition(":")[0].lower())
    return None if match is None else Registry(match["account"], match["region"])


def account_of_arn(arn: str) -> str:
    """Return the account that an ARN names."""
    return arn.split(":")[4]
