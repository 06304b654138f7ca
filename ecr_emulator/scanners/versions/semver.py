"""Semantic versions (semver.org), with a ``v`` before them or parts left out where people do that."""

from __future__ import annotations

import re
from typing import Any

_VERSION = re.compile(r"[v=]?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z.-]+))?(?:\+.*)?")


def key(version: str) -> Any:
    """Return a value that sorts as the version does; build metadata is passed over. Raises ValueError."""
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        raise ValueError(version)
    *numbers, before = match.groups()
    return (
        tuple(int(number or 0) for number in numbers),
        # A release comes after all that lead up to it.
        (1,) if before is None else (0, [_identifier(text) for text in before.split(".")]),
    )


def _identifier(text: str) -> tuple[int, int | str]:
    return (0, int(text)) if text.isdigit() else (1, text)
