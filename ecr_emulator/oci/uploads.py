"""Blob uploads: monolithic, chunked, streamed, resumed, cancelled."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterable, AsyncIterator

from aiohttp import web

from ecr_emulator import bodies
from ecr_emulator.core import errors, layers
from ecr_emulator.core.layers import Part
from ecr_emulator.metadata.uploads import Upload
from ecr_emulator.oci.blobs import checked_digest
from ecr_emulator.oci.context import Context
from ecr_emulator.oci.errors import OciError, translate

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?")


def _body(context: Context) -> AsyncIterable[bytes]:
    return bodies.chunks(context.request, context.emulator.settings.body_timeout)


def _location(context: Context, upload_id: str) -> str:
    return f"{context.base}/blobs/uploads/{upload_id}"


def _progress(context: Context, upload_id: str, size: int) -> dict[str, str]:
    return {
        "Location": _location(context, upload_id),
        "Range": f"0-{max(size - 1, 0)}",
        "Docker-Upload-UUID": upload_id,
    }


async def post(context: Context) -> web.Response:
    """Begin an upload; with ``?digest=`` the body is the whole blob.

    With ``?mount=`` and ``from=`` another repository's blob becomes this one's; an upload begins only
    where that can't be.
    """
    mounted, source = context.request.query.get("mount"), context.request.query.get("from")
    if (
        mounted is not None
        and source is not None
        and await layers.mount(context.emulator, context.call, context.name, mounted, source)
    ):
        return _created(context, mounted)
    digest = context.request.query.get("digest")
    if digest is not None:
        checked_digest(digest)
    upload_id = await layers.initiate(context.emulator, context.call, context.name)
    if digest is None:
        return web.Response(status=202, headers=_progress(context, upload_id, 0))
    try:
        return await _complete(context, upload_id, digest, Part(_body(context)))
    except BaseException:
        # The client never learned of this upload: nobody could go on with it.
        await layers.cancel(context.emulator, context.call, context.name, upload_id)
        raise


async def patch(context: Context) -> web.Response:
    """Append the body to an upload."""
    async with _progress_told(context):
        size = await layers.append(
            context.emulator, context.call, context.name, context.reference, _part(context)
        )
    return web.Response(status=202, headers=_progress(context, context.reference, size))


async def put(context: Context) -> web.Response:
    """Append the body, if there is one, and turn the upload into a blob."""
    digest = context.request.query.get("digest")
    if digest is None:
        raise OciError(400, "DIGEST_INVALID", "The digest parameter is missing")
    checked_digest(digest)
    upload = await _find(context)
    # A body without bytes counts as a part only where it is all there is: the empty blob.
    has_part = context.request.body_exists or upload.part_count == 0
    async with _progress_told(context):
        return await _complete(context, upload.id, digest, _part(context) if has_part else None)


async def get(context: Context) -> web.Response:
    """Tell how far an upload has come."""
    upload = await _find(context)
    return web.Response(status=204, headers=_progress(context, upload.id, upload.size))


async def delete(context: Context) -> web.Response:
    """Cancel an upload."""
    await layers.cancel(context.emulator, context.call, context.name, context.reference)
    return web.Response(status=204)


async def _find(context: Context) -> Upload:
    return await context.emulator.metadata.peek(
        layers.find_upload, context.call, context.name, context.reference
    )


def _part(context: Context) -> Part:
    """Return the body as the part that its headers say it is. Raises OciError."""
    content_range = context.request.headers.get("Content-Range")
    if not content_range:
        return Part(_body(context))
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match is None or int(match[2]) + 1 < int(match[1]):
        raise OciError(400, "BLOB_UPLOAD_INVALID", "The Content-Range header is not valid")
    first_byte = int(match[1])
    return Part(_body(context), first_byte, int(match[2]) + 1 - first_byte)


@contextlib.asynccontextmanager
async def _progress_told(context: Context) -> AsyncIterator[None]:
    """Tell a client whose part is refused how far the upload has come."""
    try:
        yield
    except errors.InvalidLayerPartException as error:
        answer = translate(error)
        upload = await _find(context)
        answer.headers = _progress(context, upload.id, upload.size)
        raise answer from None


async def _complete(context: Context, upload_id: str, digest: str, last_part: Part | None) -> web.Response:
    # Pushing a layer that is there is no error on the data plane.
    with contextlib.suppress(errors.LayerAlreadyExistsException):
        await layers.complete(
            context.emulator, context.call, context.name, upload_id, [digest], last_part=last_part
        )
    return _created(context, digest)


def _created(context: Context, digest: str) -> web.Response:
    return web.Response(
        status=201,
        headers={"Location": f"{context.base}/blobs/{digest}", "Docker-Content-Digest": digest},
    )
