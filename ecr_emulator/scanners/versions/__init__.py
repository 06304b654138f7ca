"""Versions in their order, which every ecosystem defines for itself.

A key is a value that sorts as its version does; making one raises ValueError for a text that is no
version of the ecosystem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ecr_emulator.scanners.versions import alpine, debian, pypi, rpm, semver

Key = Callable[[str], Any]

_KEYS: dict[str, Key] = {
    **dict.fromkeys(("Debian", "Ubuntu"), debian.key),
    **dict.fromkeys(("Alpine", "Wolfi", "Chainguard"), alpine.key),
    **dict.fromkeys(
        (
            "Red Hat",
            "Rocky Linux",
            "AlmaLinux",
            "CentOS",
            "Oracle Linux",
            "Amazon Linux",
            "Fedora",
            "Photon OS",
            "SUSE",
            "openSUSE",
        ),
        rpm.key,
    ),
    "PyPI": pypi.key,
    "npm": semver.key,
}


def key_of(ecosystem: str) -> Key:
    """Return the key function of an OSV ecosystem, given without its release.

    Where no other is known the order is that of semantic versions.
    """
    return _KEYS.get(ecosystem, semver.key)
