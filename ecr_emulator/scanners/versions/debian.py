"""Debian's versions (deb-version(7)): ``[epoch:]upstream[-revision]``."""

from __future__ import annotations

import re
from typing import Any

_PAIR = re.compile(r"(\D*)(\d*)")


def key(version: str) -> Any:
    """Return a value that sorts as the version does. Raises ValueError."""
    epoch, colon, rest = version.strip().partition(":")
    upstream, _, revision = (rest if colon else epoch).rpartition("-")
    if not upstream:
        upstream, revision = revision, ""
    return int(epoch) if colon else 0, _parts(upstream), _parts(revision)


def _parts(text: str) -> list[Any]:
    """Return the text's non-digits and numbers in turn; the end sorts after a tilde, before all else."""
    parts: list[Any] = []
    for match in _PAIR.finditer(text or "0"):
        if match[0]:
            parts += [_letters(match[1]), int(match[2] or 0)]
    return [*parts, (0,)]


def _letters(text: str) -> tuple[int, ...]:
    return *(_order(character) for character in text), 0


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
