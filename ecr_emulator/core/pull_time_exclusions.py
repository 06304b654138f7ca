"""Pull time update exclusions: principals, such as scanners, whose pulls do not count as use of an image."""

from __future__ import annotations

import re

from ecr_emulator.core import errors
from ecr_emulator.core.call import Call
from ecr_emulator.metadata.store import Transaction

# The user guide, "Pull-time update exclusions".
MAX_EXCLUSIONS = 100

# The ARN of a session does not tell the path of its role, whose name is unique in the account anyway.
_ROLE = re.compile(r"arn:(?P<partition>[^:]+):iam::(?P<account>\d+):role/(?:.+/)?(?P<name>[^/]+)")
_SESSION = re.compile(r"arn:(?P<partition>[^:]+):sts::(?P<account>\d+):assumed-role/(?P<name>[^/]+)/.+")


def register(tx: Transaction, call: Call, principal_arn: str) -> None:
    """Exclude a principal.

    Raises ExclusionAlreadyExistsException, and LimitExceededException for more than 100.
    """
    registry = call.registry
    present = tx.pull_time_exclusions.page(registry.account, registry.region, "", MAX_EXCLUSIONS)
    if principal_arn in present:
        raise errors.ExclusionAlreadyExistsException(
            f"The pull time update exclusion for the principal '{principal_arn}' already exists in the "
            f"registry with id '{registry.account}'"
        )
    if len(present) >= MAX_EXCLUSIONS:
        raise errors.LimitExceededException(
            f"The registry with id '{registry.account}' already has the maximum number of {MAX_EXCLUSIONS} "
            "pull time update exclusions"
        )
    tx.pull_time_exclusions.insert(registry.account, registry.region, principal_arn)


def deregister(tx: Transaction, call: Call, principal_arn: str) -> None:
    """Record a principal's pulls again. Raises ExclusionNotFoundException."""
    registry = call.registry
    if not tx.pull_time_exclusions.delete(registry.account, registry.region, principal_arn):
        raise errors.ExclusionNotFoundException(
            f"The pull time update exclusion for the principal '{principal_arn}' does not exist in the "
            f"registry with id '{registry.account}'"
        )


def list_page(tx: Transaction, call: Call, after: str, limit: int) -> list[str]:
    """Return a page of the ARNs of the principals that are excluded."""
    return tx.pull_time_exclusions.page(call.registry.account, call.registry.region, after, limit)


def is_excluded(tx: Transaction, call: Call) -> bool:
    """Tell whether pulls by the caller of this registry's images are not to be recorded."""
    return any(covers(principal, call.caller_arn) for principal in list_page(tx, call, "", MAX_EXCLUSIONS))


def covers(principal_arn: str, caller_arn: str) -> bool:
    """Tell whether a caller is the principal, or a session of the role that the principal is."""
    role, session = _ROLE.fullmatch(principal_arn), _SESSION.fullmatch(caller_arn)
    if role is not None and session is not None:
        return role.groupdict() == session.groupdict()
    return principal_arn == caller_arn
