"""ECR's service quotas that a setting can change: how much there can be of something, by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

Quotas = Mapping[str, int]


class UnknownQuotaError(LookupError):
    """There is no such quota, or none that can be changed."""


@cache
def defaults() -> Quotas:
    """Return what ECR gives to an account in a region."""
    table = json.loads(resources.files("ecr_emulator.specs").joinpath("quotas.json").read_text())
    return {quota["name"]: quota["default"] for quota in table["quotas"] if quota.get("setting")}


def changed(changes: Quotas) -> Quotas:
    """Return the quotas, some of them changed. Raises UnknownQuotaError."""
    if unknown := sorted(changes.keys() - defaults().keys()):
        raise UnknownQuotaError(
            f"quotas has no {', '.join(unknown)}; what can be set is {', '.join(sorted(defaults()))}"
        )
    return {**defaults(), **changes}
