"""Who may do what: asks the policies of the caller, of the repository and of the registry.

The two planes say what a request does (``Access``) and run it on a ``Guard``, whose first transaction
decides. Rules ask by themselves only about what a request brings with it: a repository that a push
creates, an image that a pull imports.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Concatenate, ParamSpec, Self, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from ecr_emulator.core import errors, iam, registry_policy
from ecr_emulator.core.call import Call
from ecr_emulator.core.clock import format_time
from ecr_emulator.core.iam import Decision, PolicyKind, Statement
from ecr_emulator.core.identities import Identity
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.store import MetadataStore, Transaction

P = ParamSpec("P")
T = TypeVar("T")

EVERY_REPOSITORY = "*"

# Done to no resource, so that only the caller's own policies are about it.
_WITHOUT_RESOURCE = ("ecr:GetAuthorizationToken",)
_ALLOWED = Decision(True, None)
_SESSION = re.compile(r"(?P<head>arn:[^:]+):sts::(?P<account>\d{12}):assumed-role/(?P<role>[^/]+)/.+")
_USER = re.compile(r"arn:[^:]+:iam::\d{12}:user/(?:.*/)?(?P<name>[^/]+)")


class Access(Struct, frozen=True):
    """One action, on a repository, EVERY_REPOSITORY of a registry, or, with None, on the registry."""

    action: str
    registry: Registry
    repository: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """The resource tags that the request gives."""
    tag_keys: tuple[str, ...] = ()
    """The keys of the tags that the request gives or names."""

    @property
    def resource(self) -> str:
        """What is acted on, as policies name it."""
        return "*" if self.repository is None else self.registry.repository_arn(self.repository)


def decide(tx: Transaction, call: Call, access: Access, *, repository_policy: str | None = None) -> Decision:
    """Decide on an access by all policies; ``repository_policy`` stands in for the one that is there.

    A caller whose identity nobody knows is taken for one who may do everything, also in other accounts,
    but for what a policy explicitly denies.
    """
    registry, identity = access.registry, call.identity
    repository, registry_text = None, None
    if access.action not in _WITHOUT_RESOURCE:
        registry_text = registry_policy.find_for(tx, call, registry, access.action)
        if access.repository is not None:
            repository = tx.repositories.policy(registry.account, registry.region, access.repository)
            if repository_policy is None and repository is not None:
                repository_policy = repository.text
    if identity is None and registry_text is None and repository_policy is None:
        return _ALLOWED
    policies = _policies(identity, repository_policy, registry_text)
    keys: dict[str, str | tuple[str, ...]] = {}
    if policies.ask_keys:
        keys = _keys(call, access, tx.repositories.tags(repository.id) if repository else {})
    if policies.ask_time:
        keys |= {"aws:CurrentTime": format_time(call.now), "aws:EpochTime": str(int(call.now))}
    return _decide(policies, call.caller_arn, access.action, access.resource, registry.account, *keys.items())


class _Policies(Struct, frozen=True, eq=False):
    """The statements of all policies that bear on a request; equal to themselves alone."""

    statements: tuple[Statement, ...]
    allow_unknown: bool
    """Whether what no statement is about is allowed."""

    ask_keys: bool
    ask_time: bool


@functools.lru_cache(maxsize=256)
def _policies(identity: Identity | None, repository_text: str | None, registry_text: str | None) -> _Policies:
    statements = (
        *(identity.statements if identity else ()),
        *_statements("repository", repository_text),
        *_statements("registry", registry_text),
    )
    return _Policies(
        statements,
        allow_unknown=identity is None,
        ask_keys=any(statement.asks_keys for statement in statements),
        ask_time=any(statement.asks_time for statement in statements),
    )


# A push asks for the same some hundred times.
@functools.lru_cache(maxsize=1024)
def _decide(
    policies: _Policies,
    principal: str,
    action: str,
    resource: str,
    account: str,
    *keys: tuple[str, str | tuple[str, ...]],
) -> Decision:
    decision = iam.evaluate(
        iam.Request(principal, action, resource, account, dict(keys)), policies.statements
    )
    if policies.allow_unknown and decision.statement is None:
        decision = _ALLOWED
    return replace(decision, asked_time=True) if policies.ask_time else decision


def authorize(tx: Transaction, call: Call, access: Access) -> Decision:
    """Let an access pass, and return why. Raises AccessDeniedException with AWS's words for the reason."""
    decision = decide(tx, call, access)
    if not decision.allowed:
        raise errors.AccessDeniedException(
            f"User: {call.caller_arn} is not authorized to perform: {access.action} on resource: "
            f"{access.resource} {decision.reason}"
        )
    return decision


def may(tx: Transaction, call: Call, action: str, repository: str) -> bool:
    """Tell whether the caller may do something to a repository of the call's registry."""
    return decide(tx, call, Access(action, call.registry, repository)).allowed


def _statements(kind: PolicyKind, text: str | None) -> tuple[Statement, ...]:
    return () if text is None else tuple(iam.parse(kind, text))


def _keys(call: Call, access: Access, resource_tags: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
    """Return the condition keys of a request, but for those of its time."""
    found = {
        **_keys_of_caller(call.caller_arn),
        "aws:PrincipalOrgID": call.identity and call.identity.organization,
        "aws:SourceIp": call.source_ip,
        "aws:UserAgent": call.user_agent,
        "aws:SecureTransport": str(call.secure).lower(),
    }
    keys: dict[str, str | tuple[str, ...]] = {name: value for name, value in found.items() if value}
    if access.tag_keys:
        keys["aws:TagKeys"] = access.tag_keys
    keys |= {f"aws:RequestTag/{key}": value for key, value in access.tags.items()}
    for key, value in resource_tags.items():
        keys[f"aws:ResourceTag/{key}"] = keys[f"ecr:ResourceTag/{key}"] = value
    return keys


@functools.lru_cache(maxsize=256)
def _keys_of_caller(arn: str) -> Mapping[str, str | None]:
    session, user = _SESSION.fullmatch(arn), _USER.fullmatch(arn)
    principal_arn = arn
    if session is not None:
        principal_arn = f"{session['head']}:iam::{session['account']}:role/{session['role']}"
    return {
        "aws:PrincipalArn": principal_arn,
        "aws:PrincipalAccount": iam.account_of(arn),
        "aws:username": user and user["name"],
    }


class Guard:
    """The metadata of one request: its first transaction begins with the decision on the request.

    So what is decided on is what is then read or written, and a decision costs no transaction. At the
    latest it is made at the end of the block that the guard is for, and comes before other errors.
    """

    def __init__(self, metadata: MetadataStore, call: Call, accesses: Iterable[Access]) -> None:
        self._metadata = metadata
        self._call = call
        self._accesses = tuple(accesses)
        self._is_settled = False
        self.is_lasting = False
        """Whether the same request would be let pass again, while nothing is written."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if not self._is_settled and (error is None or isinstance(error, Exception)):
            await self.read(lambda _tx: None)

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads. Raises AccessDeniedException instead, if it is the first."""
        return await self._metadata.read(self._checked(function), *args, **kwargs)

    async def peek(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that reads few rows. Raises AccessDeniedException instead, if it is the first."""
        return await self._metadata.peek(self._checked(function), *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write. Raises AccessDeniedException instead, if it is the first."""
        return await self._metadata.write(self._checked(function), *args, **kwargs)

    async def write_briefly(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write few rows. Raises what ``write`` does."""
        return await self._metadata.write_briefly(self._checked(function), *args, **kwargs)

    async def write_lazily(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write what a crash of the machine may lose. Raises what ``write`` does."""
        return await self._metadata.write_lazily(self._checked(function), *args, **kwargs)

    def version(self) -> int | None:
        """Return a number that is another one after each commit."""
        return self._metadata.version()

    async def damage(self) -> list[str]:
        """Return what the database finds wrong, which is no registry's secret."""
        return await self._metadata.damage()

    async def close(self) -> None:
        """Do nothing: the store is not the request's to close."""

    def _checked(
        self, function: Callable[Concatenate[Transaction, P], T]
    ) -> Callable[Concatenate[Transaction, P], T]:
        if self._is_settled:
            return function

        def run(tx: Transaction, /, *args: P.args, **kwargs: P.kwargs) -> T:
            decisions = [authorize(tx, self._call, access) for access in self._accesses]
            self.is_lasting = not any(decision.asked_time for decision in decisions)
            self._is_settled = True
            return function(tx, *args, **kwargs)

        return run
