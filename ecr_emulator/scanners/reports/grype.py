"""Grype's report (``grype -o json``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ecr_emulator.scanners import cvss, severity
from ecr_emulator.scanners.base import COMPLETE, OS, Cvss, Finding, Report, platform_of
from ecr_emulator.scanners.packages import NODE, PYTHON
from ecr_emulator.scanners.reports import times

# Amazon Inspector's names of what Grype calls types of packages.
_MANAGERS = {
    **dict.fromkeys(("deb", "apk", "rpm", "alpm", "portage"), OS),
    "python": PYTHON,
    "npm": NODE,
    "java-archive": "JAR",
    "gem": "GEMSPEC",
    "go-module": "GOBINARY",
    "rust-crate": "CARGO",
}


def report(document: dict[str, Any]) -> Report:
    """Return the report that Grype's says the same as."""
    system = document.get("distro") or {}
    return Report(
        COMPLETE,
        findings=tuple(_finding(match) for match in document["matches"]),
        platform=platform_of(system["name"], system.get("version", "")) if system.get("name") else None,
        source_updated_at=times.parse(_built((document.get("descriptor") or {}).get("db") or {})),
    )


def _built(database: dict[str, Any]) -> str | None:
    """Return when the database was built; the newer schema has it one level down."""
    return database.get("built") or (database.get("status") or {}).get("built")


def _finding(match: dict[str, Any]) -> Finding:
    found, artifact = match["vulnerability"], match["artifact"]
    related = match.get("relatedVulnerabilities") or []
    described = [found, *related]
    # A GitHub advisory names the CVE that it is of beside.
    name = next((entry["id"] for entry in described if entry["id"].startswith("CVE-")), found["id"])
    location: dict[str, Any] = next(iter(artifact.get("locations") or ()), {})
    scores = tuple(score for entry in described for score in _scores(entry))
    kind = str(artifact.get("type"))
    manager = _MANAGERS.get(kind, kind.upper())
    return Finding(
        name=name,
        severity=severity.choose([found.get("severity")], scores),
        package_name=artifact["name"],
        package_version=artifact.get("version", ""),
        description=next((entry["description"] for entry in described if entry.get("description")), None),
        uri=found.get("dataSource"),
        package_manager=manager,
        package_path=None if manager == OS else location.get("path"),
        package_layer=location.get("layerID"),
        fixed_in=next(iter((found.get("fix") or {}).get("versions") or ()), None),
        cvss=scores,
        references=tuple(found.get("urls") or ()),
        related=tuple(entry["id"] for entry in described if entry["id"] != name),
        source=found.get("namespace"),
        vendor_severity=found.get("severity"),
    )


def _scores(entry: dict[str, Any]) -> Iterator[Cvss]:
    for given in entry.get("cvss") or ():
        vector = given.get("vector", "")
        if scored := cvss.base_score(vector):
            yield Cvss(scored[0], vector, scored[1], given.get("source") or "NVD")
