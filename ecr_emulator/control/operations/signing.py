"""Operations on managed signing."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.core import signatures, signing
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import ImageId
from ecr_emulator.metadata.signing import SigningStatus


async def put_signing_configuration(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set the registry's signing rules."""
    configuration = given["signingConfiguration"]
    await emulator.metadata.write(signing.put_configuration, call, configuration)
    return {"signingConfiguration": configuration}


async def get_signing_configuration(emulator: Emulator, call: Call, _given: Input) -> Output:
    """Return the registry's signing rules."""
    configuration = await emulator.metadata.peek(signing.get_configuration, call)
    return {"registryId": call.registry.account, "signingConfiguration": configuration}


async def delete_signing_configuration(emulator: Emulator, call: Call, _given: Input) -> Output:
    """Remove the registry's signing rules."""
    configuration = await emulator.metadata.write(signing.delete_configuration, call)
    return {"registryId": call.registry.account, "signingConfiguration": configuration}


async def describe_image_signing_status(emulator: Emulator, call: Call, given: Input) -> Output:
    """Tell how far an image's signing has come."""
    name, image_id = given["repositoryName"], given["imageId"]
    digest, statuses = await emulator.metadata.read(
        signatures.statuses, call, name, ImageId(image_id.get("imageDigest"), image_id.get("imageTag"))
    )
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "imageId": {"imageDigest": digest, "imageTag": image_id.get("imageTag")},
        "signingStatuses": [_status(entry) for entry in statuses],
    }


def _status(entry: SigningStatus) -> Output:
    return {
        "signingProfileArn": entry.profile_arn,
        "status": entry.status,
        "failureCode": entry.failure_code,
        "failureReason": entry.failure_reason,
    }
