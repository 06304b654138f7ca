"""Reports of Trivy and Grype, and findings that the user wrote down."""

import json

import pytest

from ecr_emulator.scanners.base import Cvss, Finding, Report, ScannerSetupError
from ecr_emulator.scanners.notes import load
from ecr_emulator.scanners.reports import UnknownReportError, parse

V31 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
OF_GITHUB = "CVSS:3.1/AV:L/AC:H/PR:N/UI:N/S:C/C:H/I:H/A:H"
V40 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
TRIVY = {
    "SchemaVersion": 2,
    "Metadata": {"OS": {"Family": "debian", "Name": "12.5"}},
    "Results": [
        {
            "Target": "layout (debian 12.5)",
            "Class": "os-pkgs",
            "Type": "debian",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-2023-5363",
                    "VendorIDs": ["DSA-5532-1"],
                    "PkgName": "openssl",
                    "PkgIdentifier": {"PURL": "pkg:deb/debian/openssl@3.0.9-1?arch=amd64&distro=debian-12.5"},
                    "InstalledVersion": "3.0.9-1",
                    "FixedVersion": "3.0.11-1",
                    "Layer": {"Digest": "sha256:ab"},
                    "SeveritySource": "nvd",
                    "DataSource": {"ID": "debian", "Name": "Debian Security Tracker"},
                    "PrimaryURL": "https://avd.aquasec.com/nvd/cve-2023-5363",
                    "Title": "short",
                    "Description": "long",
                    "Severity": "HIGH",
                    "CVSS": {
                        "ghsa": {"V3Vector": OF_GITHUB},
                        "nvd": {
                            "V2Vector": "AV:N/AC:L/Au:N/C:P/I:P/A:P",
                            "V2Score": 7.5,
                            "V3Vector": V31,
                            "V3Score": 9.8,
                            "V40Vector": V40,
                            "V40Score": 9.3,
                        },
                    },
                    "References": ["https://example.org"],
                    "PublishedDate": "2023-10-25T18:17:43.613Z",
                }
            ],
        },
        {
            "Target": "Python",
            "Class": "lang-pkgs",
            "Type": "python-pkg",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-2024-22195",
                    "PkgName": "Jinja2",
                    "PkgPath": "usr/lib/METADATA",
                    "PkgIdentifier": {"PURL": "pkg:pypi/jinja2@3.1.2"},
                    "InstalledVersion": "3.1.2",
                    "Severity": "UNKNOWN",
                }
            ],
        },
        {"Target": "secrets", "Class": "secret"},
    ],
}
GRYPE = {
    "matches": [
        {
            "vulnerability": {
                "id": "GHSA-h5c8-rqwp-cp95",
                "dataSource": "https://github.com/advisories/GHSA-h5c8-rqwp-cp95",
                "namespace": "github:language:python",
                "severity": "Medium",
                "description": "of GitHub",
                "urls": [],
                "cvss": [{"version": "3.1", "vector": OF_GITHUB, "metrics": {"baseScore": 8.1}}],
                "fix": {"versions": ["3.1.3"], "state": "fixed"},
            },
            "relatedVulnerabilities": [
                {
                    "id": "CVE-2024-22195",
                    "namespace": "nvd:cpe",
                    "description": "of NVD",
                    "urls": ["https://example.org"],
                    "cvss": [{"source": "nvd@nist.gov", "version": "3.1", "vector": V31}],
                }
            ],
            "artifact": {
                "name": "Jinja2",
                "version": "3.1.2",
                "type": "python",
                "locations": [{"path": "/usr/lib/METADATA", "layerID": "sha256:cd"}],
            },
        },
        {
            "vulnerability": {
                "id": "CVE-2022-3715",
                "namespace": "debian:distro:debian:12",
                "severity": "Negligible",
                # NVD's, told of Debian's advisory too.
                "cvss": [{"source": "nvd@nist.gov", "version": "3.1", "vector": V31}],
                "fix": {"versions": []},
            },
            "relatedVulnerabilities": [
                {
                    "id": "CVE-2022-3715",
                    "namespace": "nvd:cpe",
                    "cvss": [
                        {"source": "nvd@nist.gov", "version": "3.1", "vector": V31},
                        {
                            "source": "cna@vuldb.com",
                            "version": "4.0",
                            "vector": V40,
                            "metrics": {"baseScore": 9.3},
                        },
                    ],
                }
            ],
            "artifact": {
                "name": "bash",
                "version": "5.2.15-2",
                "type": "deb",
                "locations": [{"path": "/var/lib/dpkg/status", "layerID": "sha256:ef"}],
                "purl": "pkg:deb/debian/bash@5.2.15-2?arch=amd64&distro=debian-12.1&upstream=bash%405.2.15",
            },
        },
    ],
    "distro": {"name": "debian", "version": "12.1", "idLike": []},
    "descriptor": {"name": "grype", "db": {"status": {"built": "2024-05-01T01:23:45Z"}}},
}


def test_trivys_report():
    assert parse(json.dumps(TRIVY).encode()) == Report(
        "COMPLETE",
        findings=(
            Finding(
                name="CVE-2023-5363",
                severity="HIGH",
                package_name="openssl",
                package_version="3.0.9-1",
                description="long",
                uri="https://avd.aquasec.com/nvd/cve-2023-5363",
                package_arch="amd64",
                package_layer="sha256:ab",
                fixed_in="3.0.11-1",
                cvss=(
                    Cvss("4.0", V40, 9.3, "NVD"),
                    Cvss("3.1", V31, 9.8, "NVD"),
                    Cvss("2.0", "AV:N/AC:L/Au:N/C:P/I:P/A:P", 7.5, "NVD"),
                    Cvss("3.1", OF_GITHUB, 8.1, "GHSA"),
                ),
                references=("https://example.org",),
                related=("DSA-5532-1",),
                source="debian",
                vendor_severity="HIGH",
                vendor_created_at=1698257863.613,
            ),
            Finding(
                name="CVE-2024-22195",
                severity="UNDEFINED",
                package_name="Jinja2",
                package_version="3.1.2",
                package_manager="PYTHONPKG",
                package_path="usr/lib/METADATA",
                vendor_severity="UNKNOWN",
            ),
        ),
        platform="DEBIAN_12",
    )


def test_grypes_report():
    assert parse(json.dumps(GRYPE).encode()) == Report(
        "COMPLETE",
        findings=(
            Finding(
                name="CVE-2024-22195",
                severity="MEDIUM",
                package_name="Jinja2",
                package_version="3.1.2",
                description="of GitHub",
                uri="https://github.com/advisories/GHSA-h5c8-rqwp-cp95",
                package_manager="PYTHONPKG",
                package_path="usr/lib/METADATA",
                package_layer="sha256:cd",
                fixed_in="3.1.3",
                cvss=(Cvss("3.1", V31, 9.8, "NVD"), Cvss("3.1", OF_GITHUB, 8.1, "GHSA")),
                references=("https://example.org",),
                related=("GHSA-h5c8-rqwp-cp95",),
                source="github",
                vendor_severity="Medium",
            ),
            Finding(
                name="CVE-2022-3715",
                severity="INFORMATIONAL",
                package_name="bash",
                package_version="5.2.15-2",
                package_arch="amd64",
                package_layer="sha256:ef",
                cvss=(Cvss("3.1", V31, 9.8, "NVD"), Cvss("4.0", V40, 9.3, "cna@vuldb.com")),
                source="debian",
                vendor_severity="Negligible",
            ),
        ),
        platform="DEBIAN_12",
        source_updated_at=1714526625.0,
    )


@pytest.mark.parametrize(
    ("family", "name", "platform"),
    [
        ("debian", "12.5", "DEBIAN_12"),
        ("alpine", "3.18.4", "ALPINE_LINUX_3_18_4"),
        ("amazon", "2 (Karoo)", "AMAZON_LINUX_2"),
        ("amazon", "2023.6.20241212 (Amazon Linux)", "AMAZON_LINUX_2023"),
        ("redhat", "9.4", "RHEL_9_4"),
        ("rocky", "9.4", "ROCKY_LINUX_9_4"),
        ("wolfi", "20230201", "WOLFI_20230201"),
        ("azurelinux", "3.0", None),
    ],
)
def test_systems_that_trivy_names(family, name, platform):
    document = {"SchemaVersion": 2, "Metadata": {"OS": {"Family": family, "Name": name}}}
    assert parse(json.dumps(document).encode()).platform == platform


@pytest.mark.parametrize(
    ("name", "version", "platform"),
    [
        ("debian", "12.1", "DEBIAN_12"),
        ("amazonlinux", "2", "AMAZON_LINUX_2"),
        ("oraclelinux", "8.10", "ORACLE_LINUX_8_10"),
        ("opensuseleap", "15.6", "OPENSUSE_LEAP_15_6"),
        ("busybox", "1.36.1", None),
        ("", "", None),
    ],
)
def test_systems_that_grype_names(name, version, platform):
    document = {"matches": [], "distro": {"name": name, "version": version, "idLike": None}}
    assert parse(json.dumps(document).encode()).platform == platform


def trivy(system, *results):
    """What Trivy 0.74 says of an image; it has no Results where it has none."""
    metadata = {
        "Size": 10752,
        "DiffIDs": ["sha256:cd"],
        "ImageConfig": {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}},
        "Layers": [{"Size": 10752, "Digest": "sha256:ab", "DiffID": "sha256:cd"}],
    }
    return {
        "SchemaVersion": 2,
        "Trivy": {"Version": "0.74.0"},
        "CreatedAt": "2026-11-26T12:00:00.123456789Z",
        "ArtifactName": "/tmp/layout",
        "ArtifactType": "container_image",
        "Metadata": metadata | ({"OS": system} if system else {}),
        **({"Results": list(results)} if results else {}),
    }


DEBIAN = {"Family": "debian", "Name": "12.1"}
DEBIAN_PACKAGES = {
    "Target": "/tmp/layout (debian 12.1)",
    "Class": "os-pkgs",
    "Type": "debian",
    "Packages": [{"ID": "zlib1g@1:1.2.13", "Name": "zlib1g", "Version": "1.2.13", "Epoch": 1}],
}
PYTHON_PACKAGES = {
    "Target": "Python",
    "Class": "lang-pkgs",
    "Type": "python-pkg",
    "Packages": [{"Name": "six", "Version": "1.16.0", "FilePath": "usr/lib/six.dist-info/METADATA"}],
}
GO_PROGRAM = {
    "Target": "app",
    "Class": "lang-pkgs",
    "Type": "gobinary",
    "Packages": [{"Name": "stdlib", "Version": "v1.26.0"}],
}
AZURE_PACKAGES = {
    "Target": "/tmp/layout (azurelinux 3.0)",
    "Class": "os-pkgs",
    "Type": "azurelinux",
    "Vulnerabilities": [
        {"VulnerabilityID": "CVE-2024-0001", "PkgName": "zlib", "InstalledVersion": "1", "Severity": "HIGH"}
    ],
}
SECRET = {"Target": "/key.pem", "Class": "secret", "Secrets": [{"RuleID": "private-key"}]}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        # a system that ECR scans, without any findings
        (trivy(DEBIAN, DEBIAN_PACKAGES), "COMPLETE"),
        # one without a package database, or of which packages are not listed
        (trivy(DEBIAN, {**DEBIAN_PACKAGES, "Packages": None}), "COMPLETE"),
        # one whose advisories Trivy does not have, and so no result either
        (trivy({"Family": "fedora", "Name": "42"}), "COMPLETE"),
        # packages of languages on no system, and on one that ECR does not scan
        (trivy(None, PYTHON_PACKAGES), "COMPLETE"),
        (trivy(None, GO_PROGRAM), "COMPLETE"),
        (trivy({"Family": "azurelinux", "Name": "3.0"}, AZURE_PACKAGES, PYTHON_PACKAGES), "COMPLETE"),
        # nothing, as in an image FROM scratch or of BusyBox
        (trivy(None), "UNSUPPORTED_IMAGE"),
        ({"SchemaVersion": 2}, "UNSUPPORTED_IMAGE"),
        ({"SchemaVersion": 2, "Metadata": None, "Results": None}, "UNSUPPORTED_IMAGE"),
        # packages of which nobody knows the system
        (trivy({"Family": "none", "Name": ""}), "UNSUPPORTED_IMAGE"),
        # a system that ECR does not scan alone
        (trivy({"Family": "azurelinux", "Name": "3.0"}, AZURE_PACKAGES), "UNSUPPORTED_IMAGE"),
        # what is found in files is of no packages
        (trivy(None, SECRET), "UNSUPPORTED_IMAGE"),
    ],
)
def test_what_trivy_says_of_an_image_tells_whether_it_is_supported(document, status):
    assert parse(json.dumps(document).encode()).status == status


@pytest.mark.parametrize("name", ["debian", "busybox", "archlinux", ""])
def test_what_grype_says_of_an_image_does_not_tell_that_it_has_no_packages(name):
    document = {
        "matches": [],
        "source": {"type": "image", "target": {"userInput": "/tmp/layout", "layers": []}},
        "distro": {"name": name, "version": "1", "idLike": None},
        "descriptor": {"name": "grype", "version": "0.121.3"},
    }
    report = parse(json.dumps(document).encode())
    assert (report.status, report.findings) == ("COMPLETE", ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"matches": [{}]}',
        b'{"matches": 1}',
        b'{"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{}]}]}',
        b'{"SchemaVersion": 2, "Results": [1]}',
    ],
)
def test_what_is_no_report_is_refused(content):
    with pytest.raises(UnknownReportError):
        parse(content)


def test_findings_that_are_written_down(tmp_path):
    finding = {
        "name": "CVE-2024-0001",
        "severity": "HIGH",
        "attributes": [
            {"key": "package_name", "value": "a"},
            {"key": "package_version", "value": "1.0"},
            {"key": "CVSS3_VECTOR", "value": V31},
            {"key": "CVSS4_VECTOR", "value": V40},
        ],
        "fixedInVersion": "1.1",
    }
    file = tmp_path / "findings.json"
    file.write_text(
        json.dumps({"app:v1": [finding], "sha256:ab": {"status": "FAILED", "description": "because"}})
    )
    assert load(file) == {
        "app:v1": Report(
            "COMPLETE",
            findings=(
                Finding(
                    "CVE-2024-0001",
                    "HIGH",
                    "a",
                    "1.0",
                    fixed_in="1.1",
                    cvss=(Cvss("4.0", V40, 9.3, "NVD"), Cvss("3.1", V31, 9.8, "NVD")),
                ),
            ),
        ),
        "sha256:ab": Report("FAILED", "because"),
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[]", "AttributeError"),
        ("{", "JSONDecodeError"),
        ('{"a:b": 1}', "AttributeError"),
        ('{"a:b": {"status": "DONE"}}', "status must be one of COMPLETE, FAILED"),
        ('{"a:b": [{"name": "x"}]}', "KeyError: 'severity'"),
        ('{"a:b": [{"name": "x", "severity": "BAD"}]}', "severity must be one of CRITICAL, HIGH"),
        ('{"a:b": [{"name": "x", "severity": "LOW", "sevrity": 1}]}', "unknown members: sevrity"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, document, message):
    file = tmp_path / "findings.json"
    file.write_text(document)
    with pytest.raises(ScannerSetupError, match=message):
        load(file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ScannerSetupError, match="can't read the scan findings"):
        load(tmp_path / "absent.json")
