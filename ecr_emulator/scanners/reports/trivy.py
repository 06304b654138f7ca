"""Trivy's report (``trivy image --format json``), schema version 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ecr_emulator.scanners import cvss, severity
from ecr_emulator.scanners.base import COMPLETE, OS, Cvss, Finding, Report, platform_of
from ecr_emulator.scanners.packages import NODE, PYTHON
from ecr_emulator.scanners.reports import times

# Amazon Inspector's names of what Trivy calls types of packages.
_MANAGERS = {
    "python-pkg": PYTHON,
    "node-pkg": NODE,
    "jar": "JAR",
    "gemspec": "GEMSPEC",
    "gobinary": "GOBINARY",
    "rustbinary": "CARGO",
}


def report(document: dict[str, Any]) -> Report:
    """Return the report that Trivy's says the same as."""
    metadata = document.get("Metadata") or {}
    system = metadata.get("OS") or {}
    findings = [
        _finding(found, result)
        for result in document.get("Results") or ()
        for found in result.get("Vulnerabilities") or ()
    ]
    return Report(
        COMPLETE,
        findings=tuple(findings),
        platform=platform_of(system["Family"], system.get("Name", "")) if system.get("Family") else None,
    )


def _finding(found: dict[str, Any], result: dict[str, Any]) -> Finding:
    is_system = result.get("Class") == "os-pkgs"
    scores = tuple(_scores(found.get("CVSS") or {}))
    return Finding(
        name=found["VulnerabilityID"],
        severity=severity.choose([found.get("Severity")], scores),
        package_name=found["PkgName"],
        package_version=found.get("InstalledVersion", ""),
        description=found.get("Description") or found.get("Title"),
        uri=found.get("PrimaryURL"),
        package_manager=OS
        if is_system
        else _MANAGERS.get(str(result.get("Type")), str(result.get("Type")).upper()),
        package_path=found.get("PkgPath"),
        package_layer=(found.get("Layer") or {}).get("Digest"),
        fixed_in=found.get("FixedVersion") or None,
        cvss=scores,
        references=tuple(found.get("References") or ()),
        source=found.get("SeveritySource") or (found.get("DataSource") or {}).get("ID"),
        vendor_severity=found.get("Severity"),
        vendor_created_at=times.parse(found.get("PublishedDate")),
        vendor_updated_at=times.parse(found.get("LastModifiedDate")),
    )


def _scores(given: dict[str, dict[str, Any]]) -> Iterator[Cvss]:
    # NVD's first: it is the one that ECR goes by.
    for source in sorted(given, key=lambda name: (name != "nvd", name)):
        for member in ("V40Vector", "V3Vector", "V2Vector"):
            vector = given[source].get(member)
            if vector and (scored := cvss.base_score(vector)):
                yield Cvss(scored[0], vector, scored[1], source.upper())
