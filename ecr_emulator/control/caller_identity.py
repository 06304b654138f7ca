"""GetCallerIdentity of AWS STS, which clients of ECR ask before they come here.

Terraform's provider wants to know its account, and scripts make the registry's name of it. STS speaks the
Query protocol: a form in, XML out (AWS STS API reference).
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from urllib.parse import parse_qsl

from aiohttp import web

from ecr_emulator import bodies
from ecr_emulator.core import errors
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.identity.requests import caller_of
from ecr_emulator.identity.scope import Caller
from ecr_emulator.logs import OPERATION, REQUEST_ID

_SERVICE = "sts"
_OPERATION = "GetCallerIdentity"
_VERSION = "2011-06-15"
_NAMESPACE = f"https://sts.amazonaws.com/doc/{_VERSION}/"
_FORM = "application/x-www-form-urlencoded"
# Bytes of a request, and its parameters, of which this operation has none.
_MAX_SIZE = 64 << 10
_MAX_FIELDS = 100

# STS has other names for what is wrong with signatures than services that speak JSON.
_CODES: dict[type[errors.EcrError], str] = {
    errors.IncompleteSignatureException: "IncompleteSignature",
    errors.InvalidSignatureException: "SignatureDoesNotMatch",
    errors.MissingAuthenticationTokenException: "MissingAuthenticationToken",
    errors.UnrecognizedClientException: "InvalidClientTokenId",
}


def is_asked_for(request: web.BaseRequest) -> bool:
    """Tell whether a request to ``/`` that names no target speaks the Query protocol, which ECR does not."""
    return request.method == "POST" and request.content_type == _FORM


async def handle(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Tell a caller who it is, to which everybody has a right."""
    try:
        body = await bodies.read(request, emulator.settings.body_timeout, _MAX_SIZE)
        form = dict(parse_qsl(body.decode(), max_num_fields=_MAX_FIELDS))
    except (bodies.BodyTooLargeError, ValueError):
        return _failure(request, 400, "ValidationError", "The request is not valid")
    action, version = form.get("Action"), form.get("Version")
    if action is None:
        return _failure(request, 400, "MissingAction", "The request has no Action")
    if (action, version) != (_OPERATION, _VERSION):
        message = (
            f"Could not find operation {action[:100]} for version {(version or 'NO_VERSION_SPECIFIED')[:100]}"
        )
        return _failure(request, 400, "InvalidAction", message)
    request[OPERATION] = _OPERATION
    try:
        caller = await caller_of(emulator, request, body, _SERVICE)
    except tuple(_CODES) as error:
        return _failure(request, 403, _CODES[type(error)], error.message)
    return _answer(
        request,
        200,
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>{_text(caller.arn)}</Arn><UserId>{_text(user_id(caller))}</UserId>"
        f"<Account>{caller.registry.account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request[REQUEST_ID]}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>\n",
    )


def user_id(caller: Caller) -> str:
    """Return what names a principal beside its ARN (IAM user guide, Policy variables, Principal table).

    The unique ids of users and roles are made of their ARNs: nobody has given them any.
    """
    account = caller.registry.account
    kind, _, name = caller.arn.split(":", 5)[5].partition("/")
    match kind:
        case "root":
            return account
        case "federated-user":
            return f"{account}:{name}"
        case "assumed-role":
            role, _, session = name.partition("/")
            return f"{_unique_id('AROA', f'{account}/{role}')}:{session}"
        case "role":
            return _unique_id("AROA", f"{account}/{name}")
        case _:
            return _unique_id("AIDA", f"{account}/{name}")


def _unique_id(prefix: str, text: str) -> str:
    return prefix + base64.b32encode(hashlib.sha256(text.encode()).digest())[:17].decode()


def _failure(request: web.BaseRequest, status: int, code: str, message: str) -> web.Response:
    return _answer(
        request,
        status,
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{_text(message)}</Message></Error><RequestId>{request[REQUEST_ID]}</RequestId>"
        "</ErrorResponse>\n",
    )


def _text(value: str) -> str:
    """Write a value into XML, which can't have all characters."""
    return escape("".join(each if each.isprintable() else "?" for each in value))


def _answer(request: web.BaseRequest, status: int, text: str) -> web.Response:
    headers = {"x-amzn-RequestId": request[REQUEST_ID]}
    return web.Response(status=status, text=text, content_type="text/xml", headers=headers)
