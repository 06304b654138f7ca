"""Whether policies allow a call: the evaluation logic of IAM, as a pure function.

The rules are those of the IAM user guide: "Policy evaluation logic", "IAM JSON policy elements" and
"Cross account resource access". Policies are documents that ``core/policies.py`` accepts, or identity
policies of the same language; the keys of conditions are a plain mapping that the caller fills.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from msgspec import Struct

from ecr_emulator.core.policies import read_document

PolicyKind = Literal["identity", "repository", "registry"]
Keys = Mapping[str, str | Sequence[str]]

ANONYMOUS = "*"

_ACCOUNT_OF_ARN = re.compile(r"arn:[^:]+:(?:iam|sts)::(?P<account>[0-9]{12}):(?P<entity>.+)")
_WITH_VARIABLES = "2012-10-17"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_ARN_SEGMENTS = 6
_TIME_KEYS = ("aws:currenttime", "aws:epochtime")


class Request(Struct, frozen=True):
    """What somebody wants to do."""

    principal: str
    """The caller: the ARN of a user, a role's session, a federated user or an account's root; a service
    (``ecs-tasks.amazonaws.com``); or ANONYMOUS."""

    action: str
    """As policies name it, ``ecr:PutImage``."""

    resource: str
    """The ARN of what it is done to, or ``*`` for actions on no resource."""

    account: str
    """The account that the resource belongs to."""

    keys: Keys
    """The condition keys of the request, of any case, each with its value or values. They can be left out
    where no statement ``asks_keys``."""


class Statement(Struct, frozen=True):
    """One statement of a policy: where it stands, and its elements."""

    kind: PolicyKind
    index: int
    elements: Mapping[str, Any]
    has_variables: bool
    asks_keys: bool
    """Whether it depends on the condition keys of a request."""

    asks_time: bool
    """Whether it depends on the time of a request."""

    @property
    def sid(self) -> str | None:
        """The name that the policy gives to it."""
        return self.elements.get("Sid") or None

    @property
    def effect(self) -> str:
        """Allow or Deny."""
        return str(self.elements["Effect"])


class Decision(Struct, frozen=True):
    """Whether a request is allowed, and why.

    ``statement`` is the one that decided; None where the caller is the root of the resource's account,
    and where no statement allows. ``reason`` goes on from "… is not authorized to perform: ACTION on
    resource: ARN" in the words of AWS; it is empty where the request is allowed.
    """

    allowed: bool
    statement: Statement | None
    reason: str = ""
    asked_time: bool = False
    """Whether it can be another one for the same request at another time."""


def parse(kind: PolicyKind, text: str) -> list[Statement]:
    """Return the statements of a policy text that has been validated. Raises ValueError for no JSON."""
    document = read_document(text)
    has_variables = document.get("Version") == _WITH_VARIABLES
    return [
        Statement(
            kind, index, elements, has_variables, _asks_keys(elements, has_variables), _asks_time(elements)
        )
        for index, elements in enumerate(_listed(document.get("Statement", [])))
    ]


def _asks_keys(elements: Mapping[str, Any], has_variables: bool) -> bool:
    if "Condition" in elements:
        return True
    named = _listed(elements.get("Resource", elements.get("NotResource", ())))
    return has_variables and any("${" in pattern for pattern in named)


def _asks_time(elements: Mapping[str, Any]) -> bool:
    """Tell whether a statement names a key of the time, as a condition's or as a variable."""
    text = json.dumps(elements).lower()
    return any(key in text for key in _TIME_KEYS)


def evaluate(request: Request, statements: Iterable[Statement]) -> Decision:
    """Decide on a request by all the policies that bear on it.

    A matching Deny decides, wherever it is. Inside an account an Allow on either side is enough: in the
    caller's identity policies, or in the resource's policy where that names the caller itself. To name
    the account there only lets its identity policies decide. A caller from another account needs an
    Allow on both sides; a service and an anonymous caller have no identity policies, and an account's
    root needs none.
    """
    applying = [statement for statement in statements if _applies(statement, request)]
    for statement in applying:
        if statement.effect == "Deny":
            side = "identity" if statement.kind == "identity" else "resource"
            return Decision(False, statement, f"with an explicit deny in {_article(side)}-based policy")
    by_identity = next((s for s in applying if s.kind == "identity"), None)
    by_resource = next((s for s in applying if s.kind != "identity"), None)
    account = account_of(request.principal)
    if account is None:
        return Decision(True, by_resource) if by_resource else _not_allowed("resource", request)
    is_trusted = by_identity is not None or _is_root(request.principal)
    if account == request.account:
        names_caller = next((s for s in applying if s.kind != "identity" and _names(s, request)), None)
        if is_trusted or names_caller:
            return Decision(True, by_identity or names_caller)
        return _not_allowed("identity", request)
    if not is_trusted:
        return _not_allowed("identity", request)
    return Decision(True, by_resource) if by_resource else _not_allowed("resource", request)


def account_of(principal: str) -> str | None:
    """Return the account of a caller; services and anonymous callers have none."""
    match = _ACCOUNT_OF_ARN.fullmatch(principal)
    return match and match["account"]


def _not_allowed(side: str, request: Request) -> Decision:
    return Decision(False, None, f"because no {side}-based policy allows the {request.action} action")


def _article(side: str) -> str:
    return f"an {side}" if side == "identity" else f"a {side}"


def _is_root(principal: str) -> bool:
    return principal.startswith("arn:") and principal.endswith(":root")


def _applies(statement: Statement, request: Request) -> bool:
    elements = statement.elements
    keys = {name.lower(): value for name, value in request.keys.items()} if statement.asks_keys else {}
    variables = keys if statement.has_variables else None
    return (
        _matches_element(elements, "Principal", lambda value: _is_principal(value, request.principal))
        and _matches_element(
            elements,
            "Action",
            lambda value: any(_glob(name, None, re.IGNORECASE).fullmatch(request.action) for name in value),
        )
        and _matches_element(
            elements,
            "Resource",
            lambda value: any(_matches_arn(pattern, request.resource, variables) for pattern in value),
        )
        and all(
            _holds(operator, name.lower(), _texts(values), keys, variables)
            for operator, tests in elements.get("Condition", {}).items()
            for name, values in tests.items()
        )
    )


def _matches_element(elements: Mapping[str, Any], name: str, matches: Callable[[Any], bool]) -> bool:
    """Tell whether an element or its negation matches; a policy that has neither is not about it."""
    if name in elements:
        return matches(_listed(elements[name]))
    return f"Not{name}" not in elements or not matches(_listed(elements[f"Not{name}"]))


def _names(statement: Statement, request: Request) -> bool:
    """Tell whether a statement that applies grants to the caller itself and not to its account."""
    if "Principal" not in statement.elements:
        return True
    account = account_of(request.principal)
    return _is_root(request.principal) or _is_principal(
        _listed(statement.elements["Principal"]), request.principal, but_for=account
    )


def _is_principal(value: Sequence[Any], principal: str, but_for: str | None = None) -> bool:
    """Tell whether a Principal element means a caller, not counting where it names the account."""
    for entry in value:
        if entry == "*":
            return True
        for names in entry.values():
            if any(_is_named(name, principal, but_for) for name in _listed(names)):
                return True
    return False


def _is_named(name: str, principal: str, but_for: str | None) -> bool:
    if name in ("*", principal):
        return True
    caller, named = _ACCOUNT_OF_ARN.fullmatch(principal), _ACCOUNT_OF_ARN.fullmatch(name)
    if caller is None:
        return False
    if name == caller["account"] or (named and named["entity"] == "root"):
        account = named["account"] if named else name
        return account == caller["account"] != but_for
    if named is None or named["account"] != caller["account"]:
        return False
    # A session of a role is the role, whose ARN has a path that the session's leaves out.
    role, session = named["entity"].split("/"), caller["entity"].split("/")
    return role[0] == "role" and session[0] == "assumed-role" and role[-1] == session[1]


def _holds(operator: str, name: str, wanted: list[str], keys: Keys, variables: Keys | None) -> bool:
    """Tell whether one key passes one condition operator (IAM user guide, Condition operators)."""
    quantifier, _, base = operator.rpartition(":")
    values = _texts(keys[name]) if name in keys else []
    if base == "Null":
        return any((text.lower() == "true") != bool(values) for text in wanted)
    if not values and base.endswith("IfExists"):
        return True
    base = base.removesuffix("IfExists")
    negated = "Not" in base
    compare = _COMPARISONS[base.replace("Not", "")]

    def passes(value: str) -> bool:
        return any(compare(text, value, variables) for text in wanted) != negated

    if quantifier == "ForAnyValue":
        return any(map(passes, values))
    if quantifier == "ForAllValues" or negated:
        return all(map(passes, values))
    return any(map(passes, values))


def _expand(text: str, variables: Keys | None) -> str | None:
    """Put the request's keys in place of ``${…}``; None where the request has not got one."""
    parts = _parts(text, variables)
    return None if parts is None else "".join(part for part, _ in parts)


def _glob(pattern: str, variables: Keys | None, flags: int = 0) -> re.Pattern[str]:
    """Return the expression of a text in which ``*`` and ``?`` stand for others."""
    parts = _parts(pattern, variables)
    return re.compile(r"(?!)") if parts is None else _compiled(tuple(parts), flags)


@functools.lru_cache(maxsize=1024)
def _compiled(parts: tuple[tuple[str, bool], ...], flags: int) -> re.Pattern[str]:
    expressions = []
    for part, is_literal in parts:
        escaped = re.escape(part)
        expressions.append(escaped if is_literal else escaped.replace(r"\*", ".*").replace(r"\?", "."))
    return re.compile("".join(expressions), flags | re.DOTALL)


def _parts(text: str, variables: Keys | None) -> list[tuple[str, bool]] | None:
    """Cut a text into pieces, each with whether its wildcards are plain characters."""
    if variables is None:
        return [(text, False)]
    parts: list[tuple[str, bool]] = []
    for index, piece in enumerate(_VARIABLE.split(text)):
        if index % 2 == 0:
            parts.append((piece, False))
        elif piece in ("*", "?", "$"):
            parts.append((piece, True))
        else:
            name, _, default = (half.strip() for half in piece.partition(","))
            values = _texts(variables.get(name.lower(), default.strip("'") if default else []))
            if len(values) != 1:
                return None
            parts.append((values[0], True))
    return parts


def _matches_arn(pattern: str, arn: str, variables: Keys | None) -> bool:
    """Match ARNs segment by segment, since a wildcard does not go beyond a colon; ``*`` alone is any."""
    if variables is not None and "${" in pattern:
        return _glob(pattern, variables).fullmatch(arn) is not None
    patterns, segments = pattern.split(":", _ARN_SEGMENTS - 1), arn.split(":", _ARN_SEGMENTS - 1)
    if len(patterns) != _ARN_SEGMENTS or len(segments) != _ARN_SEGMENTS:
        return pattern in ("*", arn)
    return all(
        _glob(wanted, None).fullmatch(segment) for wanted, segment in zip(patterns, segments, strict=True)
    )


Comparison = Callable[[str, str, Keys | None], bool]


def _equal(wanted: str, value: str, variables: Keys | None) -> bool:
    return _expand(wanted, variables) == value


def _equal_ignoring_case(wanted: str, value: str, variables: Keys | None) -> bool:
    expanded = _expand(wanted, variables)
    return expanded is not None and expanded.lower() == value.lower()


def _like(wanted: str, value: str, variables: Keys | None) -> bool:
    return _glob(wanted, variables).fullmatch(value) is not None


def _in_network(wanted: str, value: str, _variables: Keys | None) -> bool:
    try:
        return ip_address(value) in ip_network(wanted, strict=False)
    except ValueError:
        return False


def _moment(text: str) -> float:
    """Read a date: ISO 8601, UTC where it names no zone, or seconds since 1970. Raises ValueError."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _compared(read: Callable[[str], float], holds: Callable[[float, float], bool]) -> Comparison:
    """Make a comparison of the request's value with the policy's; what can't be read never holds."""

    def compare(wanted: str, value: str, _variables: Keys | None) -> bool:
        try:
            return holds(read(value), read(wanted))
        except (ValueError, OverflowError):
            return False

    return compare


_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "Equals": lambda value, wanted: value == wanted,
    "LessThan": lambda value, wanted: value < wanted,
    "LessThanEquals": lambda value, wanted: value <= wanted,
    "GreaterThan": lambda value, wanted: value > wanted,
    "GreaterThanEquals": lambda value, wanted: value >= wanted,
}

_COMPARISONS: dict[str, Comparison] = {
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_ignoring_case,
    "StringLike": _like,
    "BinaryEquals": _equal,
    "Bool": _equal_ignoring_case,
    "IpAddress": _in_network,
    "ArnEquals": _matches_arn,
    "ArnLike": _matches_arn,
    **{f"Numeric{order}": _compared(float, holds) for order, holds in _ORDERS.items()},
    **{f"Date{order}": _compared(_moment, holds) for order, holds in _ORDERS.items()},
}


def _texts(value: Any) -> list[str]:
    """Return the values of a key as texts, as JSON writes them."""
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in _listed(value)]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
