"""The control plane's HTTP side: a target in, an operation's output or ECR's error out."""

from __future__ import annotations

import json
import logging
from typing import Any, NoReturn

from aiohttp import web

from ecr_emulator import bodies
from ecr_emulator.control import model, operations
from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.identity.requests import new_call
from ecr_emulator.identity.scope import caller_of_signature
from ecr_emulator.logs import OPERATION, REQUEST_ID

_logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/x-amz-json-1.1"
# Bytes of a request: a part of 20 MiB is the most that the model allows, in base64.
MAX_REQUEST_SIZE = 32 * 1024 * 1024


async def handle(emulator: Emulator, request: web.Request) -> web.Response:
    """Answer a request to ``/``."""
    target = request.headers.get("X-Amz-Target")
    request_id = request[REQUEST_ID]
    if request.method != "POST" or target is None:
        # What AWS's JSON services answer to requests that are not for them.
        return web.Response(
            status=404,
            text="<UnknownOperationException/>\n",
            content_type="text/xml",
            headers={"x-amzn-RequestId": request_id},
        )
    try:
        operation = _operation(target)
        request[OPERATION] = operation.name
        perform = _function(operation)
        given = model.decode_input(operation, await _read_json(emulator, request))
        output = await perform(emulator, _call(emulator, request, given), given)
        encoded = model.encode_output(operation, output)
    except errors.EcrError as error:
        return _error_response(error, request_id)
    except ConnectionError:
        raise
    except Exception:
        _logger.exception("operation failed", extra={"request_id": request_id, "target": target})
        return _error_response(errors.ServerException("The service failed"), request_id)
    return _response(200, encoded, request_id)


def _call(emulator: Emulator, request: web.Request, given: dict[str, Any]) -> Call:
    caller = caller_of_signature(
        request.headers.get("Authorization", ""), emulator.settings, emulator.principals
    )
    registry = caller.registry
    if "registryId" in given:
        registry = Registry(given["registryId"], registry.region)
    return new_call(emulator, request, registry, caller.arn)


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


async def _read_json(emulator: Emulator, request: web.Request) -> Any:
    try:
        body = await bodies.read(request, emulator.settings.body_timeout, MAX_REQUEST_SIZE)
    except bodies.BodyTooLargeError:
        raise errors.SerializationException("The request is too large") from None
    try:
        return json.loads(body or b"{}", parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise errors.SerializationException("The request is not valid JSON") from None


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _error_response(error: errors.EcrError, request_id: str) -> web.Response:
    body = {"__type": error.code, "message": error.message, **error.details}
    response = _response(error.http_status, body, request_id)
    response.headers["x-amzn-ErrorType"] = error.code
    return response


def _response(status: int, body: dict[str, Any], request_id: str) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        headers={"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": request_id},
    )
