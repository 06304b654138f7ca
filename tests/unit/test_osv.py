"""Advisories in the OSV format: whom they concern, and what is reported of them."""

import json
import os
import shutil

import pytest

from ecr_emulator.scanners import osv
from ecr_emulator.scanners.base import ScannerSetupError
from ecr_emulator.scanners.database import VulnerabilityDatabase
from ecr_emulator.scanners.packages import Ecosystem, Package, parse_os_release
from ecr_emulator.scanners.readers import apk, dpkg
from tests import scanned_images
from tests.scanned_images import ADVISORIES


def advisory(*ranges, ecosystem="npm", versions=(), **members):
    affected = {
        "package": {"ecosystem": ecosystem, "name": "a"},
        "ranges": list(ranges),
        "versions": list(versions),
    }
    return {"id": "X-1", "affected": [affected], **members}


def events(*pairs, kind="SEMVER"):
    return {"type": kind, "events": [dict([pair]) for pair in pairs]}


FIXED = events(("introduced", "1.2.0"), ("fixed", "1.4.2"))
AGAIN = events(("introduced", "0"), ("fixed", "1.0.1"), ("introduced", "2.0.0"), ("fixed", "2.0.1"))
LAST = events(("introduced", "1.0.0"), ("last_affected", "1.5.0"))
LIMITED = events(("introduced", "1.0.0"), ("limit", "2.0.0"))


@pytest.mark.parametrize(
    ("document", "version", "matches", "fixed_in"),
    [
        (advisory(FIXED), "1.1.9", False, None),
        (advisory(FIXED), "1.2.0", True, "1.4.2"),
        (advisory(FIXED), "1.4.2-rc.1", True, "1.4.2"),
        (advisory(FIXED), "1.4.2", False, None),
        (advisory(AGAIN), "0.0.1-alpha", True, "1.0.1"),
        (advisory(AGAIN), "1.5.0", False, None),
        (advisory(AGAIN), "2.0.0", True, "2.0.1"),
        (advisory(FIXED, AGAIN), "2.0.0", True, "2.0.1"),
        (advisory(LAST), "1.5.0", True, None),
        (advisory(LAST), "1.5.1", False, None),
        (advisory(LIMITED), "1.9.0", True, None),
        (advisory(LIMITED), "2.0.0", False, None),
        (advisory(events(("introduced", "0"), ("limit", "*"))), "9.0.0", True, None),
        (advisory(events(("introduced", "0"))), "9.0.0", True, None),
        (advisory(events(("introduced", "0"), kind="GIT")), "9.0.0", False, None),
        (advisory(events(("introduced", "0"), ("fixed", "no version"))), "9.0.0", True, None),
        (advisory(versions=["3.0.0"]), "3.0.0", True, None),
        (advisory(versions=["3.0.0"]), "3.0.1", False, None),
        (advisory(FIXED), "no version", False, None),
        (advisory(FIXED, withdrawn="2024-01-01T00:00:00Z"), "1.2.0", False, None),
        (advisory(FIXED, ecosystem="PyPI"), "1.2.0", False, None),
        ({"id": "X-1", "affected": [{}]}, "1.2.0", False, None),
    ],
)
def test_a_version_is_concerned_or_is_not(document, version, matches, fixed_in):
    found = osv.match(document, Ecosystem("npm"), "a", version)
    assert (found is not None) is matches
    assert (found and found.fixed_in) == fixed_in


@pytest.mark.parametrize(
    ("stated", "ecosystem", "covers"),
    [
        ("Debian:12", Ecosystem("Debian", "12"), True),
        ("Debian:11", Ecosystem("Debian", "12"), False),
        ("Debian", Ecosystem("Debian", "12"), True),
        ("Ubuntu:22.04:LTS", Ecosystem("Ubuntu", "22.04"), True),
        ("Alpine:v3.18", Ecosystem("Alpine", "v3.18"), True),
        ("Red Hat:enterprise_linux:9::baseos", Ecosystem("Red Hat", "9"), True),
        ("npm", Ecosystem("npm"), True),
        ("PyPI", Ecosystem("npm"), False),
    ],
)
def test_an_ecosystem_has_a_release_or_is_of_all(stated, ecosystem, covers):
    assert ecosystem.covers(stated) is covers


def test_names_of_python_packages_are_normalized():
    document = advisory(FIXED, ecosystem="PyPI")
    document["affected"][0]["package"]["name"] = "Zope.Interface"
    assert osv.match(document, Ecosystem("PyPI"), "zope_interface", "1.3")
    assert list(osv.packages_of(document)) == [("PyPI", "zope-interface")]


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"id": "CVE-2024-0001", "aliases": ["GHSA-x"]}, "CVE-2024-0001"),
        ({"id": "GHSA-x", "aliases": ["PYSEC-1", "CVE-2024-0002"]}, "CVE-2024-0002"),
        ({"id": "DEBIAN-CVE-2024-0003", "upstream": ["CVE-2024-0003"]}, "CVE-2024-0003"),
        ({"id": "DSA-1-1", "upstream": ["CVE-2024-0004", "CVE-2024-0005"]}, "DSA-1-1"),
        ({"id": "RUSTSEC-1"}, "RUSTSEC-1"),
    ],
)
def test_a_finding_is_named_by_its_cve_where_there_is_one(members, name):
    assert osv.cve_of(members) == name


def found(packages, release):
    database = VulnerabilityDatabase(ADVISORIES)
    return {finding.name: finding for finding in database.findings(packages, parse_os_release(release))}


def test_debian_is_matched_by_source_and_release():
    findings = found(dpkg.read(scanned_images.DPKG_STATUS), scanned_images.DEBIAN_RELEASE)
    assert findings.keys() == {"CVE-2023-5363", "CVE-2022-3715"}
    openssl = findings["CVE-2023-5363"]
    assert (openssl.package_name, openssl.package_version, openssl.fixed_in) == (
        "openssl",
        "3.0.9-1",
        "3.0.11-1~deb12u2",
    )
    assert (openssl.severity, openssl.vendor_severity) == ("HIGH", "not yet assigned")
    assert (openssl.cvss[0].score, openssl.cvss[0].source) == (7.5, "DEBIAN")
    assert openssl.uri == "https://security-tracker.debian.org/tracker/CVE-2023-5363"
    assert openssl.related == ("DEBIAN-CVE-2023-5363",)
    bash = findings["CVE-2022-3715"]
    assert (bash.package_version, bash.severity, bash.fixed_in) == ("5.2.15-2", "INFORMATIONAL", None)


def test_alpine_is_matched_by_origin():
    findings = found(apk.read(scanned_images.APK_INSTALLED), scanned_images.ALPINE_RELEASE)
    assert [(finding.package_name, finding.severity) for finding in findings.values()] == [
        ("openssl", "UNDEFINED")
    ]


def test_centos_has_the_advisories_of_red_hat(tmp_path):
    affected = {
        "package": {"ecosystem": "Red Hat:enterprise_linux:7::server", "name": "openssl-libs"},
        "ranges": [events(("introduced", "0"), ("fixed", "1:1.0.2k-25.el7_9"), kind="ECOSYSTEM")],
    }
    (tmp_path / "RHSA-1.json").write_text(json.dumps({"id": "RHSA-1", "affected": [affected]}))
    packages = [Package("openssl-libs", version) for version in ("1:1.0.2k-24.el7_9", "1:1.0.2k-25.el7_9")]
    release = parse_os_release(b'ID="centos"\nVERSION_ID="7"\n')
    (finding,) = VulnerabilityDatabase(tmp_path).findings(packages, release)
    assert (finding.package_version, finding.fixed_in) == ("1:1.0.2k-24.el7_9", "1:1.0.2k-25.el7_9")


def test_packages_of_languages_need_no_system():
    packages = [
        Package("Jinja2", "3.1.2", "PYTHONPKG"),
        Package("lodash", "4.17.20", "NODEPKG"),
        Package("lodash", "4.17.21", "NODEPKG"),
        Package("openssl", "1.0", "OS"),
    ]
    findings = VulnerabilityDatabase(ADVISORIES).findings(packages, None)
    assert [(finding.name, finding.severity) for finding in findings] == [
        ("CVE-2024-22195", "MEDIUM"),
        ("CVE-2021-23337", "HIGH"),
    ]
    assert findings[1].uri == "https://osv.dev/vulnerability/GHSA-35jh-r3h4-6jhm"


def test_several_binaries_of_a_source_make_one_finding():
    packages = [Package(name, "3.0.9-1", source_name="openssl") for name in ("libssl3", "openssl")]
    assert len(found(packages, scanned_images.DEBIAN_RELEASE)) == 1


def test_the_newest_advisory_dates_the_database():
    assert VulnerabilityDatabase(ADVISORIES).modified_at() == 1709251200.0


def test_a_change_of_the_folder_is_seen(tmp_path):
    packages = [Package("lodash", "4.17.20", "NODEPKG")]
    database = VulnerabilityDatabase(tmp_path)
    assert database.findings(packages, None) == []
    path = tmp_path / "npm" / "advisory.json"
    path.parent.mkdir()
    shutil.copy(ADVISORIES / "GHSA-35jh-r3h4-6jhm.json", path)
    assert len(database.findings(packages, None)) == 1
    path.write_text(json.dumps(json.loads(path.read_text()) | {"withdrawn": "2024-01-01T00:00:00Z"}))
    os.utime(path, ns=(1, 1))
    assert database.findings(packages, None) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'"text"', b"\xff", b'{"affected": 1}', b"[" * 100_000])
def test_files_that_are_no_advisories_are_passed_over(tmp_path, content):
    (tmp_path / "broken.json").write_bytes(content)
    database = VulnerabilityDatabase(tmp_path)
    assert database.findings([Package("a", "1", "NODEPKG")], None) == []
    assert database.modified_at() is None


GOOD = json.loads((ADVISORIES / "GHSA-35jh-r3h4-6jhm.json").read_text())


@pytest.mark.parametrize(
    "wrong",
    [
        {"affected": [1]},
        {"affected": [{"package": "lodash"}]},
        {"affected": [GOOD["affected"][0] | {"ranges": 1}]},
        {"affected": [GOOD["affected"][0] | {"ranges": [{"type": "SEMVER", "events": [1]}]}]},
        {"severity": None},
        {"severity": [1]},
        {"references": None},
        {"database_specific": 1},
        {"aliases": 1},
    ],
)
def test_an_advisory_that_breaks_the_schema_hides_no_other(tmp_path, caplog, wrong):
    packages = [Package("lodash", "4.17.20", "NODEPKG")]
    for name, document in (("a", GOOD | wrong), ("b", GOOD)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    (finding,) = VulnerabilityDatabase(tmp_path).findings(packages, None)
    assert finding.name == "CVE-2021-23337"
    assert "can't understand the advisory" in caplog.text
    assert "a.json" in caplog.text


def test_a_database_has_to_be_a_folder(tmp_path):
    with pytest.raises(ScannerSetupError, match="is no folder"):
        VulnerabilityDatabase(tmp_path / "absent")
