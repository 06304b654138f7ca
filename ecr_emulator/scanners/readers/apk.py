"""apk's database of installed packages: fields of one letter, a blank line between packages."""

from __future__ import annotations

from ecr_emulator.scanners.packages import Package


def read(content: bytes) -> list[Package]:
    """Return the packages that are installed."""
    packages = []
    for paragraph in content.decode(errors="replace").split("\n\n"):
        found: dict[str, str] = {}
        for line in paragraph.splitlines():
            # A package's own fields stand before those of its files.
            if line[:2] in ("P:", "V:", "A:", "o:"):
                found.setdefault(line[0], line[2:])
        if "P" in found and "V" in found:
            packages.append(Package(found["P"], found["V"], arch=found.get("A"), source_name=found.get("o")))
    return packages
