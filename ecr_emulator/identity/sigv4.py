"""Signature Version 4: whether a call of the API was signed with the secret of its access key.

Signatures are computed by botocore, as its clients do. It is imported by ``load``, which only a server
that verifies signatures calls. The rules are those of the IAM user guide, "AWS Signature Version 4 for
API requests"; texts of errors are AWS's, as clients report them.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from msgspec import Struct
from multidict import CIMultiDictProxy

from ecr_emulator.core import errors
from ecr_emulator.core.identities import AccessKey

# How far the time of a signature may be from the server's, either way.
MAX_SKEW = timedelta(minutes=15)

_ALGORITHM = "AWS4-HMAC-SHA256"
_TERMINATOR = "aws4_request"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")
_REGION = re.compile(r"[0-9a-z-]{2,25}")
_API_HOST = re.compile(r"(?:api\.)?ecr(?:-fips)?\.(?P<region>[0-9a-z-]{2,25})\.(?:amazonaws\.com|api\.aws).*")


class SignerMissingError(RuntimeError):
    """botocore is not installed; the message tells a person what to do."""


class Request(Struct, frozen=True):
    """A request to a service as it came in; ``path`` with its query."""

    service: str
    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes


class _Authorization(Struct, frozen=True):
    """What an Authorization header says."""

    key: str
    date: str
    region: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str


class Signature(Struct, frozen=True):
    """What a signature that was verified says: the id of its access key, and the region it is for."""

    key: str
    region: str


def verify(request: Request, access_keys: Mapping[str, AccessKey], now: float) -> Signature:
    """Check that a request was signed with the secret of the access key that it names.

    ``now`` is seconds since 1970. Raises MissingAuthenticationToken-, IncompleteSignature-,
    UnrecognizedClient- and InvalidSignatureException.
    """
    authorization = _read(request)
    access_key = access_keys.get(authorization.key)
    token = request.headers.get("X-Amz-Security-Token", "")
    if access_key is None or not _equal(token, access_key.session_token or ""):
        raise errors.UnrecognizedClientException("The security token included in the request is invalid.")
    _check_scope(request, authorization)
    _check_time(authorization.timestamp, now)
    _check_headers(request, authorization)
    content_hash = request.headers.get("X-Amz-Content-SHA256")
    if content_hash is not None and content_hash != hashlib.sha256(request.body).hexdigest():
        raise _mismatch()
    try:
        "".join(request.headers.values()).encode()
    except UnicodeEncodeError:
        # Bytes that are no text, which no client signs.
        raise _mismatch() from None
    expected = _sign(request, authorization, access_key.secret or "")
    if not access_key.secret or not _equal(expected, authorization.signature):
        raise _mismatch()
    return Signature(authorization.key, authorization.region)


def _read(request: Request) -> _Authorization:
    """Read the Authorization header. Raises MissingAuthenticationToken- and IncompleteSignatureException."""
    header = request.headers.get("Authorization", "").strip()
    if not header:
        raise errors.MissingAuthenticationTokenException("Missing Authentication Token")
    # The header may be somebody's password: AWS repeats its hash only.
    hashed = base64.b64encode(hashlib.sha256(header.encode(errors="replace")).digest()).decode()
    scheme, _, rest = header.partition(" ")
    pairs = [part.strip().partition("=") for part in rest.split(",")]
    parameters = {name: value for name, equals, value in pairs if equals}
    if len(parameters) != len(pairs):
        raise errors.IncompleteSignatureException(
            "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and "
            f"encoded with Base64): '{hashed}'."
        )
    timestamp = _timestamp(request)
    missing = [f"requires '{name}' parameter." for name in _PARAMETERS if not parameters.get(name)]
    if scheme != _ALGORITHM:
        missing.append(f"requires the algorithm '{_ALGORITHM}'.")
    if timestamp is None:
        missing.append("requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if missing or timestamp is None:
        raise errors.IncompleteSignatureException(
            " ".join(f"Authorization header {what}" for what in missing)
            + f" (Hashed with SHA-256 and encoded with Base64) Authorization={hashed}"
        )
    scope = parameters["Credential"].split("/")
    if len(scope) != 5:
        raise errors.IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{parameters['Credential']}'"
        )
    key, date, region, service, terminator = scope
    if service != request.service:
        raise errors.InvalidSignatureException(
            f"Credential should be scoped to correct service: '{request.service}'. "
        )
    if terminator != _TERMINATOR:
        raise errors.InvalidSignatureException(
            f"Credential should be scoped with a valid terminator: '{_TERMINATOR}', not '{terminator}'. "
        )
    signed = tuple(name.lower() for name in parameters["SignedHeaders"].split(";"))
    return _Authorization(key, date, region, signed, parameters["Signature"], timestamp)


def _timestamp(request: Request) -> str | None:
    """Return the time of a signature as it is signed, or None where the request has no such time."""
    text = request.headers.get("X-Amz-Date")
    try:
        if text is not None:
            return datetime.strptime(text, _TIMESTAMP).strftime(_TIMESTAMP)
        moment = parsedate_to_datetime(request.headers.get("Date", ""))
        return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime(_TIMESTAMP)
    except (ValueError, OverflowError):
        return None


def _check_scope(request: Request, authorization: _Authorization) -> None:
    """Check region and day of the credential scope. Raises InvalidSignatureException."""
    host = _API_HOST.fullmatch(request.headers.get("Host", "").lower())
    region = authorization.region
    if not _REGION.fullmatch(region) or (host is not None and host["region"] != region):
        raise errors.InvalidSignatureException(
            f"Credential should be scoped to a valid region, not '{region}'. "
        )
    day = authorization.timestamp[:8]
    if authorization.date != day:
        raise errors.InvalidSignatureException(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{authorization.date}' != '{day}', from '{authorization.timestamp}'."
        )


def _check_time(timestamp: str, now: float) -> None:
    """Check that a signature is neither old nor from the future. Raises InvalidSignatureException."""
    signed_at = datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    clock = datetime.fromtimestamp(int(now), UTC)
    minutes = int(MAX_SKEW.total_seconds() // 60)
    # Compared as differences, which no time of the clock can overflow.
    if clock - signed_at > MAX_SKEW:
        raise errors.InvalidSignatureException(
            f"Signature expired: {timestamp} is now earlier than {clock - MAX_SKEW:{_TIMESTAMP}} "
            f"({clock:{_TIMESTAMP}} - {minutes} min.)"
        )
    if signed_at - clock > MAX_SKEW:
        raise errors.InvalidSignatureException(
            f"Signature not yet current: {timestamp} is still later than {clock + MAX_SKEW:{_TIMESTAMP}} "
            f"({clock:{_TIMESTAMP}} + {minutes} min.)"
        )


def _check_headers(request: Request, authorization: _Authorization) -> None:
    """Check that all is signed that says what is to be done. Raises InvalidSignatureException."""
    present = {name.lower() for name in request.headers}
    wanted = {"host"} | {name for name in present if name.startswith("x-amz-")}
    for name in sorted(wanted.difference(authorization.signed_headers)):
        shown = "'Host' or ':authority'" if name == "host" else f"'{name}'"
        raise errors.InvalidSignatureException(f"{shown} must be a 'SignedHeader' in the AWS Authorization.")


def _mismatch() -> errors.InvalidSignatureException:
    return errors.InvalidSignatureException(
        "The request signature we calculated does not match the signature you provided. Check your AWS "
        "Secret Access Key and signing method. Consult the service documentation for details."
    )


def _equal(expected: str, given: str) -> bool:
    """Compare in a time that does not tell how far two texts are alike."""
    return hmac.compare_digest(expected.encode(), given.encode(errors="replace"))


def load() -> None:
    """Import the signer, which takes a while. Raises SignerMissingError."""
    try:
        _signer()
    except ImportError as error:
        raise SignerMissingError(
            "auth = strict needs botocore; install it with: pip install 'ecr-emulator[strict]'"
        ) from error


@functools.cache
def _signer() -> tuple[Any, Any, Any, Any]:
    """Return botocore's signer, but for which headers are signed: that is what the request says."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.compat import HTTPHeaders
    from botocore.credentials import Credentials

    class Signer(SigV4Auth):  # type: ignore[misc]
        def headers_to_sign(self, request: Any) -> Any:
            return request.headers

    return Signer, AWSRequest, HTTPHeaders, Credentials


def _sign(request: Request, authorization: _Authorization, secret: str) -> str:
    """Return the signature that a request should have."""
    signer_of, new_request, new_headers, credentials_of = _signer()
    headers = new_headers()
    for name in authorization.signed_headers:
        for value in request.headers.getall(name, ()):
            headers.add_header(name, value)
    signed = new_request(
        method=request.method, url=f"http://host{request.path}", headers=headers, data=request.body
    )
    signed.context["timestamp"] = authorization.timestamp
    signer = signer_of(credentials_of(authorization.key, secret), request.service, authorization.region)
    canonical = signer.canonical_request(signed)
    return str(signer.signature(signer.string_to_sign(signed, canonical), signed))
