"""Manifests, by tag and by digest."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from ecr_emulator import bodies
from ecr_emulator.blobs.base import is_digest
from ecr_emulator.core import errors, images, manifest, pulls
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.names import is_tag
from ecr_emulator.oci.context import Context
from ecr_emulator.oci.errors import OciError
from ecr_emulator.oci.repeats import RIGHT_UNTIL


def _image_id(reference: str) -> ImageId:
    if ":" not in reference:
        return ImageId(tag=reference)
    if not is_digest(reference):
        raise OciError(400, "DIGEST_INVALID", f"The digest '{reference}' is not valid")
    return ImageId(digest=reference)


async def get(context: Context) -> web.Response:
    """Answer GET and HEAD with the manifest as it was pushed."""
    try:
        pulled = await pulls.find_image(
            context.emulator, context.call, context.name, _image_id(context.reference)
        )
    except errors.ImageNotFoundException:
        raise OciError(404, "MANIFEST_UNKNOWN", "Requested image not found") from None
    found, right_until = pulled.image, context.call.expires_at
    if context.request.method == "GET":
        await images.note_pulls(context.emulator, context.call, [found.image])
        right_until = min(right_until, images.pull_noted_until(found.image))
    if pulled.is_local and context.guard.is_lasting:
        context.request[RIGHT_UNTIL] = right_until
    return web.Response(
        body=found.manifest,
        headers={"Content-Type": found.image.media_type, "Docker-Content-Digest": found.image.digest},
    )


async def put(context: Context) -> web.Response:
    """Store a manifest under a tag, or under its digest and the tags of ``?tag=``, if any."""
    image_id = _image_id(context.reference)
    tags = [image_id.tag] if image_id.tag else context.request.query.getall("tag", [])
    for tag in tags:
        if not is_tag(tag):
            raise OciError(400, "TAG_INVALID", f"The tag '{tag}' is not valid")
    content = await _read(context)
    media_type = context.request.headers.get("Content-Type", "").partition(";")[0].strip() or None
    algorithm = image_id.digest.partition(":")[0] if image_id.digest else "sha256"
    parsed = manifest.parse(content, media_type, algorithm)
    try:
        await context.emulator.metadata.write_briefly(
            images.push,
            context.call,
            context.name,
            parsed,
            tags,
            expected_digest=image_id.digest,
            check_references=context.emulator.settings.layer_check == "strict",
        )
    except errors.LayersNotFoundException as error:
        raise OciError(404, "MANIFEST_BLOB_UNKNOWN", error.message) from None
    headers = CIMultiDict(
        {
            "Location": f"{context.base}/manifests/{parsed.digest}",
            "Docker-Content-Digest": parsed.digest,
        }
    )
    if parsed.subject is not None:
        headers["OCI-Subject"] = parsed.subject.digest
    if image_id.digest:
        # Tells that the tags of the query were taken.
        for tag in tags:
            headers.add("OCI-Tag", tag)
    return web.Response(status=201, headers=headers)


async def _read(context: Context) -> bytes:
    """Read a manifest, and not much more than the largest."""
    try:
        return await bodies.read(context.request, context.emulator.settings.body_timeout, manifest.MAX_SIZE)
    except bodies.BodyTooLargeError:
        raise OciError(
            413, "MANIFEST_INVALID", f"A manifest can have at most {manifest.MAX_SIZE} bytes"
        ) from None


async def delete(context: Context) -> web.Response:
    """Delete an image, or a tag, where the setting allows it: ECR does not."""
    context.require_setting(context.emulator.settings.oci_deletes)
    image_id = _image_id(context.reference)
    _, failures = await context.emulator.metadata.write(
        images.batch_delete, context.call, context.name, [image_id]
    )
    for failure in failures:
        if failure.code == "ImageReferencedByManifestList":
            raise OciError(405, "UNSUPPORTED", failure.reason)
        raise OciError(404, "MANIFEST_UNKNOWN", failure.reason)
    return web.Response(status=202)
