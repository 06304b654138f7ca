"""Blobs: the bytes of layers and configs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiohttp import web

from ecr_emulator.blobs.base import (
    Blob,
    BlobFile,
    BlobStoreUnavailableError,
    BlobStream,
    CorruptBlobError,
    is_digest,
)
from ecr_emulator.core import errors, layers, pulls
from ecr_emulator.logs import REQUEST_ID
from ecr_emulator.oci.context import API_VERSION, Context
from ecr_emulator.oci.errors import OciError

_logger = logging.getLogger(__name__)


async def blob_response(
    request: web.BaseRequest, blob: Blob, digest: str, more: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Return the response with a blob's bytes, or the range of them that is asked for, and more headers.

    Where clients can get them elsewhere, GET sends them there, as ECR sends them to S3.
    """
    headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest, **(more or {})}
    if isinstance(blob, BlobFile):
        return web.FileResponse(blob.path, chunk_size=1 << 20, headers=headers)
    if blob.url is not None and request.method == "GET":
        return web.Response(
            status=307, headers={"Location": await blob.url(), "Docker-Content-Digest": digest}
        )
    return await _streamed(request, blob, {**headers, "Accept-Ranges": "bytes", "ETag": f'"{digest}"'})


async def _streamed(
    request: web.BaseRequest, blob: BlobStream, headers: dict[str, str]
) -> web.StreamResponse:
    """Send a blob, or the range of it that is asked for, as it comes from the store."""
    response = web.StreamResponse(headers=headers)
    start, stop = 0, blob.size
    if "Range" in request.headers and request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
        try:
            start, stop, _ = request.http_range.indices(blob.size)
        except ValueError:
            start = stop
        if start >= stop:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{blob.size}"})
        response.set_status(206)
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    response.content_length = stop - start
    if request.method == "HEAD":
        return response
    chunks = blob.read(start, stop)
    # The store may fail before anything has been said.
    chunk = await anext(chunks, b"")
    await response.prepare(request)
    await response.write(chunk)
    try:
        async for chunk in chunks:
            await response.write(chunk)
    except (BlobStoreUnavailableError, CorruptBlobError) as error:
        # The client was told of more bytes, and has to see that they don't come.
        _logger.warning("a blob breaks off: %s", error, extra={"request_id": request[REQUEST_ID]})
        if request.transport is not None:
            request.transport.abort()
            await asyncio.sleep(0)
        raise ConnectionAbortedError from error
    return response


def checked_digest(digest: str) -> str:
    """Return a digest. Raises OciError for a text that is none."""
    if not is_digest(digest):
        raise OciError(400, "DIGEST_INVALID", f"The digest '{digest}' is not valid")
    return digest


async def get(context: Context) -> web.StreamResponse:
    """Answer GET, with or without a range, and HEAD."""
    digest = checked_digest(context.reference)
    if context.request.method == "HEAD":
        # What a push asks, to leave out what is there.
        await layers.touch(context.emulator, context.call, context.name, [digest])
    blob = await pulls.open_layer(context.emulator, context.call, context.name, digest)
    return await blob_response(context.request, blob, digest, API_VERSION)


async def delete(context: Context) -> web.Response:
    """Remove a layer from the repository, where the setting allows it: ECR does not."""
    context.require_setting(context.emulator.settings.oci_deletes)
    digest = checked_digest(context.reference)
    try:
        await context.emulator.metadata.write(layers.delete, context.call, context.name, digest)
    except errors.InvalidParameterException as error:
        raise OciError(405, "UNSUPPORTED", error.message) from None
    return web.Response(status=202)
