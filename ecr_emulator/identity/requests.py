"""Tells who sent an HTTP request, and makes its Call."""

from __future__ import annotations

import asyncio
import math
from functools import partial

from aiohttp import web
from msgspec.structs import replace

from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.identity import sigv4
from ecr_emulator.identity.endpoints import public_endpoint
from ecr_emulator.identity.scope import Caller, caller_of_key, caller_of_signature, default_registry
from ecr_emulator.logs import REQUEST_ID


async def caller_of(emulator: Emulator, request: web.BaseRequest, body: bytes, service: str) -> Caller:
    """Return who signed a request to a service; whether they did is asked only where the setting says so.

    Raises MissingAuthenticationToken-, IncompleteSignature-, UnrecognizedClient- and
    InvalidSignatureException.
    """
    settings, access_keys = emulator.settings, emulator.principals.access_keys
    if settings.auth != "strict":
        return caller_of_signature(request.headers.get("Authorization", ""), settings, access_keys)
    signed = sigv4.Request(service, request.method, request.rel_url.raw_path_qs, request.headers, body)
    # Off the event loop, since a part of a layer takes a while to hash.
    signature = await asyncio.to_thread(sigv4.verify, signed, access_keys, emulator.clock.now())
    return caller_of_key(signature.key, signature.region, settings, access_keys)


def new_call(
    emulator: Emulator,
    request: web.BaseRequest,
    registry: Registry,
    caller_arn: str | None = None,
    expires_at: float = math.inf,
) -> Call:
    """Return the Call of a request on a registry; the caller is its account's root where unknown.

    The caller has to log in again when ``expires_at``, in seconds since 1970.
    """
    caller_arn = caller_arn or registry.root_arn
    host = request.headers.get("Host")
    port = request.transport.get_extra_info("sockname")[1] if request.transport else emulator.settings.port
    scheme = "https" if request.secure else "http"
    endpoint_of = partial(public_endpoint, emulator.settings, port, host)
    return Call(
        registry=registry,
        caller_arn=caller_arn,
        now=emulator.clock.now(),
        request_id=request[REQUEST_ID],
        origin=f"{scheme}://{host or endpoint_of(registry)}",
        secure=request.secure,
        endpoint_of=endpoint_of,
        identity=emulator.principals.identities.get(caller_arn),
        source_ip=request.remote,
        user_agent=request.headers.get("User-Agent"),
        quotas=emulator.quotas,
        expires_at=expires_at,
        encryption=emulator.encryption,
    )


def unidentified_call(emulator: Emulator, request: web.BaseRequest) -> Call:
    """Return the Call of a request whose caller nobody knows, for the audit trail: its caller is ""."""
    return replace(new_call(emulator, request, default_registry(emulator.settings)), caller_arn="")
