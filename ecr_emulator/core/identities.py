"""The principals that the server knows: their access keys, and what their own policies say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecr_emulator.core.iam import Statement


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A principal with the statements of its identity policies; ``organization`` is its account's.

    There is one for each principal, so that it is equal to itself alone.
    """

    arn: str
    statements: tuple[Statement, ...]
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Whose an access key is, and what its signatures are made with, where that is known."""

    arn: str
    secret: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Principals:
    """Access keys by their ids, and identities by their ARNs."""

    access_keys: Mapping[str, AccessKey] = field(default_factory=dict)
    identities: Mapping[str, Identity] = field(default_factory=dict)
