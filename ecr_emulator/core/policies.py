"""Validation of the policy texts of repositories and registries.

Both are documents of the IAM policy language, of which ECR takes a subset. ECR names no cause when it
refuses one, so the grammar is written as predicates and each kind of policy has a single error text.
Whether a policy allows a call is decided elsewhere.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from ecr_emulator.core.errors import InvalidParameterException

_VERSIONS = ("2008-10-17", "2012-10-17")
_RESOURCES = {"Resource", "NotResource"}
_ELEMENTS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Condition"} | _RESOURCES

_ACTION = re.compile(r"\*|ecr:[a-z*?]+", re.IGNORECASE)
# Version 1 of the registry policy scope has three actions.
_V1_ACTION = re.compile(r"ecr:(?:\*|ReplicateImage|BatchImportUpstreamImage|CreateRepository)", re.IGNORECASE)
_RESOURCE = re.compile(r"\*|arn:aws(-[a-z]+)*:ecr:[a-z0-9*?-]*:[0-9*?]*:repository/\S+")

# Identity policies name the actions and resources of all services.
_ANY_ACTION = re.compile(r"\*|[a-z0-9-]+:[a-z0-9*?]+", re.IGNORECASE)
_ANY_RESOURCE = re.compile(r"\*|arn:\S+")

_ACCOUNT = r"[0-9]{12}"
_NAME = r"[A-Za-z0-9_+=,.@-]+"
_ARN = r"arn:aws(?:-[a-z]+)*"
_HOST = r"[a-z0-9-]+(?:\.[a-z0-9-]+)+"
_PRINCIPALS = {
    # A principal is exact: the only wildcard is "*" alone, and groups are no principals.
    "AWS": re.compile(
        rf"\*|{_ACCOUNT}"
        rf"|{_ARN}:iam::{_ACCOUNT}:(?:root|(?:user|role)/(?:{_NAME}/)*{_NAME})"
        rf"|{_ARN}:sts::{_ACCOUNT}:(?:assumed-role/{_NAME}/{_NAME}|federated-user/{_NAME})"
    ),
    "Service": re.compile(_HOST),
    "Federated": re.compile(rf"{_HOST}|{_ARN}:iam::{_ACCOUNT}:(?:saml|oidc)-provider/\S+"),
    "CanonicalUser": re.compile(r"[0-9a-f]{64}"),
}

_OPERATOR = re.compile(
    r"(?:ForAllValues:|ForAnyValue:)?"
    r"(?:String(?:Not)?(?:Equals(?:IgnoreCase)?|Like)"
    r"|Numeric(?:(?:Not)?Equals|(?:Less|Greater)Than(?:Equals)?)"
    r"|Date(?:(?:Not)?Equals|(?:Less|Greater)Than(?:Equals)?)"
    r"|Arn(?:Not)?(?:Equals|Like)"
    r"|(?:Not)?IpAddress|Bool|BinaryEquals)"
    r"(?:IfExists)?"
    r"|Null"
)


def read_document(text: str) -> dict[str, Any]:
    """Read a policy text, which is one JSON object.

    Names that occur twice in an object and the non-JSON constants (NaN, Infinity) are refused, because
    two readers could take the same text for different policies.

    Raises ValueError.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique_names, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if isinstance(document, dict):
        return document
    raise ValueError("not a JSON object")


def validate_repository_policy(text: str) -> None:
    """Check the text of a repository policy.

    A repository policy is attached to its resource and names none (ECR user guide, Private repository
    policy examples), statements may share a Sid, as ECR allows, and GetAuthorizationToken, which belongs
    to no repository, can't be granted.

    Raises InvalidParameterException.
    """
    if not _is_policy(text, _is_repository_statement):
        raise _invalid("repository")


def validate_registry_policy(text: str, scope: str = "V2") -> None:
    """Check the text of a registry policy, whose statements name the repositories they are about.

    Any ECR action may occur in version 2 of the registry policy scope; version 1 has ReplicateImage,
    BatchImportUpstreamImage and CreateRepository only, or ``ecr:*`` for all of them (ECR user guide,
    Private registry permissions).

    Raises InvalidParameterException.
    """
    is_statement = _is_v1_registry_statement if scope == "V1" else _is_registry_statement
    if not _is_policy(text, is_statement, unique_sids=True):
        raise _invalid("registry")


def validate_identity_policy(text: str) -> None:
    """Check the text of an identity policy, which is about resources of any service and names no principal.

    Raises ValueError.
    """
    if not _is_policy(text, _is_identity_statement):
        raise ValueError("not an identity policy")


def _invalid(kind: str) -> InvalidParameterException:
    return InvalidParameterException(
        f"Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid {kind} policy provided'"
    )


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_policy(text: str, is_statement: Callable[[Any], bool], *, unique_sids: bool = False) -> bool:
    try:
        document = read_document(text)
    except ValueError:
        return False
    statements = _listed(document.get("Statement", []))
    return (
        document.keys() <= {"Version", "Id", "Statement"}
        and document.get("Version", _VERSIONS[0]) in _VERSIONS
        and isinstance(document.get("Id", ""), str)
        and bool(statements)
        and all(map(is_statement, statements))
        and not (unique_sids and _share_sids(statements))
    )


def _is_repository_statement(statement: Any) -> bool:
    return (
        _is_statement(statement)
        and statement.keys().isdisjoint(_RESOURCES)
        and "ecr:getauthorizationtoken" not in map(str.lower, _listed(statement.get("Action", [])))
    )


def _is_registry_statement(statement: Any) -> bool:
    return _is_statement(statement) and _has_one(
        statement, "Resource", "NotResource", lambda value: _all_match(_RESOURCE, value)
    )


def _is_v1_registry_statement(statement: Any) -> bool:
    return _is_registry_statement(statement) and _all_match(_V1_ACTION, statement.get("Action"))


def _is_identity_statement(statement: Any) -> bool:
    return (
        _has_basics(statement, _ANY_ACTION)
        and statement.keys().isdisjoint({"Principal", "NotPrincipal"})
        and _has_one(statement, "Resource", "NotResource", lambda value: _all_match(_ANY_RESOURCE, value))
    )


def _is_statement(statement: Any) -> bool:
    return _has_basics(statement, _ACTION) and _has_one(statement, "Principal", "NotPrincipal", _is_principal)


def _has_basics(statement: Any, action: re.Pattern[str]) -> bool:
    """Tell whether a value is a statement as to what all kinds of policies have."""
    return (
        isinstance(statement, dict)
        and statement.keys() <= _ELEMENTS
        and isinstance(statement.get("Sid", ""), str)
        and statement.get("Effect") in ("Allow", "Deny")
        and _has_one(statement, "Action", "NotAction", lambda value: _all_match(action, value))
        and _is_condition(statement.get("Condition", {}))
    )


def _has_one(statement: dict[str, Any], element: str, negation: str, is_valid: Callable[[Any], bool]) -> bool:
    """Tell whether exactly one of an element and its negation is there, and valid."""
    values = [statement[name] for name in (element, negation) if name in statement]
    return len(values) == 1 and is_valid(values[0])


def _is_principal(value: Any) -> bool:
    if not isinstance(value, dict):
        return bool(value == "*")
    return bool(value) and all(
        kind in _PRINCIPALS and _all_match(_PRINCIPALS[kind], names) for kind, names in value.items()
    )


def _is_condition(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _OPERATOR.fullmatch(operator) and isinstance(keys, dict) and all(map(_is_test, keys.items()))
        for operator, keys in value.items()
    )


def _is_test(item: tuple[str, Any]) -> bool:
    """Tell whether a condition key, which has a vendor's prefix, is compared with scalars."""
    key, value = item
    values = _listed(value)
    return ":" in key.strip(":") and bool(values) and all(isinstance(v, str | int | float) for v in values)


def _share_sids(statements: list[dict[str, Any]]) -> bool:
    sids = [statement["Sid"] for statement in statements if statement.get("Sid")]
    return len(set(sids)) != len(sids)


def _all_match(pattern: re.Pattern[str], value: Any) -> bool:
    """Tell whether a string, or each of a list of at least one, has the form."""
    values = _listed(value)
    return bool(values) and all(isinstance(v, str) and pattern.fullmatch(v) for v in values)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
