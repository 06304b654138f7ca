"""What the audit trail is told of a call, by both planes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.errors import EcrError
from ecr_emulator.events import audit
from ecr_emulator.events.audit import Action


def note(
    emulator: Emulator,
    call: Call,
    operation: str,
    resources: Iterable[str],
    request: Mapping[str, Any],
    response: Mapping[str, Any] | None = None,
    error: tuple[str, str] | None = None,
) -> None:
    """Tell of a call that was answered, or refused with an error (code and message).

    ``resources`` are the ARNs of the repositories that it is about.
    """
    if response is not None and audit.is_read_only(operation):
        response = None
    emulator.trail.add(
        Action(
            operation=operation,
            account=call.registry.account,
            region=call.registry.region,
            caller_arn=call.caller_arn,
            time=call.now,
            request_id=call.request_id,
            source_ip=call.source_ip,
            user_agent=call.user_agent,
            resources=tuple(dict.fromkeys(resources)),
            request=audit.presentable(request),
            response=None if response is None else audit.presentable(response),
            error=error,
        )
    )


def error_of(error: EcrError) -> tuple[str, str]:
    """Return an error's code and message as CloudTrail has them."""
    is_denial = isinstance(error, errors.AccessDeniedException)
    return ("AccessDenied" if is_denial else error.code), error.message
