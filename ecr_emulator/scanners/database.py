"""A vulnerability database: a folder of advisories in the OSV format, one in each JSON file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, field

from ecr_emulator.scanners import osv
from ecr_emulator.scanners.base import Finding, ScannerSetupError
from ecr_emulator.scanners.packages import NODE, PYTHON, Distribution, Ecosystem, Package

_logger = logging.getLogger(__name__)

_LANGUAGES = {PYTHON: Ecosystem("PyPI"), NODE: Ecosystem("npm")}


class _Index(Struct):
    """Which files may concern a package, by (ecosystem, name): a folder of all of Debian is 200 MB."""

    state: list[tuple[str, int]]
    files: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    modified_at: float | None = None


class VulnerabilityDatabase:
    """Advisories by package. Its methods block, and may be called from several threads.

    The folder is indexed at its first use, and again when files in it were changed. Raises
    ScannerSetupError for what is no folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ScannerSetupError(f"the vulnerability database {folder} is no folder")
        self._folder = folder
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def modified_at(self) -> float | None:
        """Return when the newest advisory was changed, in seconds since 1970."""
        return self._current().modified_at

    def findings(self, packages: list[Package], distribution: Distribution | None) -> list[Finding]:
        """Return the vulnerabilities of packages, each once for a package and a version."""
        index = self._current()
        found: dict[tuple[str, str, str, str], Finding] = {}
        for package in packages:
            ecosystem, name, version = _identity(package, distribution)
            if ecosystem is None:
                continue
            for path in index.files.get((ecosystem.name, osv.normalize_name(ecosystem.name, name)), ()):
                with _tolerant(path):
                    advisory = _load(path)
                    if advisory and (match := osv.match(advisory, ecosystem, name, version)):
                        finding = osv.finding(advisory, match, package, name, version)
                        found.setdefault((finding.name, ecosystem.name, name, version), finding)
        return list(found.values())

    def _current(self) -> _Index:
        with self._lock:
            state = sorted(_files(self._folder))
            if self._index is None or self._index.state != state:
                self._index = _index(state)
            return self._index


def _identity(package: Package, distribution: Distribution | None) -> tuple[Ecosystem | None, str, str]:
    """Return the ecosystem, name and version by which advisories know a package."""
    if package.manager in _LANGUAGES:
        return _LANGUAGES[package.manager], package.name, package.version
    ecosystem = None if distribution is None else distribution.ecosystem
    if distribution is None or not distribution.names_sources:
        return ecosystem, package.name, package.version
    return ecosystem, package.source_name or package.name, package.source_version or package.version


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Return (path, time of change) of the JSON files in a folder and below."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(Path(entry.path))
            elif entry.name.endswith(".json"):
                yield entry.path, entry.stat().st_mtime_ns


def _index(state: list[tuple[str, int]]) -> _Index:
    index = _Index(state)
    for path, _ in state:
        with _tolerant(path):
            advisory = _load(path)
            if advisory is None:
                continue
            for package in set(osv.packages_of(advisory)):
                index.files.setdefault(package, []).append(path)
            index.modified_at = max(
                filter(None, (index.modified_at, osv.modified_at(advisory))), default=None
            )
    return index


@contextlib.contextmanager
def _tolerant(path: str) -> Iterator[None]:
    """Pass over an advisory that does not keep to the schema: the others are none the worse for it."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _logger.warning("can't understand the advisory %s: %s: %s", path, type(error).__name__, error)


def _load(path: str) -> osv.Document | None:
    """Return the advisory in a file, if there is one: a database may have other files beside."""
    try:
        with open(path, "rb") as file:
            advisory = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        _logger.warning("can't read the advisory %s: %s", path, error)
        return None
    is_advisory = isinstance(advisory, dict) and isinstance(advisory.get("affected"), list)
    return advisory if is_advisory else None
