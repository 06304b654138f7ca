"""The names under which the server is reached, as repositoryUri and proxyEndpoint give them."""

from __future__ import annotations

from ecr_emulator.core.registry import Registry
from ecr_emulator.settings import Settings

_WILDCARD_ADDRESSES = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def public_endpoint(settings: Settings, port: int, host_header: str | None, registry: Registry) -> str:
    """Return the host and port that URIs name for a registry.

    The setting wins, its ``{account}`` and ``{region}`` filled in. Without it they are the address
    that the server listens on, since clients take 127.0.0.1 for a registry without TLS; a server
    that listens on all addresses is named as the caller named it.
    """
    if settings.public_endpoint:
        return settings.public_endpoint.replace("{account}", registry.account).replace(
            "{region}", registry.region
        )
    if settings.host in _WILDCARD_ADDRESSES:
        return host_header or f"127.0.0.1:{port}"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{port}"
