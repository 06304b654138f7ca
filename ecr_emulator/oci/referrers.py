"""The referrers API: the images and artifacts whose subject is a digest."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from ecr_emulator.core import images
from ecr_emulator.core.manifest import OCI_INDEX
from ecr_emulator.metadata.images import Image
from ecr_emulator.oci.blobs import checked_digest
from ecr_emulator.oci.context import Context


async def get(context: Context) -> web.Response:
    """Answer with an index of the referrers, of one ``artifactType`` where that is asked for."""
    subject = checked_digest(context.reference)
    found = await context.emulator.metadata.read(images.referrers, context.call, context.name, subject)
    headers = {"Content-Type": OCI_INDEX}
    artifact_type = context.request.query.get("artifactType")
    if artifact_type is not None:
        found = [image for image in found if image.artifact_type == artifact_type]
        headers["OCI-Filters-Applied"] = "artifactType"
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [_descriptor(image) for image in found],
    }
    return web.Response(body=json.dumps(index).encode(), headers=headers)


def _descriptor(image: Image) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": image.manifest_size,
    }
    if image.artifact_type is not None:
        descriptor["artifactType"] = image.artifact_type
    if image.annotations:
        descriptor["annotations"] = image.annotations
    return descriptor
