"""The data plane's HTTP side: finds the handler of a path and answers errors."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web

from ecr_emulator.blobs.base import BlobStoreUnavailableError
from ecr_emulator.core.authorization import Guard
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.errors import EcrError
from ecr_emulator.core.names import is_repository_name
from ecr_emulator.core.upstream import UpstreamError
from ecr_emulator.logs import REQUEST_ID
from ecr_emulator.oci import blobs, catalog, manifests, referrers, tags, uploads
from ecr_emulator.oci.access import accesses_of
from ecr_emulator.oci.authentication import authenticate
from ecr_emulator.oci.context import Context
from ecr_emulator.oci.errors import OciError, error_response, translate

_logger = logging.getLogger(__name__)

Handler = Callable[[Context], Awaitable[web.StreamResponse]]

# The name is greedy, so that repositories may have these words in their names. What it takes in is
# for the grammar of names to judge.
_PATH = re.compile(
    r"/v2/(?P<name>.+)/"
    r"(?:(?P<uploads>blobs/uploads/?)|blobs/uploads/(?P<upload>[^/]+)|blobs/(?P<blob>[^/]+)"
    r"|manifests/(?P<manifest>[^/]+)|(?P<tags>tags/list)|referrers/(?P<referrers>[^/]+))"
)

_HANDLERS: dict[str, dict[str, Handler]] = {
    "uploads": {"POST": uploads.post},
    "upload": {"GET": uploads.get, "PATCH": uploads.patch, "PUT": uploads.put, "DELETE": uploads.delete},
    "blob": {"GET": blobs.get, "HEAD": blobs.get, "DELETE": blobs.delete},
    "manifest": {
        "GET": manifests.get,
        "HEAD": manifests.get,
        "PUT": manifests.put,
        "DELETE": manifests.delete,
    },
    "tags": {"GET": tags.get},
    "referrers": {"GET": referrers.get},
    "catalog": {"GET": catalog.get},
}


async def handle(emulator: Emulator, request: web.Request) -> web.StreamResponse:
    """Answer a request to ``/v2/…``."""
    try:
        response = await _answer(emulator, request)
    except OciError as error:
        response = error_response(error)
    except (EcrError, UpstreamError) as error:
        response = error_response(translate(error))
    except BlobStoreUnavailableError as error:
        _logger.warning("the blob store fails: %s", error, extra={"request_id": request[REQUEST_ID]})
        response = error_response(
            OciError(503, "UNAVAILABLE", "The blob store does not answer", {"Retry-After": "1"})
        )
    except ConnectionError:
        raise
    except Exception:
        _logger.exception("request failed", extra={"request_id": request[REQUEST_ID]})
        response = error_response(OciError(500, "UNKNOWN", "The service failed"))
    response.headers["Docker-Distribution-API-Version"] = "registry/2.0"
    return response


async def _answer(emulator: Emulator, request: web.Request) -> web.StreamResponse:
    # Before the body is touched: a client that is told to log in sends it again.
    call = await authenticate(emulator, request)
    if request.path in ("/v2", "/v2/"):
        if request.method not in ("GET", "HEAD"):
            raise _unsupported(["GET", "HEAD"])
        return web.json_response({})
    noun, name, reference = _parse(request.path)
    handlers = _HANDLERS[noun]
    handler = handlers.get(request.method)
    if handler is None:
        raise _unsupported(list(handlers))
    async with Guard(emulator.metadata, call, accesses_of(noun, request, call, name)) as metadata:
        return await handler(Context(replace(emulator, metadata=metadata), request, call, name, reference))


def _parse(path: str) -> tuple[str, str, str]:
    """Return noun, repository name and reference of a path. Raises OciError."""
    if path == "/v2/_catalog":
        return "catalog", "", ""
    match = _PATH.fullmatch(path)
    if match is None:
        raise OciError(404, "NAME_UNKNOWN", "The path is not one of the OCI distribution API")
    name = match["name"]
    if not is_repository_name(name):
        raise OciError(400, "NAME_INVALID", f"The repository name '{name}' is not valid")
    noun = match.lastgroup or ""
    return noun, name, match[noun]


def _unsupported(methods: list[str]) -> OciError:
    return OciError(405, "UNSUPPORTED", "The operation is unsupported.", {"Allow": ", ".join(methods)})
