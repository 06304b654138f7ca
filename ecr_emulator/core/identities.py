"""The principals that the server knows: their access keys, and what their own policies say."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from ecr_emulator.core.iam import Statement


class Identity(Struct, frozen=True, eq=False):
    """A principal with the statements of its identity policies; ``organization`` is its account's.

    There is one for each principal, so that it is equal to itself alone.
    """

    arn: str
    statements: tuple[Statement, ...]
    organization: str | None = None


class AccessKey(Struct, frozen=True):
    """Whose an access key is, and what its signatures are made with, where that is known."""

    arn: str
    secret: str | None = None
    session_token: str | None = None

    def __repr__(self) -> str:
        """Leave out what is secret."""
        return f"AccessKey(arn={self.arn!r})"


class Principals(Struct, frozen=True):
    """Access keys by their ids, and identities by their ARNs."""

    access_keys: Mapping[str, AccessKey] = field(default_factory=dict)
    identities: Mapping[str, Identity] = field(default_factory=dict)
