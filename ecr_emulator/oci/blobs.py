"""Blobs: the bytes of layers and configs."""

from __future__ import annotations

from aiohttp import web

from ecr_emulator.blobs.base import Blob, BlobFile, is_digest
from ecr_emulator.core import errors, layers, pulls
from ecr_emulator.oci.context import Context
from ecr_emulator.oci.errors import OciError


def blob_response(blob: Blob, digest: str) -> web.StreamResponse:
    """Return the response with a blob's bytes, or the range of them that is asked for."""
    if not isinstance(blob, BlobFile):
        raise NotImplementedError
    return web.FileResponse(
        blob.path,
        chunk_size=1 << 20,
        headers={"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest},
    )


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
    return blob_response(await pulls.open_layer(context.emulator, context.call, context.name, digest), digest)


async def delete(context: Context) -> web.Response:
    """Remove a layer from the repository, where the setting allows it: ECR does not."""
    context.require_setting(context.emulator.settings.oci_deletes)
    digest = checked_digest(context.reference)
    try:
        await context.emulator.metadata.write(layers.delete, context.call, context.name, digest)
    except errors.InvalidParameterException as error:
        raise OciError(405, "UNSUPPORTED", error.message) from None
    return web.Response(status=202)
