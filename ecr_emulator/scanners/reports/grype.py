"""Grype's report (``grype -o json``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ecr_emulator.scanners import cvss, severity
from ecr_emulator.scanners.base import COMPLETE, OS, Cvss, Finding, Report
from ecr_emulator.scanners.packages import NODE, PYTHON, supported_platform
from ecr_emulator.scanners.reports import purls, times

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
# IDs of os-release, by the names that Grype has for systems; all others it calls as os-release does.
_SYSTEMS = {
    "amazonlinux": "amzn",
    "opensuseleap": "opensuse-leap",
    "oraclelinux": "ol",
    "redhat": "rhel",
    "rockylinux": "rocky",
}
_NVD = "NVD"
# Who scores, as Trivy has it too.
_SOURCES = {"": _NVD, "nvd": _NVD, "nvd@nist.gov": _NVD, "github": "GHSA"}


def report(document: dict[str, Any]) -> Report:
    """Return the report that Grype's says the same as.

    It is complete whatever the image is: Grype lists only the packages that match something, so that an image
    of no known system without matches may have packages of languages, or none.
    """
    system = document.get("distro") or {}
    name = system.get("name", "")
    return Report(
        COMPLETE,
        findings=tuple(_finding(match) for match in document["matches"]),
        platform=supported_platform(_SYSTEMS.get(name, name), system.get("version", "")),
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
    # NVD's first: it is the one that ECR goes by.
    told = dict.fromkeys(score for entry in described for score in _scores(entry))
    scores = tuple(sorted(told, key=lambda score: score.source != _NVD))
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
        package_arch=purls.architecture(artifact.get("purl")),
        package_path=None if manager == OS else str(location.get("path", "")).lstrip("/") or None,
        package_layer=location.get("layerID"),
        fixed_in=next(iter((found.get("fix") or {}).get("versions") or ()), None),
        cvss=scores,
        references=tuple(dict.fromkeys(url for entry in described for url in entry.get("urls") or ())),
        related=tuple(entry["id"] for entry in described if entry["id"] != name),
        source=_provider(found) or None,
        vendor_severity=found.get("severity"),
    )


def _scores(entry: dict[str, Any]) -> Iterator[Cvss]:
    for given in entry.get("cvss") or ():
        # A vendor's own scores name no source.
        vector, source = given.get("vector", ""), given.get("source") or _provider(entry)
        if scored := cvss.base_score(vector):
            yield Cvss(scored[0], vector, scored[1], _SOURCES.get(source, source))


def _provider(entry: dict[str, Any]) -> str:
    """Return whose entry it is: the first part of a namespace such as ``debian:distro:debian:12``."""
    return str(entry.get("namespace", "")).partition(":")[0]
