"""Operations on lifecycle policies."""

from __future__ import annotations

import asyncio

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.core import lifecycle, repositories
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator


def _describe(call: Call, given: Input, policy: tuple[str, float | None]) -> Output:
    return {
        "registryId": call.registry.account,
        "repositoryName": given["repositoryName"],
        "lifecyclePolicyText": policy[0],
        "lastEvaluatedAt": policy[1],
    }


async def put_lifecycle_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set a repository's lifecycle policy."""
    name, text = given["repositoryName"], given["lifecyclePolicyText"]
    # Off the event loop, since the first policy loads the schema's validator.
    await asyncio.to_thread(lifecycle.parse, text)
    await emulator.metadata.write(repositories.set_lifecycle_policy, call, name, text)
    return {
        "registryId": call.registry.account,
        "repositoryName": name,
        "lifecyclePolicyText": text,
    }


async def get_lifecycle_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return a repository's lifecycle policy."""
    policy = await emulator.metadata.read(repositories.get_lifecycle_policy, call, given["repositoryName"])
    return _describe(call, given, policy)


async def delete_lifecycle_policy(emulator: Emulator, call: Call, given: Input) -> Output:
    """Remove a repository's lifecycle policy."""
    policy = await emulator.metadata.write(
        repositories.delete_lifecycle_policy, call, given["repositoryName"]
    )
    return _describe(call, given, policy)
