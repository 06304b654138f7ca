"""Downloads by URLs of GetDownloadUrlForLayer: whoever has one needs no credentials."""

from __future__ import annotations

import logging

from aiohttp import web

from ecr_emulator.blobs.base import BlobStoreUnavailableError
from ecr_emulator.core import downloads, errors, layers
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.seals import InvalidSealError
from ecr_emulator.identity.requests import new_call
from ecr_emulator.logs import REQUEST_ID
from ecr_emulator.metadata.store import MetadataUnavailableError
from ecr_emulator.oci.blobs import blob_response

_logger = logging.getLogger(__name__)


async def handle(emulator: Emulator, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request to ``/_layers/…`` as S3 answers one to a pre-signed URL."""
    if request.method not in ("GET", "HEAD"):
        return _refusal(405, "MethodNotAllowed", "The specified method is not allowed.")
    sealed = request.path.removeprefix(downloads.PATH_PREFIX)
    try:
        registry, name, digest = downloads.open_download(emulator.seals, sealed, emulator.clock.now())
        call = new_call(emulator, request, registry)
        return await blob_response(request, await layers.open_blob(emulator, call, name, digest), digest)
    except InvalidSealError:
        status, code, message = 403, "SignatureDoesNotMatch", "The signature of the URL is not valid."
    except downloads.ExpiredDownloadError:
        status, code, message = 403, "AccessDenied", "Request has expired"
    except errors.KmsException as error:
        status, code, message = 403, "AccessDenied", error.message
    except errors.EcrError as error:
        status, code, message = 404, "NoSuchKey", error.message
    except (BlobStoreUnavailableError, MetadataUnavailableError) as error:
        _logger.warning("a store fails: %s", error, extra={"request_id": request[REQUEST_ID]})
        status, code, message = 503, "SlowDown", "Please reduce your request rate."
    return _refusal(status, code, message)


def _refusal(status: int, code: str, message: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
