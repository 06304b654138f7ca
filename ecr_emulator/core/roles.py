"""IAM roles that ECR is told to assume."""

from __future__ import annotations

import re

from ecr_emulator.core import errors
from ecr_emulator.core.registry import Registry

_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/[\w+=,.@/-]+")


def check_role(arn: str | None, registry: Registry) -> None:
    """Check a ``customRoleArn``, which has to be in the account of the registry that is configured.

    Raises InvalidParameterException.
    """
    if arn is None:
        return
    match = _ROLE.fullmatch(arn)
    if match is None or match["account"] != registry.account:
        raise errors.InvalidParameterException(
            "Invalid parameter at 'customRoleArn' failed to satisfy constraint: "
            f"'must be the ARN of a role in the account {registry.account}'"
        )
