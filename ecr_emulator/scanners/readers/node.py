"""npm's ``package.json`` of an installed package."""

from __future__ import annotations

import json
import re

from ecr_emulator.scanners.packages import NODE, Package

_INSTALLED = re.compile(r"(?:.*/)?node_modules/(?:@[^/]+/)?[^/]+/package\.json")


def is_manifest(path: str) -> bool:
    """Tell whether a file is the manifest of a package that is installed, not one inside of it."""
    return path.endswith("/package.json") and _INSTALLED.fullmatch(path) is not None


def read(content: bytes) -> list[Package]:
    """Return the package that the manifest is of. Raises ValueError."""
    try:
        manifest = json.loads(content)
    except RecursionError:
        raise ValueError("package.json is nested too deeply") from None
    name, version = (
        manifest.get(member) if isinstance(manifest, dict) else None for member in ("name", "version")
    )
    if not (isinstance(name, str) and isinstance(version, str)):
        return []
    return [Package(name, version, NODE)]
