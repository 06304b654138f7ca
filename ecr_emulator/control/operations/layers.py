"""Operations on layers and their uploads."""

from __future__ import annotations

from ecr_emulator.blobs.base import BlobStream, is_digest
from ecr_emulator.control.operations import Input, Output
from ecr_emulator.core import errors, layers, pulls
from ecr_emulator.core.call import Call
from ecr_emulator.core.downloads import seal_download
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.layers import Availability, Part

_DIGEST_PATTERN = "[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+"


async def initiate_layer_upload(emulator: Emulator, call: Call, given: Input) -> Output:
    """Begin the upload of a layer."""
    upload_id = await layers.initiate(emulator, call, given["repositoryName"])
    return {"uploadId": upload_id, "partSize": layers.PART_SIZE}


async def upload_layer_part(emulator: Emulator, call: Call, given: Input) -> Output:
    """Append a part to an upload."""
    blob, first, last = given["layerPartBlob"], given["partFirstByte"], given["partLastByte"]
    if last < first:
        raise errors.InvalidParameterException(
            "Invalid parameter at 'partLastByte' failed to satisfy constraint: "
            "'must be greater than or equal to partFirstByte'"
        )
    part = Part(layers.one_chunk(blob), first, last - first + 1)
    size = await layers.append(emulator, call, given["repositoryName"], given["uploadId"], part)
    return {
        "registryId": call.registry.account,
        "repositoryName": given["repositoryName"],
        "uploadId": given["uploadId"],
        "lastByteReceived": size - 1,
    }


async def complete_layer_upload(emulator: Emulator, call: Call, given: Input) -> Output:
    """Turn an upload into a layer."""
    digest = await layers.complete(
        emulator,
        call,
        given["repositoryName"],
        given["uploadId"],
        given["layerDigests"],
        min_part_size=layers.MIN_PART_SIZE,
    )
    return {
        "registryId": call.registry.account,
        "repositoryName": given["repositoryName"],
        "uploadId": given["uploadId"],
        "layerDigest": digest,
    }


async def batch_check_layer_availability(emulator: Emulator, call: Call, given: Input) -> Output:
    """Tell which layers a repository has."""
    digests = list(dict.fromkeys(given["layerDigests"]))
    failures = {digest: failure for digest in digests if (failure := _failure(digest))}
    checked = await layers.check(
        emulator, call, given["repositoryName"], [digest for digest in digests if digest not in failures]
    )
    return {"layers": [_describe(found) for found in checked], "failures": list(failures.values())}


def _failure(digest: str) -> Output | None:
    if not digest:
        code, reason = "MissingLayerDigest", "Invalid request parameters: layer digest cannot be empty"
    elif not is_digest(digest):
        code = "InvalidLayerDigest"
        reason = f"Invalid request parameters: layer digest should satisfy the regex '{_DIGEST_PATTERN}'"
    else:
        return None
    return {"layerDigest": digest, "failureCode": code, "failureReason": reason}


def _describe(found: Availability) -> Output:
    return {
        "layerDigest": found.digest,
        "layerAvailability": _availability(found),
        "layerSize": found.size,
        "mediaType": found.media_type,
    }


def _availability(found: Availability) -> str:
    if found.size is None:
        return "UNAVAILABLE"
    return "ARCHIVED" if found.archived else "AVAILABLE"


async def get_download_url_for_layer(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return a URL from which a layer can be had without credentials, for an hour."""
    layer = await pulls.find_layer_in_image(emulator, call, given["repositoryName"], given["layerDigest"])
    blob = await emulator.blobs.open(layer.blob_name)
    if isinstance(blob, BlobStream) and blob.url is not None:
        url = await blob.url()
    else:
        url = call.origin + seal_download(emulator.seals, call, given["repositoryName"], layer.digest)
    return {"downloadUrl": url, "layerDigest": layer.digest}
