"""Blobs: the bytes of layers and configs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ecr_emulator.blobs.base import Blob, BlobFile, BlobStoreUnavailableError, BlobStream, is_digest
from ecr_emulator.core import errors, layers, pulls
from ecr_emulator.logs import REQUEST_ID
from ecr_emulator.oci.context import Context
from ecr_emulator.oci.errors import OciError

_logger = logging.getLogger(__name__)


async def blob_response(request: web.Request, blob: Blob, digest: str) -> web.StreamResponse:
    """Return the response with a blob's bytes, or the range of them that is asked for.

    Where clients can get them elsewhere, GET sends them there, as ECR sends them to S3.
    """
    headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
    if isinstance(blob, BlobFile):
        return web.FileResponse(blob.path, chunk_size=1 << 20, headers=headers)
    if blob.url is not None and request.method == "GET":
        return web.Response(
            status=307, headers={"Location": await blob.url(), "Docker-Content-Digest": digest}
        )
    return await _streamed(request, blob, {**headers, "Accept-Ranges": "bytes", "ETag": f'"{digest}"'})


async def _streamed(request: web.Request, blob: BlobStream, headers: dict[str, str]) -> web.StreamResponse:
    """Return the response that gives a blob, or the range of it that is asked for, as the store gives it."""
    start, stop, status = 0, blob.size, 200
    if "Range" in request.headers and request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
        try:
            start, stop, _ = request.http_range.indices(blob.size)
        except ValueError:
            start = stop
        if start >= stop:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{blob.size}"})
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    chunks = blob.read(start, stop)
    # Before a word is said: the store may fail.
    first = await anext(chunks, b"") if request.method != "HEAD" else b""
    response = _StreamedResponse(first, chunks, status=status, headers=headers)
    response.content_length = stop - start
    return response


class _StreamedResponse(web.StreamResponse):
    """A response whose body comes from a blob store, when its headers are complete."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes], **members: Any) -> None:
        super().__init__(**members)
        self._first = first
        self._rest = rest

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        writer = await super().prepare(request)
        if request.method != "HEAD":
            await self._send(request)
        return writer

    async def _send(self, request: web.BaseRequest) -> None:
        try:
            await self.write(self._first)
            async for chunk in self._rest:
                await self.write(chunk)
        except BlobStoreUnavailableError as error:
            # The client was told of more bytes, and has to see that they don't come.
            _logger.warning("a blob breaks off: %s", error, extra={"request_id": request[REQUEST_ID]})
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionAbortedError from error


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
    return await blob_response(context.request, blob, digest)


async def delete(context: Context) -> web.Response:
    """Remove a layer from the repository, where the setting allows it: ECR does not."""
    context.require_setting(context.emulator.settings.oci_deletes)
    digest = checked_digest(context.reference)
    try:
        await context.emulator.metadata.write(layers.delete, context.call, context.name, digest)
    except errors.InvalidParameterException as error:
        raise OciError(405, "UNSUPPORTED", error.message) from None
    return web.Response(status=202)
