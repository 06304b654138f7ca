"""Operations on authorization tokens."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.identity import tokens


async def get_authorization_token(emulator: Emulator, call: Call, given: Input) -> Output:
    """Return a token for ``docker login``, or one for each of ``registryIds``."""
    scheme = "https" if call.secure else "http"
    entries = []
    for account in given.get("registryIds", [call.registry.account]):
        registry = Registry(account, call.registry.region)
        token, expires_at = tokens.issue(emulator.seals, registry, call.caller_arn, call.now)
        entries.append(
            {
                "authorizationToken": token,
                "expiresAt": expires_at,
                "proxyEndpoint": f"{scheme}://{call.endpoint_of(registry)}",
            }
        )
    return {"authorizationData": entries}
