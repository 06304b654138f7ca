"""Requests of the data plane that come again, alike to the byte, and get the answer that they got before.

Docker's clients ask for a tag's manifest again and again, with the same headers. While nothing was written
the answer is the same, and so is what the audit trail is told; only the time passes.
"""

from __future__ import annotations

from collections.abc import Hashable

from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDict

from ecr_emulator.core.emulator import Emulator
from ecr_emulator.events.audit import Action
from ecr_emulator.logs import OPERATION, REQUEST_ID

# Up to when an answer is right if nothing is written, in seconds since 1970. A handler sets it.
RIGHT_UNTIL = web.RequestKey("right_until", float)

# What requests that come again ask for.
_NOUN = "/manifests/"


class _Answer(Struct, frozen=True):
    right_until: float
    headers: CIMultiDict[str]
    body: bytes
    action: Action


class Repeat(Struct, frozen=True):
    """What an answer is remembered by: the version of the metadata, and all that the request says."""

    version: int
    key: Hashable


def repeat_of(emulator: Emulator, request: web.BaseRequest) -> Repeat | None:
    """Return what to remember a request's answer by, or None for one that does not come again."""
    if request.method not in ("GET", "HEAD") or _NOUN not in request.raw_path:
        return None
    if emulator.settings.rates or emulator.faults:
        # Each request counts.
        return None
    version = emulator.memo.version()
    if version is None:
        return None
    # Whether the connection speaks TLS is the same for all of a server's.
    return Repeat(version, (request.method, request.raw_path, request.remote, request.raw_headers))


def recall(emulator: Emulator, request: web.BaseRequest, repeat: Repeat) -> web.Response | None:
    """Answer a request as the same one was answered before, if that still is right."""
    answer: _Answer | None = emulator.memo.recall(repeat.version, repeat.key)
    now = emulator.clock.now()
    if answer is None or now >= answer.right_until:
        return None
    request[OPERATION] = answer.action.operation
    emulator.trail.add(answer.action.again(now, request[REQUEST_ID]))
    return web.Response(body=answer.body, headers=answer.headers)


def keep(
    emulator: Emulator, request: web.BaseRequest, repeat: Repeat, response: web.Response, action: Action
) -> None:
    """Remember the answer to a request whose handler said that it can be."""
    right_until, body = request.get(RIGHT_UNTIL), response.body
    if right_until is not None and isinstance(body, bytes):
        # A copy, to which aiohttp adds no date.
        answer = _Answer(right_until, response.headers.copy(), body, action)
        headers = sum(len(name) + len(value) for name, value in request.raw_headers)
        emulator.memo.keep(repeat.version, repeat.key, answer, len(body) + headers)
