"""Alpine's versions, as apk-tools orders them: ``1.2.3a_rc1-r4``."""

from __future__ import annotations

import re
from typing import Any

_VERSION = re.compile(
    r"(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?P<letter>[a-z]?)(?P<suffixes>(?:_[a-z]+[0-9]*)*)"
    r"(?:~[0-9a-f]+)?(?:-r(?P<revision>[0-9]+))?"
)
_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_RANKS = {
    suffix: rank
    for rank, suffix in enumerate(("alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"))
}


def key(version: str) -> Any:
    """Return a value that sorts as the version does. Raises ValueError."""
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        raise ValueError(version)
    first, *rest = match["numbers"].split(".")
    suffixes = []
    for suffix, number in _SUFFIX.findall(match["suffixes"]):
        if suffix not in _RANKS:
            raise ValueError(version)
        suffixes.append((_RANKS[suffix], int(number or 0)))
    return (
        (int(first), *(_component(text) for text in rest)),
        match["letter"],
        [*suffixes, (_RANKS[""], 0)],
        # A version without a revision comes before the one with the first, r0.
        int(match["revision"] or -1),
    )


def _component(text: str) -> tuple[int, int | str]:
    """Return a number's rank; one that begins with a zero is a decimal fraction."""
    return (0, text.rstrip("0")) if text.startswith("0") else (1, int(text))
