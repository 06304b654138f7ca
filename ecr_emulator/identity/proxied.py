"""Requests through a proxy, whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` tell of the client."""

from __future__ import annotations

import asyncio
import ipaddress

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage


def proxied_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make a request of the client whose address and scheme the proxy tells.

    What earlier proxies, or the client itself, may have made up stands before what the last one adds. A value
    that can't be right is passed over, and then it is the connection's.
    """
    return web.BaseRequest(
        message,
        payload,
        protocol,
        writer,
        task,
        asyncio.get_running_loop(),
        scheme=_scheme(_last(message, "X-Forwarded-Proto")),
        remote=_address(_last(message, "X-Forwarded-For")),
    )


def _last(message: RawRequestMessage, name: str) -> str:
    """Return the last of a header's values, which may be on several lines."""
    values = message.headers.getall(name, ())
    return values[-1].rpartition(",")[2].strip() if values else ""


def _scheme(value: str) -> str | None:
    scheme = value.lower()
    return scheme if scheme in ("http", "https") else None


def _address(value: str) -> str | None:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return None
