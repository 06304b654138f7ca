"""Operations on pull time update exclusions."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import pull_time_exclusions
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator

_LIST = "pull-time-exclusions"


async def register_pull_time_update_exclusion(emulator: Emulator, call: Call, given: Input) -> Output:
    """Stop recording a principal's pulls."""
    await emulator.metadata.write(pull_time_exclusions.register, call, given["principalArn"])
    return {"principalArn": given["principalArn"], "createdAt": call.now}


async def deregister_pull_time_update_exclusion(emulator: Emulator, call: Call, given: Input) -> Output:
    """Record a principal's pulls again."""
    await emulator.metadata.write(pull_time_exclusions.deregister, call, given["principalArn"])
    return {"principalArn": given["principalArn"]}


async def list_pull_time_update_exclusions(emulator: Emulator, call: Call, given: Input) -> Output:
    """List a page of the principals whose pulls are not recorded, by ARN."""
    limit = page_limit(given)
    after = start_of_page(emulator, call, _LIST, given, "")
    found = await emulator.metadata.read(pull_time_exclusions.list_page, call, after, limit + 1)
    page, last = split_page(found, limit)
    return {"pullTimeUpdateExclusions": page, "nextToken": last and next_token(emulator, call, _LIST, last)}
