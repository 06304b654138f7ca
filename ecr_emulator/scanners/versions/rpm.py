"""RPM's versions (rpm-version(7)): ``[epoch:]version[-release]``."""

from __future__ import annotations

import re
from typing import Any

_SEGMENT = re.compile(r"[0-9]+|[a-zA-Z]+|~|\^")
_END = (1,)


def key(version: str) -> Any:
    """Return a value that sorts as the version does. Raises ValueError."""
    epoch, colon, rest = version.strip().partition(":")
    number, _, release = (rest if colon else epoch).partition("-")
    return int(epoch) if colon else 0, _segments(number), _segments(release)


def _segments(text: str) -> list[tuple[Any, ...]]:
    """Return the segments as rpmvercmp ranks them: tilde, the end, caret, letters, numbers."""
    return [*(_rank(segment) for segment in _SEGMENT.findall(text)), _END]


def _rank(segment: str) -> tuple[Any, ...]:
    if segment == "~":
        return (0,)
    if segment == "^":
        return (2,)
    return (4, int(segment)) if segment.isdigit() else (3, segment)
