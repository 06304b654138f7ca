"""Errors of the data plane: ECR's, in the OCI error envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web

from ecr_emulator.core import errors
from ecr_emulator.core.upstream import Fault, UpstreamError

# Status and OCI code of each of ECR's errors that the data plane can meet. ECR answers parameters
# that its API refuses as UNSUPPORTED on the data plane too.
_ANSWERS: dict[type[errors.EcrError], tuple[int, str]] = {
    errors.RepositoryNotFoundException: (404, "NAME_UNKNOWN"),
    errors.ImageNotFoundException: (404, "MANIFEST_UNKNOWN"),
    errors.LayersNotFoundException: (404, "BLOB_UNKNOWN"),
    errors.LayerInaccessibleException: (404, "BLOB_UNKNOWN"),
    errors.ReferencedImagesNotFoundException: (404, "MANIFEST_BLOB_UNKNOWN"),
    errors.UploadNotFoundException: (404, "BLOB_UPLOAD_UNKNOWN"),
    errors.InvalidLayerException: (400, "DIGEST_INVALID"),
    # As S3, to which ECR leads those who pull, answers for a key that is not there or may not be used.
    errors.KmsException: (403, "DENIED"),
    errors.ImageDigestDoesNotMatchException: (400, "DIGEST_INVALID"),
    errors.EmptyUploadException: (400, "BLOB_UPLOAD_INVALID"),
    errors.InvalidLayerPartException: (416, "BLOB_UPLOAD_INVALID"),
    errors.ImageTagAlreadyExistsException: (400, "TAG_INVALID"),
    errors.InvalidParameterException: (405, "UNSUPPORTED"),
    # What ECR answers to pushes past a quota; 429 is for those that come too fast.
    errors.LimitExceededException: (403, "DENIED"),
    errors.ThrottlingException: (429, "TOOMANYREQUESTS"),
    errors.AccessDeniedException: (403, "DENIED"),
}

# The same of what upstream registries refuse. A registry that denies access is 403 in ECR (user guide,
# "Troubleshooting pull through cache issues").
_UPSTREAM_ANSWERS: dict[Fault, tuple[int, str]] = {
    Fault.NOT_FOUND: (404, "MANIFEST_UNKNOWN"),
    Fault.ACCESS_DENIED: (403, "DENIED"),
    Fault.TOO_MANY_REQUESTS: (429, "TOOMANYREQUESTS"),
    Fault.UNAVAILABLE: (503, "UNAVAILABLE"),
}


class OciError(Exception):
    """An error that only the data plane has."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def translate(error: errors.EcrError | UpstreamError) -> OciError:
    """Return the data plane's form of one of ECR's errors, or of an upstream's."""
    if isinstance(error, UpstreamError):
        return OciError(*_UPSTREAM_ANSWERS[error.fault], error.message)
    status, code = _ANSWERS.get(type(error), (error.http_status, "UNKNOWN"))
    return OciError(status, code, error.message)


def error_response(error: OciError) -> web.Response:
    """Return the response that tells a client of an error."""
    body = {"errors": [{"code": error.code, "message": error.message}]}
    return web.Response(
        status=error.status,
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **error.headers},
    )
