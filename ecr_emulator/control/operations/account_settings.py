"""Operations on account settings."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.core import account_settings
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator


async def get_account_setting(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return a setting's value."""
    value = await emulator.metadata.peek(account_settings.get, call, given["name"])
    return {"name": given["name"], "value": value}


async def put_account_setting(emulator: Emulator, call: Call, given: Input) -> Output:
    """Set a setting."""
    await emulator.metadata.write(account_settings.put, call, given["name"], given["value"])
    return {"name": given["name"], "value": given["value"]}
