"""Operations on the policies of repositories and of registries."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output, lasting
from ecr_emulator.core import registry_policy, repositories
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator


def _describe(call: Call, given: Input, text: str) -> Output:
    return {
        "registryId": call.registry.account,
        "repositoryName": given["repositoryName"],
        "policyText": text,
    }


async def set_repository_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set a repository's policy."""
    text = given["policyText"]
    await emulator.metadata.write(
        repositories.set_policy, call, given["repositoryName"], text, force=given.get("force", False)
    )
    return _describe(call, given, text)


@lasting
async def get_repository_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return a repository's policy."""
    text = await emulator.metadata.peek(repositories.get_policy, call, given["repositoryName"])
    return _describe(call, given, text)


async def delete_repository_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Remove a repository's policy."""
    text = await emulator.metadata.write(repositories.delete_policy, call, given["repositoryName"])
    return _describe(call, given, text)


async def put_registry_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set the registry's policy."""
    await emulator.metadata.write(registry_policy.put, call, given["policyText"])
    return {"registryId": call.registry.account, "policyText": given["policyText"]}


@lasting
async def get_registry_policy(emulator: Emulator, call: Call, _given: Input) -> Output:
    """Return the registry's policy."""
    text = await emulator.metadata.peek(registry_policy.get, call)
    return {"registryId": call.registry.account, "policyText": text}


async def delete_registry_policy(emulator: Emulator, call: Call, _given: Input) -> Output:
    """Remove the registry's policy."""
    text = await emulator.metadata.write(registry_policy.delete, call)
    return {"registryId": call.registry.account, "policyText": text}
