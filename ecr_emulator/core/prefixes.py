"""Namespace prefixes, by which templates and pull-through cache rules name repositories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

ROOT = "ROOT"


class Prefixed(Protocol):
    """Something that holds for the repositories below a prefix."""

    @property
    def prefix(self) -> str:
        """The prefix, without the slash that is always meant; ROOT for all repositories."""
        ...


P = TypeVar("P", bound=Prefixed)


def normalize(prefix: str) -> str:
    """Return a prefix without the slash at its end, which means nothing."""
    return prefix.removesuffix("/")


def prefixes_of(name: str) -> list[str]:
    """Return every prefix that a repository name is below, the longest first and ROOT last."""
    segments = name.split("/")
    return ["/".join(segments[:length]) for length in range(len(segments) - 1, 0, -1)] + [ROOT]


def closest(candidates: Iterable[P], name: str) -> P | None:
    """Return the candidate with the longest prefix of a repository name, or None where there is none."""
    by_prefix = {candidate.prefix: candidate for candidate in candidates}
    return next((by_prefix[prefix] for prefix in prefixes_of(name) if prefix in by_prefix), None)
