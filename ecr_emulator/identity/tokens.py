"""Authorization tokens: what GetAuthorizationToken hands out and ``/v2/`` takes as a password."""

from __future__ import annotations

import base64

from msgspec import Struct

from ecr_emulator.core.registry import Registry
from ecr_emulator.core.seals import InvalidSealError, Seals

# GetAuthorizationToken's documentation: valid for 12 hours.
LIFETIME = 12 * 3600.0
USER = "AWS"
_PURPOSE = "authorization-token"


class Token(Struct, frozen=True):
    """What an authorization token says; ``expires_at`` in seconds since 1970."""

    registry: Registry
    caller_arn: str
    expires_at: float


def issue(seals: Seals, registry: Registry, caller_arn: str, now: float) -> tuple[str, float]:
    """Return a new authorization token, base64 of ``AWS:password``, and when it expires."""
    expires_at = now + LIFETIME
    password = seals.seal(_PURPOSE, [registry.account, registry.region, caller_arn, expires_at])
    return base64.b64encode(f"{USER}:{password}".encode()).decode(), expires_at


def read(seals: Seals, authorization: str) -> Token | None:
    """Return the token in a Basic ``Authorization`` header, or None where there is no valid one.

    Whether it has expired is for the caller to ask.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        if user != USER:
            return None
        account, region, caller_arn, expires_at = seals.open(_PURPOSE, password)
    except (ValueError, InvalidSealError):
        return None
    return Token(Registry(account, region), caller_arn, expires_at)
