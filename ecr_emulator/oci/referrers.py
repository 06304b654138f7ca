"""The referrers API: the images and artifacts whose subject is a digest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ecr_emulator.core import errors, pulls
from ecr_emulator.core.manifest import OCI_INDEX
from ecr_emulator.metadata.images import Image, ReferrerFilter
from ecr_emulator.oci.blobs import checked_digest
from ecr_emulator.oci.context import Context
from ecr_emulator.oci.tags import next_link

# Most descriptors in one index: as many as tags in one list.
MAX_PAGE = 1000


async def get(context: Context) -> web.Response:
    """Answer with an index of the referrers, of one ``artifactType`` where that is asked for.

    Where they are too many for one index, a Link leads to the rest (OCI distribution specification,
    Listing Referrers).
    """
    subject = checked_digest(context.reference)
    query = dict(context.request.query)
    artifact_type = query.get("artifactType")
    wanted = ReferrerFilter(None if artifact_type is None else (artifact_type,))
    found = await pulls.list_referrers(
        context.emulator, context.call, context.name, subject, wanted, _position(query), MAX_PAGE + 1
    )
    page = found[:MAX_PAGE]
    headers = {"Content-Type": OCI_INDEX}
    if artifact_type is not None:
        headers["OCI-Filters-Applied"] = "artifactType"
    if len(found) > MAX_PAGE:
        path = f"{context.base}/referrers/{subject}"
        headers["Link"] = next_link(path, **{**query, "last": str(page[-1].id)})
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [_descriptor(image) for image in page],
    }
    return web.Response(body=json.dumps(index).encode(), headers=headers)


def _position(query: Mapping[str, str]) -> int:
    """Return where the page begins, as the Link of the page before says."""
    last = query.get("last", "0")
    if not re.fullmatch(r"[0-9]{1,18}", last):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'last' failed to satisfy constraint: 'Member must be a number'"
        )
    return int(last)


def _descriptor(image: Image) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": image.manifest_size,
    }
    if image.artifact_type is not None:
        descriptor["artifactType"] = image.artifact_type
    if annotations := image.read_annotations():
        descriptor["annotations"] = annotations
    return descriptor
