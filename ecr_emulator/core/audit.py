"""What the audit trail is told: of calls, by both planes, and of what lifecycle policies do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.errors import EcrError
from ecr_emulator.core.lifecycle import LifecycleAction, LifecycleImage
from ecr_emulator.core.registry import Registry
from ecr_emulator.events import audit
from ecr_emulator.events.audit import Action, ExpiredImage, PolicyExecution
from ecr_emulator.metadata.repositories import Repository


def note(
    emulator: Emulator,
    call: Call,
    operation: str,
    resources: Iterable[str],
    request: Mapping[str, Any],
    response: Callable[[], Mapping[str, Any]] | None = None,
    error: tuple[str, str] | None = None,
) -> Action:
    """Tell of a call that was answered, or refused with an error (code and message).

    ``resources`` are the ARNs of the repositories that it is about. ``response`` gives what was answered, and
    is asked for it where the record has that. Returns what the trail was told.
    """
    answered = None if response is None or audit.is_read_only(operation) else audit.presentable(response())
    action = Action(
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
        response=answered,
        error=error,
    )
    emulator.trail.add(action)
    return action


def error_of(error: EcrError) -> tuple[str, str]:
    """Return an error's code and message as CloudTrail has them."""
    is_denial = isinstance(error, errors.AccessDeniedException)
    return ("AccessDenied" if is_denial else error.code), error.message


def note_lifecycle(
    emulator: Emulator,
    repository: Repository,
    text: str,
    actions: Sequence[LifecycleAction],
    images: Mapping[str, LifecycleImage],
    now: float,
) -> None:
    """Tell of what the lifecycle policy with a text did to a repository's images, a few at a time."""
    registry = Registry(repository.account, repository.region)
    expired = [
        ExpiredImage(
            action.digest,
            tuple(images[action.digest].tags),
            images[action.digest].pushed_at.timestamp(),
            action.rule_priority,
        )
        for action in actions
    ]
    for start in range(0, len(expired), audit.IMAGES_PER_RECORD):
        emulator.trail.add(
            PolicyExecution(
                account=registry.account,
                region=registry.region,
                time=now,
                repository=repository.name,
                resource=registry.repository_arn(repository.name),
                rules=json.loads(text)["rules"],
                images=tuple(expired[start : start + audit.IMAGES_PER_RECORD]),
            )
        )
