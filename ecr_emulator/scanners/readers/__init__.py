"""Readers: the packages that a file of an image tells of. Pure: a file's bytes in, packages out.

A reader raises ValueError for a file that it can't make sense of.
"""

from __future__ import annotations

from collections.abc import Callable

from ecr_emulator.scanners.packages import Package
from ecr_emulator.scanners.readers import apk, dpkg, node, python, rpm

Reader = Callable[[bytes], list[Package]]

OS_RELEASES = ("etc/os-release", "usr/lib/os-release")
"""Where a system is named; the first one counts. On most systems it is a link to the second."""

_DATABASES: dict[str, Reader] = {
    "var/lib/dpkg/status": dpkg.read,
    "lib/apk/db/installed": apk.read,
    "usr/lib/apk/db/installed": apk.read,
    **{
        f"{folder}/{name}": reader
        for folder in ("var/lib/rpm", "usr/lib/sysimage/rpm")
        for name, reader in (
            ("rpmdb.sqlite", rpm.read_sqlite),
            ("Packages.db", rpm.read_ndb),
            ("Packages", rpm.read_bdb),
        )
    },
}
# Distroless images have a file for each package.
_DPKG_FOLDER = "var/lib/dpkg/status.d/"


def reader_for(path: str) -> Reader | None:
    """Return what reads the file at a path (without a slash before it), if anything does."""
    if reader := _DATABASES.get(path):
        return reader
    if path.startswith(_DPKG_FOLDER):
        return None if path.endswith(".md5sums") else dpkg.read
    if path.endswith((".dist-info/METADATA", ".egg-info/PKG-INFO", ".egg-info")):
        return python.read
    return node.read if node.is_manifest(path) else None


def is_database(path: str) -> bool:
    """Tell whether a file is the database of an operating system's packages."""
    return path in _DATABASES or path.startswith(_DPKG_FOLDER)
