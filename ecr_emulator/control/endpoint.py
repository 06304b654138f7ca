"""The control plane's HTTP side: a target in, an operation's output or ECR's error out."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any, NoReturn

import msgspec
import orjson
from aiohttp import web
from msgspec import Struct, field
from msgspec.structs import replace

from ecr_emulator import bodies
from ecr_emulator.blobs.base import BlobStoreUnavailableError
from ecr_emulator.control import caller_identity, model, operations
from ecr_emulator.control.access import accesses_of
from ecr_emulator.core import audit, errors
from ecr_emulator.core.authorization import EVERY_REPOSITORY, Access, Guard
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.events.audit import Action
from ecr_emulator.identity.requests import caller_of, new_call, unidentified_call
from ecr_emulator.logs import OPERATION, REQUEST_ID
from ecr_emulator.metadata.store import MetadataUnavailableError

_logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/x-amz-json-1.1"
_SERVICE = "ecr"
# Bytes of a request: a part of 20 MiB is the most that the model allows, in base64. Only parts, and manifests
# with each letter escaped, can be that large; all else is far smaller than this.
LARGE_REQUESTS = ("UploadLayerPart", "PutImage")
MAX_LARGE_REQUEST_SIZE = 32 * 1024 * 1024
MAX_REQUEST_SIZE = 4 * 1024 * 1024
# Brackets and commas in it, as many as the largest manifest could have twice over: each can begin a value,
# which takes thirty times its size in memory.
MAX_SEPARATORS = 250_000


async def handle(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Answer a request to ``/``."""
    target = request.headers.get("X-Amz-Target")
    request_id = request[REQUEST_ID]
    if request.method != "POST" or target is None:
        if caller_identity.is_asked_for(request):
            return await caller_identity.handle(emulator, request)
        # What AWS's JSON services answer to requests that are not for them.
        return web.Response(
            status=404,
            text="<UnknownOperationException/>\n",
            content_type="text/xml",
            headers={"x-amzn-RequestId": request_id},
        )
    progress = _Progress()
    failure: errors.EcrError
    try:
        answer = await _perform(emulator, request, target, progress)
        return _response(200, answer, request_id)
    except errors.EcrError as error:
        failure = error
    except (BlobStoreUnavailableError, MetadataUnavailableError) as error:
        _logger.warning("a store fails: %s", error, extra={"request_id": request_id, "target": target})
        failure = errors.ServerException("A store does not answer")
    except ConnectionError:
        raise
    except Exception:
        _logger.exception("operation failed", extra={"request_id": request_id, "target": target})
        failure = errors.ServerException("The service failed")
    if progress.operation is not None:
        progress.call = progress.call or unidentified_call(emulator, request)
        _note(emulator, progress, progress.operation, progress.call, None, failure)
    return _error_response(failure, request_id)


class _Progress(Struct):
    """What is known of a request, as far as it got."""

    operation: model.Operation | None = None
    given: dict[str, Any] = field(default_factory=dict)
    call: Call | None = None
    accesses: list[Access] = field(default_factory=list)


class _Remembered(Struct, frozen=True):
    """An answer that may be given again: the output as JSON, and what the audit trail was told."""

    body: bytes
    action: Action


async def _perform(emulator: Emulator, request: web.BaseRequest, target: str, progress: _Progress) -> bytes:
    """Perform the operation that a request asks for, and return its output as JSON."""
    progress.operation = operation = _operation(target)
    request[OPERATION] = operation.name
    perform = _function(operation)
    large = operation.name in LARGE_REQUESTS
    body = await _read(emulator, request, MAX_LARGE_REQUEST_SIZE if large else MAX_REQUEST_SIZE)
    caller = await caller_of(emulator, request, body, _SERVICE)
    progress.call = call = new_call(emulator, request, caller.registry, caller.arn)
    emulator.rates.spend(caller.registry, (operation.name,), call.now)
    emulator.faults.strike(caller.registry, (operation.name,))
    memo, version = emulator.memo, None
    # All that policies' conditions and the output can depend on.
    key = (operation.name, caller.arn, caller.registry, call.origin, call.source_ip, call.user_agent, body)
    if operations.is_lasting(perform):
        version = memo.version()
        remembered: _Remembered | None = memo.recall(version, key)
        if remembered is not None:
            emulator.trail.add(remembered.action.again(call.now, call.request_id))
            return remembered.body
    progress.given = given = model.decode_input(operation, _parse(body))
    if "registryId" in given:
        registry = Registry(given["registryId"], caller.registry.region)
        progress.call = call = replace(call, registry=registry)
    progress.accesses = accesses = accesses_of(operation, call, given)
    async with Guard(emulator.metadata, call, accesses) as guard:
        output = await perform(replace(emulator, metadata=guard), call, given)
    checked = model.check_output(operation, output)
    answer = msgspec.json.encode(checked)
    action = _note(emulator, progress, operation, call, checked, None)
    if guard.is_lasting:
        memo.keep(version, key, _Remembered(answer, action), len(body) + len(answer))
    return answer


def _note(
    emulator: Emulator,
    progress: _Progress,
    operation: model.Operation,
    call: Call,
    output: Any,
    failure: errors.EcrError | None,
) -> Action:
    """Tell the audit trail of a request that names an operation."""
    return audit.note(
        emulator,
        call,
        operation.name,
        [each.resource for each in progress.accesses if each.repository not in (None, EVERY_REPOSITORY)],
        progress.given,
        None if output is None else partial(msgspec.to_builtins, output),
        None if failure is None else audit.error_of(failure),
    )


def _operation(target: str) -> model.Operation:
    prefix, _, name = target.rpartition(".")
    operation = model.operations().get(name)
    if prefix != model.target_prefix() or operation is None:
        raise errors.UnknownOperationException(f"The target {target[:200]!r} names no operation")
    return operation


def _function(operation: model.Operation) -> operations.Perform:
    perform = operations.functions().get(operation.name)
    if perform is None:
        raise errors.NotImplementedException(
            f"The operation {operation.name} is not implemented by this emulator"
        )
    return perform


async def _read(emulator: Emulator, request: web.BaseRequest, limit: int) -> bytes:
    try:
        return await bodies.read(request, emulator.settings.body_timeout, limit)
    except bodies.BodyTooLargeError:
        raise errors.SerializationException("The request is too large") from None


def _parse(body: bytes) -> Any:
    if sum(map(body.count, (b"[", b"{", b","))) > MAX_SEPARATORS:
        raise errors.SerializationException("The request has too many values")
    try:
        return msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _parse_leniently(body)


def _parse_leniently(body: bytes) -> Any:
    """Parse what the faster parser does not take, as halves of surrogate pairs and other encodings."""
    try:
        return json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise errors.SerializationException("The request is not valid JSON") from None


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _error_response(error: errors.EcrError, request_id: str) -> web.Response:
    body = {"__type": error.code, "message": error.message, **error.details}
    response = _response(error.http_status, _dump(body), request_id)
    response.headers["x-amzn-ErrorType"] = error.code
    return response


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Half of a surrogate pair, as JSON can have it, that a message cites.
        return json.dumps(body).encode()


def _response(status: int, body: bytes, request_id: str) -> web.Response:
    return web.Response(
        status=status,
        body=body,
        headers={"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": request_id},
    )
