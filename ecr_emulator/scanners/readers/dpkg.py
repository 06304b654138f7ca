"""dpkg's status file, and the files of one package each that distroless images have instead."""

from __future__ import annotations

import re

from ecr_emulator.scanners.packages import Package
from ecr_emulator.scanners.readers import fields

_WANTED = frozenset({"Package", "Version", "Architecture", "Source", "Status"})
_SOURCE = re.compile(r"(?P<name>\S+)(?:\s+\((?P<version>[^)]+)\))?")
_PARAGRAPHS = re.compile(r"\n\s*\n")


def read(content: bytes) -> list[Package]:
    """Return the packages that are installed; what was removed but for its configuration is not."""
    packages = []
    for paragraph in _PARAGRAPHS.split(content.decode(errors="replace")):
        found = fields.parse(paragraph, _WANTED)
        if "Package" not in found or "Version" not in found:
            continue
        if "Status" in found and not found["Status"].endswith(" installed"):
            continue
        source = _SOURCE.match(found.get("Source", ""))
        packages.append(
            Package(
                name=found["Package"],
                version=found["Version"],
                arch=found.get("Architecture"),
                source_name=source and source["name"],
                source_version=source and source["version"],
            )
        )
    return packages
