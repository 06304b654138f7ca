"""The data plane's HTTP side: finds the handler of a path and answers errors."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Awaitable, Callable

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from ecr_emulator.blobs.base import BlobStoreUnavailableError
from ecr_emulator.core.audit import error_of
from ecr_emulator.core.authorization import Guard
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.errors import EcrError
from ecr_emulator.core.names import is_repository_name
from ecr_emulator.core.upstream import UpstreamError
from ecr_emulator.events.audit import Action
from ecr_emulator.identity.requests import unidentified_call
from ecr_emulator.logs import OPERATION, REQUEST_ID
from ecr_emulator.metadata.store import MetadataUnavailableError
from ecr_emulator.oci import audit, blobs, catalog, manifests, referrers, repeats, tags, uploads
from ecr_emulator.oci.access import accesses_of
from ecr_emulator.oci.authentication import authenticate
from ecr_emulator.oci.context import API_VERSION, Context
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


class _Progress(Struct):
    """What is known of a request, as far as it got."""

    call: Call | None = None
    path: tuple[str, str, str] | None = None
    """Noun, repository name and reference."""


async def handle(emulator: Emulator, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request to ``/v2/…``."""
    repeat = repeats.repeat_of(emulator, request)
    if repeat is not None and (repeated := repeats.recall(emulator, request, repeat)) is not None:
        return repeated
    progress = _Progress()
    outcome: web.StreamResponse | tuple[str, str]
    try:
        outcome = response = await _answer(emulator, request, progress)
    except OciError as error:
        # The API's error, where it is one that a handler has put into other words.
        origin = error.__context__
        response = error_response(error)
        outcome = error_of(origin) if isinstance(origin, EcrError) else (error.code, error.message)
    except EcrError as error:
        response, outcome = error_response(translate(error)), error_of(error)
    except UpstreamError as error:
        response, outcome = error_response(translate(error)), (error.fault.value, error.message)
    except (BlobStoreUnavailableError, MetadataUnavailableError) as error:
        _logger.warning("a store fails: %s", error, extra={"request_id": request[REQUEST_ID]})
        failure = OciError(503, "UNAVAILABLE", "A store does not answer", {"Retry-After": "1"})
        response, outcome = error_response(failure), (failure.code, failure.message)
    except ConnectionError:
        raise
    except Exception:
        _logger.exception("request failed", extra={"request_id": request[REQUEST_ID]})
        failure = OciError(500, "UNKNOWN", "The service failed")
        response, outcome = error_response(failure), (failure.code, failure.message)
    actions = _note(emulator, request, progress, outcome)
    response.headers.update(API_VERSION)
    if repeat is not None and isinstance(outcome, web.Response) and len(actions) == 1:
        repeats.keep(emulator, request, repeat, outcome, actions[0])
    return response


def _note(
    emulator: Emulator,
    request: web.BaseRequest,
    progress: _Progress,
    outcome: web.StreamResponse | tuple[str, str],
) -> list[Action]:
    """Tell the audit trail of a request, but not of one that is told to log in, as clients first are."""
    call, path = progress.call, progress.path
    if call is None and "Authorization" in request.headers:
        call = unidentified_call(emulator, request)
        with contextlib.suppress(OciError):
            path = _parse(request.path)
    if call is not None and path is not None and request.method in _HANDLERS[path[0]]:
        return audit.note(emulator, call, request, path, outcome)
    return []


async def _answer(emulator: Emulator, request: web.BaseRequest, progress: _Progress) -> web.StreamResponse:
    # Before the body is touched: a client that is told to log in sends it again.
    progress.call = call = await authenticate(emulator, request)
    if request.path in ("/v2", "/v2/"):
        if request.method not in ("GET", "HEAD"):
            raise _unsupported(["GET", "HEAD"])
        return web.json_response({})
    noun, name, reference = _parse(request.path)
    handlers = _HANDLERS[noun]
    handler = handlers.get(request.method)
    if handler is None:
        raise _unsupported(list(handlers))
    progress.path = noun, name, reference
    steps = audit.operations_of(noun, request)
    request[OPERATION] = steps[-1]
    emulator.rates.spend(call.registry, steps, call.now)
    emulator.faults.strike(call.registry, steps)
    async with Guard(emulator.metadata, call, accesses_of(noun, request, call, name)) as guard:
        guarded = replace(emulator, metadata=guard)
        return await handler(Context(guarded, request, call, name, reference, guard))


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
