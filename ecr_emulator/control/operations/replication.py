"""Operations on a registry's replication rules, and on how far its images are replicated."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.core import replicas, replication
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import ImageId


async def put_replication_configuration(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set the registry's replication rules."""
    configuration = given["replicationConfiguration"]
    await emulator.metadata.write(replication.configure, call, configuration["rules"])
    return {"replicationConfiguration": configuration}


async def describe_registry(emulator: Emulator, call: Call, given: Input) -> Output:
    """Describe the registry's settings, which are its replication rules."""
    rules = await emulator.metadata.peek(replication.rules_of, call.registry)
    return {"registryId": call.registry.account, "replicationConfiguration": {"rules": rules}}


async def describe_image_replication_status(emulator: Emulator, call: Call, given: Input) -> Output:
    """Tell how far the replication of an image has come."""
    image_id = ImageId(given["imageId"].get("imageDigest"), given["imageId"].get("imageTag"))
    image, states = await emulator.metadata.read(replicas.describe, call, given["repositoryName"], image_id)
    return {
        "repositoryName": given["repositoryName"],
        "imageId": {"imageDigest": image.digest, "imageTag": image_id.tag},
        "replicationStatuses": [
            {
                "region": state.region,
                "registryId": state.account,
                "status": state.status,
                "failureCode": state.failure_code,
            }
            for state in states
        ],
    }
