"""What a rule may know of the request it works for: who calls, on which registry, and when."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable

from msgspec import Struct, field

from ecr_emulator.core import quotas
from ecr_emulator.core.encryption import NO_ENCRYPTION, Encryption
from ecr_emulator.core.identities import Identity
from ecr_emulator.core.quotas import Quotas
from ecr_emulator.core.registry import Registry


class Call(Struct, frozen=True):
    """One request. Rules never ask a clock: ``now`` is seconds since 1970."""

    registry: Registry
    """The registry that the request is about."""

    caller_arn: str
    """Who calls."""

    now: float
    """The server's time when the request came in."""

    request_id: str
    """The id that the response, the log and errors carry."""

    origin: str
    """Scheme, host and port under which the caller reached the server."""

    secure: bool
    """Whether the caller speaks TLS."""

    endpoint_of: Callable[[Registry], str]
    """Gives the host and port that URIs in responses name for a registry."""

    identity: Identity | None = None
    """The caller with its policies, as far as the server knows it."""

    source_ip: str | None = None
    """The address that the request came from."""

    user_agent: str | None = None
    """What the caller's client calls itself."""

    quotas: Quotas = field(default_factory=quotas.defaults)
    """How much there can be of something, by name."""

    expires_at: float = math.inf
    """When the caller has to log in again, in seconds since 1970."""

    encryption: Encryption = NO_ENCRYPTION
    """What layers are encrypted with."""


def unattended(
    registry: Registry,
    now: float,
    limits: Quotas | None = None,
    encryption: Encryption = NO_ENCRYPTION,
) -> Call:
    """Return the Call of work that no request waits for; its caller is the account's root.

    ``limits`` are the quotas, if not ECR's; ``encryption`` is for what stores layers or reads them.
    """
    return Call(
        registry=registry,
        caller_arn=registry.root_arn,
        now=now,
        request_id=str(uuid.uuid4()),
        origin="",
        secure=True,
        endpoint_of=lambda _registry: "",
        quotas=quotas.defaults() if limits is None else limits,
        encryption=encryption,
    )
