"""What the audit trail is told of a request to ``/v2/``: each of its steps, as the API calls it.

CloudTrail shows pushes and pulls by Docker so (ECR user guide, "Logging Amazon ECR actions with AWS
CloudTrail"). Bytes are not among the parameters, not those of manifests either.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from ecr_emulator.core import audit
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.events.audit import Action
from ecr_emulator.oci.access import actions_of


def operations_of(noun: str, request: web.BaseRequest) -> list[str]:
    """Return the operations of the API that a request stands for, in their order."""
    if noun == "referrers":
        return ["ListImageReferrers"]
    return [action.removeprefix("ecr:") for action in actions_of(noun, request)]


def note(
    emulator: Emulator,
    call: Call,
    request: web.BaseRequest,
    path: tuple[str, str, str],
    outcome: web.StreamResponse | tuple[str, str],
) -> list[Action]:
    """Tell of a request and its response; of one that was refused, with an error's code and message.

    Returns what the trail was told. A refusal is one of the last step, for which the others are made.
    """
    noun, name, reference = path
    operations = operations_of(noun, request)
    resources = [call.registry.repository_arn(name)] if name else []
    of_repository = {"registryId": call.registry.account} | ({"repositoryName": name} if name else {})
    error = outcome if isinstance(outcome, tuple) else None
    actions = []
    for operation in operations if error is None else operations[-1:]:
        given = of_repository | _parameters(operation, request, noun, reference)
        response = (
            None
            if isinstance(outcome, tuple)
            else partial(_elements, operation, outcome, of_repository, given)
        )
        actions.append(audit.note(emulator, call, operation, resources, given, response, error))
    return actions


def _parameters(operation: str, request: web.BaseRequest, noun: str, reference: str) -> dict[str, Any]:
    """Return the input that an operation of the API would have been given."""
    upload = {"uploadId": reference} if noun == "upload" else {}
    parameters: dict[str, Any] = {}
    match operation:
        case "BatchCheckLayerAvailability":
            parameters = {"layerDigests": [reference]}
        case "GetDownloadUrlForLayer":
            parameters = {"layerDigest": reference}
        case "BatchGetImage":
            accepted = ",".join(request.headers.getall("Accept", ())).split(",")
            media_types = [media_type for entry in accepted if (media_type := entry.strip())]
            parameters = {"imageIds": [_image_id(reference)]}
            if media_types:
                parameters["acceptedMediaTypes"] = media_types
        case "BatchDeleteImage" if noun == "manifest":
            parameters = {"imageIds": [_image_id(reference)]}
        case "BatchDeleteImage":
            parameters = {"layerDigests": [reference]}
        case "ListImageReferrers":
            parameters = {"subjectId": {"imageDigest": reference}}
        case "UploadLayerPart":
            parameters = upload
        case "CompleteLayerUpload":
            parameters = upload | {"layerDigests": request.query.getall("digest", [])}
        case "PutImage":
            content_type = request.headers.get("Content-Type")
            parameters = _image_id(reference) | {"imageManifestMediaType": content_type}
            if tags := request.query.getall("tag", []):
                parameters["imageTags"] = tags
    return parameters


def _image_id(reference: str) -> dict[str, Any]:
    return {"imageDigest" if ":" in reference else "imageTag": reference}


def _elements(
    operation: str, response: web.StreamResponse, of_repository: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """Return what the API would have answered, as far as the response's headers have it."""
    headers = response.headers
    digest = headers.get("Docker-Content-Digest")
    match operation:
        case "InitiateLayerUpload" if "Docker-Upload-UUID" in headers:
            return {"uploadId": headers["Docker-Upload-UUID"]}
        case "UploadLayerPart" if "Range" in headers:
            return of_repository | {"lastByteReceived": int(headers["Range"].rpartition("-")[2])}
        case "CompleteLayerUpload":
            return of_repository | {"layerDigest": digest}
        case "PutImage":
            tag = {"imageTag": given["imageTag"]} if "imageTag" in given else {}
            return {"image": of_repository | {"imageId": {"imageDigest": digest} | tag}}
        case _:
            return of_repository
