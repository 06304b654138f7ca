"""The scope of every request: a registry is one account in one region."""

from __future__ import annotations

import functools

from msgspec import Struct

# Regions whose names begin so are in another partition than "aws".
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-isob-", "aws-iso-b"),
    ("us-iso-", "aws-iso"),
)


class Registry(Struct, frozen=True):
    """A private registry: an account's, in one region."""

    account: str
    region: str

    @property
    def partition(self) -> str:
        """The partition of the region, as ARNs name it."""
        return next((name for prefix, name in _PARTITIONS if self.region.startswith(prefix)), "aws")

    @property
    def root_arn(self) -> str:
        """The ARN of the account's root, for whom callers count that name nobody else."""
        return f"arn:{self.partition}:iam::{self.account}:root"

    def repository_arn(self, name: str) -> str:
        """Return the ARN of a repository of this registry."""
        return f"{_repositories_arn(self)}/{name}"


@functools.lru_cache(maxsize=256)
def _repositories_arn(registry: Registry) -> str:
    return f"arn:{registry.partition}:ecr:{registry.region}:{registry.account}:repository"
