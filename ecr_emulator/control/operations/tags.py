"""Operations on the tags of resources, which are repositories."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output, lasting
from ecr_emulator.core import repositories
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator


async def tag_resource(emulator: Emulator, call: Call, given: Input) -> Output:
    """Add tags to a repository."""
    tags = {tag["Key"]: tag["Value"] for tag in given["tags"]}
    await emulator.metadata.write(repositories.tag, call, given["resourceArn"], tags)
    return {}


async def untag_resource(emulator: Emulator, call: Call, given: Input) -> Output:
    """Remove tags from a repository."""
    await emulator.metadata.write(repositories.untag, call, given["resourceArn"], given["tagKeys"])
    return {}


@lasting
async def list_tags_for_resource(emulator: Emulator, call: Call, given: Input) -> Output:
    """List a repository's tags."""
    tags = await emulator.metadata.peek(repositories.list_tags, call, given["resourceArn"])
    return {"tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
