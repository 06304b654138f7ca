"""Tells of one access whether it is allowed and by which statement: ``ecr-emulator explain``."""

from __future__ import annotations

import json
import re

from msgspec import Struct

from ecr_emulator.core.authorization import Access, decide
from ecr_emulator.core.call import Call
from ecr_emulator.core.clock import Clock
from ecr_emulator.core.iam import Decision
from ecr_emulator.core.identities import Identity
from ecr_emulator.core.registry import Registry
from ecr_emulator.identity import credentials
from ecr_emulator.identity.scope import account_of_arn
from ecr_emulator.metadata.selection import read_metadata
from ecr_emulator.settings import Settings

_REPOSITORY = re.compile(r"arn:[^:]+:ecr:(?P<region>[^:]+):(?P<account>\d{12}):repository/(?P<name>.+)")


class Question(Struct, frozen=True):
    """Whether a principal may do something to a repository's ARN, or to ``*`` in its own registry."""

    principal: str
    action: str
    resource: str
    source_ip: str | None = None


def explain(settings: Settings, question: Question) -> tuple[bool, str]:
    """Return whether something is allowed, and a text that says why.

    Policies are those of the metadata store, also while servers have it, and of the credentials file.
    Raises OSError, ValueError (CredentialsError, too) for what can't be read or asked.
    """
    if not credentials.is_caller(question.principal):
        raise ValueError(f"{question.principal!r} is not the ARN of a principal")
    match = _REPOSITORY.fullmatch(question.resource)
    if match is not None:
        registry, name = Registry(match["account"], match["region"]), match["name"]
    elif question.resource == "*":
        registry, name = Registry(account_of_arn(question.principal), settings.region), None
    else:
        raise ValueError(f"{question.resource!r} is neither the ARN of a repository nor '*'")
    access = Access(question.action, registry, name)
    call = Call(
        registry=registry,
        caller_arn=question.principal,
        now=Clock().now(),
        request_id="",
        origin="",
        secure=True,
        endpoint_of=lambda _registry: "",
        identity=_identity(settings, question.principal),
        source_ip=question.source_ip,
    )
    decision = read_metadata(settings, lambda tx: decide(tx, call, access))
    return decision.allowed, _describe(call, access, decision)


def _identity(settings: Settings, principal: str) -> Identity | None:
    known = credentials.load(settings.credentials).identities.get(principal)
    return Identity(principal, ()) if known is None and settings.auth == "strict" else known


def _describe(call: Call, access: Access, decision: Decision) -> str:
    verdict = f"{access.action} on {access.resource} by {call.caller_arn}"
    if not decision.allowed:
        verdict += f": DENIED, {decision.reason}"
    elif decision.statement is not None:
        verdict += ": ALLOWED"
    elif call.identity is None:
        verdict += ": ALLOWED, since the principal is not in the credentials file and no policy denies it"
    else:
        verdict += ": ALLOWED, since the principal is the root of the account"
    if (statement := decision.statement) is None:
        return verdict
    name = f" ({statement.sid})" if statement.sid else ""
    return (
        f"{verdict}\nby statement {statement.index + 1}{name} of the {statement.kind} policy:\n"
        f"{json.dumps(statement.elements, indent=2)}"
    )
