"""Who a request of the data plane comes from, and which registry it is about."""

from __future__ import annotations

from aiohttp import web

from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.identity import tokens
from ecr_emulator.identity.requests import new_call
from ecr_emulator.identity.scope import default_registry, registry_of_host
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.oci.errors import OciError


async def authenticate(emulator: Emulator, request: web.BaseRequest) -> Call:
    """Return the Call of a request, from its host name and its authorization token.

    A token is its caller's: in whatever account's registry it is used, policies say what the caller may
    do there. Raises OciError: 401 where the caller has to log in, 403 where the token has expired or is
    for another region.
    """
    # containerd's mirrors name the registry that they stand for in ``ns``.
    named = registry_of_host(request.host) or registry_of_host(request.query.get("ns", ""))
    token = tokens.read(emulator.seals, request.headers.get("Authorization", ""))
    if emulator.settings.auth == "off":
        registry = named or (token.registry if token else await _only_registry(emulator))
        if registry is None:
            raise _challenge(request)
        return new_call(emulator, request, registry, token.caller_arn if token else None)
    if token is None:
        raise _challenge(request)
    if token.expires_at <= emulator.clock.now():
        raise OciError(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
    if named is not None and named.region != token.registry.region:
        raise OciError(403, "DENIED", "Your authorization token is for another region.")
    if emulator.settings.auth == "strict" and token.caller_arn not in emulator.principals.identities:
        # It was given before the server was told to know who calls.
        raise _challenge(request)
    return new_call(emulator, request, named or token.registry, token.caller_arn, token.expires_at)


def _challenge(request: web.BaseRequest) -> OciError:
    realm = f"{request.scheme}://{request.host}/"
    return OciError(
        401,
        "UNAUTHORIZED",
        "Not Authorized",
        {"WWW-Authenticate": f'Basic realm="{realm}",service="ecr.amazonaws.com"'},
    )


async def _only_registry(emulator: Emulator) -> Registry | None:
    """Return the registry that an anonymous caller means, or None where it could be several."""
    memo, key = emulator.memo, _only_registry
    version = memo.version()
    known: tuple[Registry | None] | None = memo.recall(version, key)
    if known is None:
        registry = await emulator.metadata.peek(_only_registry_of, default_registry(emulator.settings))
        memo.keep(version, key, known := (registry,), 0)
    return known[0]


def _only_registry_of(tx: Transaction, default: Registry) -> Registry | None:
    first = tx.repositories.next_registry("", "")
    if first is None:
        return default
    return Registry(*first) if tx.repositories.next_registry(*first) is None else None
