"""Trivy's report (``trivy image --format json``), schema version 2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ecr_emulator.scanners import cvss, severity
from ecr_emulator.scanners.base import COMPLETE, OS, UNSUPPORTED_IMAGE, Cvss, Finding, Report
from ecr_emulator.scanners.packages import NODE, PYTHON, supported_platform
from ecr_emulator.scanners.reports import purls, times

# Amazon Inspector's names of what Trivy calls types of packages.
_MANAGERS = {
    "python-pkg": PYTHON,
    "node-pkg": NODE,
    "jar": "JAR",
    "gemspec": "GEMSPEC",
    "gobinary": "GOBINARY",
    "rustbinary": "CARGO",
}
# IDs of os-release, by the names that Trivy has for systems; all others it calls as os-release does.
_SYSTEMS = {
    "alma": "almalinux",
    "amazon": "amzn",
    "centos-stream": "centos",
    "opensuse.leap": "opensuse-leap",
    "oracle": "ol",
    "redhat": "rhel",
    "suse linux enterprise server": "sles",
}


def report(document: dict[str, Any]) -> Report:
    """Return the report that Trivy's says the same as.

    The image is not supported where Trivy came upon no system that ECR scans and on no packages of languages,
    for each kind of which it has a result, whether or not anything is wrong with them.
    """
    results = document.get("Results") or ()
    findings = [
        _finding(found, result) for result in results for found in result.get("Vulnerabilities") or ()
    ]
    platform = _platform((document.get("Metadata") or {}).get("OS") or {})
    supported = platform or any(result.get("Class") == "lang-pkgs" for result in results)
    return Report(COMPLETE if supported else UNSUPPORTED_IMAGE, findings=tuple(findings), platform=platform)


def _platform(system: dict[str, Any]) -> str | None:
    """Return the platform; ``Name`` is a release, for Amazon Linux with words around it."""
    family = system.get("Family", "")
    release = re.search(r"[\d.]+", system.get("Name", ""))
    return supported_platform(_SYSTEMS.get(family, family), release[0] if release else "")


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
        package_arch=purls.architecture((found.get("PkgIdentifier") or {}).get("PURL")),
        package_path=found.get("PkgPath"),
        package_layer=(found.get("Layer") or {}).get("Digest"),
        fixed_in=found.get("FixedVersion") or None,
        cvss=scores,
        references=tuple(found.get("References") or ()),
        related=tuple(found.get("VendorIDs") or ()),
        source=(found.get("DataSource") or {}).get("ID") or found.get("SeveritySource"),
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
