"""Trivy and Grype: as the scanner that the server runs, and as clients that pull what they scan.

Their databases are small but real: made from tests/clients/scanners/advisories by the scanners' own code. The
server distributes Trivy's, as the artifact that it is published as.
"""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import scanned_images
from tests.clients.conftest import TOOLS, Client, find_tool, image_of, root_filesystem
from tests.serving import ROOT, Server, api_of, get, serve

ADVISORIES = ROOT / "tests" / "clients" / "scanners" / "advisories"

# Trivy knows Debian by the file with its version, whatever os-release tells.
DEBIAN_RELEASE = {"etc/os-release": scanned_images.DEBIAN_RELEASE, "etc/debian_version": b"12.1\n"}
ALPINE_RELEASE = {"etc/os-release": scanned_images.ALPINE_RELEASE, "etc/alpine-release": b"3.18.4\n"}
PLAN9_RELEASE = {"etc/os-release": b"ID=plan9\nVERSION_ID=4\n"}
ZLIB = b"Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2.13.dfsg-1\n"
# The layers of images, by name.
IMAGES: dict[str, list[dict[str, bytes]]] = {
    "debian": [DEBIAN_RELEASE | {"var/lib/dpkg/status": scanned_images.DPKG_STATUS}, scanned_images.PYTHON],
    "alpine": [ALPINE_RELEASE | {"lib/apk/db/installed": scanned_images.APK_INSTALLED}],
    "sound": [DEBIAN_RELEASE | {"var/lib/dpkg/status": ZLIB}],
    "plan9": [PLAN9_RELEASE],
    "plan9 with python": [PLAN9_RELEASE, scanned_images.PYTHON],
}
PYTHON_FILE = next(iter(scanned_images.PYTHON))

BASH = "A flaw was found in the bash package, where a heap-buffer overflow can occur."
OPENSSL = "A bug has been identified in the processing of key and initialisation vector (IV) lengths."
BASH_VECTOR = "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"
OPENSSL_VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
JINJA_VECTOR = "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N"
JINJA_VECTOR_OF_GITHUB = "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:U/C:L/I:L/A:N"
COMPLETED = {"status": "COMPLETE", "description": "The scan was completed successfully."}
UNSUPPORTED = "UnsupportedImageError: The operating system and/or package manager are not supported."


@dataclass(frozen=True)
class Scanner:
    """A scanner that has a database, and what it says otherwise than the other."""

    name: str
    env: Mapping[str, str]
    # Where a vulnerability of somebody's advisories is told of.
    page: Callable[[str, str], str]
    # The severity of what Debian calls unimportant.
    unimportant: str

    @property
    def command(self) -> str:
        """The setting that docs/settings.md gives."""
        text = (ROOT / "docs" / "settings.md").read_text()
        [command] = re.findall(rf'--scan-command "({self.name} .*)"', text)
        return command


@pytest.fixture(scope="session")
def trivy(server: Server, ecr: Any, make_client: Callable[..., Client]) -> Scanner:
    """Trivy, with a database that it has from the server."""
    client = make_client("trivydb")
    home = Path(client.env["HOME"])
    client.run(home, ADVISORIES / "trivy.yaml")
    with tarfile.open(home / "db.tar.gz", "w:gz") as archive:
        for name in ("trivy.db", "metadata.json"):
            archive.add(home / name, name)
    (home / "config.json").write_text("{}")
    ecr.create_repository(repositoryName="trivy-db")
    Client(find_tool("oras"), home=home).run(
        *("push", "--plain-http", "--config", "config.json:application/vnd.aquasec.trivy.config.v1+json"),
        f"{server.registry}/trivy-db:2",
        "db.tar.gz:application/vnd.aquasec.trivy.db.layer.v1.tar+gzip",
    )
    env = {"TRIVY_CACHE_DIR": str(home / "cache")}
    Client(find_tool("trivy"), home=home, env=env).run(
        "image", "--download-db-only", "--db-repository", f"{server.registry}/trivy-db"
    )
    ecr.delete_repository(repositoryName="trivy-db", force=True)
    return Scanner(
        "trivy",
        env | {"TRIVY_SKIP_DB_UPDATE": "true"},
        lambda _, name: f"https://avd.aquasec.com/nvd/{name.lower()}",
        "LOW",
    )


@pytest.fixture(scope="session")
def grype(make_client: Callable[..., Client]) -> Scanner:
    """Grype, with a database that it has from an archive."""
    client = make_client("grypedb")
    home = Path(client.env["HOME"])
    client.run(home, ADVISORIES / "grype")
    [archive] = (home / "database").glob("*.tar.gz")
    env = {
        "GRYPE_DB_CACHE_DIR": str(home / "cache"),
        "GRYPE_DB_AUTO_UPDATE": "false",
        "GRYPE_CHECK_FOR_APP_UPDATE": "false",
    }
    Client(find_tool("grype"), home=home, env=env).run("db", "import", archive)
    pages = {
        "debian": "https://security-tracker.debian.org/tracker/{}",
        "alpine": "https://security.alpinelinux.org/vuln/{}",
        "github": "https://github.com/advisories/GHSA-h5c8-rqwp-cp95",
    }
    return Scanner("grype", env, lambda source, name: pages[source].format(name), "INFORMATIONAL")


@pytest.fixture(scope="session", params=["trivy", "grype"])
def scanner(request: pytest.FixtureRequest) -> Scanner:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def crane(make_client: Callable[..., Client]) -> Client:
    return make_client("crane")


@pytest.fixture(scope="session")
def push(crane: Client, write_layout: Callable[..., str], tmp_path_factory: Any) -> Callable[..., str]:
    """Pushes an image of IMAGES, or one of BusyBox; gives its digest."""

    def push(name: str, reference: str, *, crane: Client = crane, docker: bool = False) -> str:
        layers = [scanned_images.layer(files, compress=False) for files in IMAGES.get(name, ())]
        folder = tmp_path_factory.mktemp("image") / "layout"
        digest = write_layout(folder, "v1", image_of(*(layers or [root_filesystem({})]), docker=docker))
        crane.run("push", folder, reference)
        return digest

    return push


# ------------------------------------------------------------------------ as the scanner of the server


@pytest.fixture(scope="module")
def scanning(
    scanner: Scanner, tmp_path_factory: pytest.TempPathFactory, logs: dict[str, Path]
) -> Iterator[Server]:
    """A server that scans with the command that docs/settings.md gives."""
    environment = scanner.env | {"PATH": TOOLS}
    folder = tmp_path_factory.mktemp("scanning")
    with serve(folder, logs, "--scan-command", scanner.command, environment=environment) as server:
        yield server


@dataclass(frozen=True)
class Scans:
    """A repository of a server that scans."""

    server: Server
    ecr: Any
    name: str

    def reference(self, tag: str) -> str:
        return f"{self.server.registry}/{self.name}:{tag}"

    def layers(self, tag: str) -> list[str]:
        """The digests of an image's layers."""
        found = self.ecr.batch_get_image(repositoryName=self.name, imageIds=[{"imageTag": tag}])
        return [layer["digest"] for layer in json.loads(found["images"][0]["imageManifest"])["layers"]]

    def findings(self, tag: str) -> dict[str, Any]:
        """What the scan of an image came to, once it is done."""
        get(f"{self.server.url}/_emulator/run/scans", b"", timeout=60)
        return self.ecr.describe_image_scan_findings(repositoryName=self.name, imageId={"imageTag": tag})

    def start(self, tag: str) -> dict[str, Any]:
        """What a scan by hand comes to."""
        self.ecr.start_image_scan(repositoryName=self.name, imageId={"imageTag": tag})
        return self.findings(tag)


@contextlib.contextmanager
def scans_of(server: Server, **options: Any) -> Iterator[Scans]:
    ecr, name = api_of(server), f"scans/{uuid.uuid4().hex[:12]}"
    ecr.create_repository(repositoryName=name, **options)
    yield Scans(server, ecr, name)
    ecr.delete_repository(repositoryName=name, force=True)


@pytest.fixture
def by_hand(scanning: Server) -> Iterator[Scans]:
    with scans_of(scanning) as scans:
        yield scans


@pytest.fixture
def on_push(scanning: Server) -> Iterator[Scans]:
    with scans_of(scanning, imageScanningConfiguration={"scanOnPush": True}) as scans:
        yield scans


@pytest.fixture
def enhanced(scanning: Server) -> Iterator[Scans]:
    """A repository with enhanced scanning on push."""
    with scans_of(scanning) as scans:
        filters = [{"filter": scans.name, "filterType": "WILDCARD"}]
        rule = {"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": filters}
        scans.ecr.put_registry_scanning_configuration(scanType="ENHANCED", rules=[rule])
        yield scans
        scans.ecr.put_registry_scanning_configuration(scanType="BASIC", rules=[])


def cvss(vector: str, score: float, source: str) -> dict[str, Any]:
    return {"scoringVector": vector, "baseScore": score, "source": source, "version": "3.1"}


def attributes(**values: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def test_a_scan_on_push_finds_what_packages_of_debian_have(scanner, on_push, push):
    digest = push("debian", on_push.reference("v1"), docker=True)
    scanned = on_push.findings("v1")
    assert scanned["imageId"] == {"imageDigest": digest, "imageTag": "v1"}
    assert scanned["imageScanStatus"] == COMPLETED
    found = scanned["imageScanFindings"]
    # Of the operating system alone, in basic scanning.
    assert found["findings"] == [
        {
            "name": "CVE-2023-5363",
            "description": OPENSSL,
            "uri": scanner.page("debian", "CVE-2023-5363"),
            "severity": "HIGH",
            "attributes": attributes(
                package_version="3.0.9-1",
                package_name="libssl3",
                CVSS3_VECTOR=OPENSSL_VECTOR,
                CVSS3_SCORE="7.5",
            ),
        },
        {
            "name": "CVE-2022-3715",
            "description": BASH,
            "uri": scanner.page("debian", "CVE-2022-3715"),
            "severity": scanner.unimportant,
            "attributes": attributes(
                package_version="5.2.15-2+b2",
                package_name="bash",
                CVSS3_VECTOR=BASH_VECTOR,
                CVSS3_SCORE="7.8",
            ),
        },
    ]
    assert found["findingSeverityCounts"] == {"HIGH": 1, scanner.unimportant: 1}


def test_a_scan_by_hand_finds_what_packages_of_alpine_have(scanner, by_hand, push):
    push("alpine", by_hand.reference("v1"))
    found = by_hand.start("v1")["imageScanFindings"]
    assert found["findings"] == [
        {
            "name": "CVE-2023-5363",
            # Alpine describes nothing itself.
            "description": OPENSSL,
            "uri": scanner.page("alpine", "CVE-2023-5363"),
            "severity": "HIGH",
            "attributes": attributes(
                package_version="3.1.0-r0",
                package_name="libcrypto3",
                CVSS3_VECTOR=OPENSSL_VECTOR,
                CVSS3_SCORE="7.5",
            ),
        }
    ]


def test_an_image_without_vulnerabilities_has_no_findings(by_hand, push):
    push("sound", by_hand.reference("v1"))
    scanned = by_hand.start("v1")
    assert scanned["imageScanStatus"] == COMPLETED
    assert scanned["imageScanFindings"]["findings"] == []
    assert scanned["imageScanFindings"]["findingSeverityCounts"] == {}


@pytest.mark.parametrize("name", ["plan9", "busybox"])
def test_a_base_that_is_not_supported_fails_the_scan(by_hand, push, name):
    push(name, by_hand.reference("v1"))
    scanned = by_hand.start("v1")
    assert scanned["imageScanStatus"] == {"status": "FAILED", "description": UNSUPPORTED}
    assert "imageScanFindings" not in scanned


@pytest.mark.parametrize("name", ["plan9", "busybox"])
def test_an_enhanced_scan_of_a_base_that_is_not_supported_is_as_the_report_tells(
    scanner, enhanced, push, name
):
    push(name, enhanced.reference("v1"))
    scanned = enhanced.findings("v1")
    # Grype's does not tell whether there are packages of languages.
    unsupported = {"status": "UNSUPPORTED_IMAGE", "description": UNSUPPORTED}
    assert scanned["imageScanStatus"] == {"trivy": unsupported, "grype": COMPLETED}[scanner.name]
    assert not scanned.get("imageScanFindings", {}).get("enhancedFindings")


def test_an_enhanced_scan_finds_packages_of_languages_on_a_base_that_is_not_supported(enhanced, push):
    push("plan9 with python", enhanced.reference("v1"))
    scanned = enhanced.findings("v1")
    assert scanned["imageScanStatus"] == COMPLETED
    assert scanned["imageScanFindings"]["findingSeverityCounts"] == {"MEDIUM": 1}


def test_an_enhanced_scan_of_an_image_without_vulnerabilities_is_complete(enhanced, push):
    push("sound", enhanced.reference("v1"))
    scanned = enhanced.findings("v1")
    assert scanned["imageScanStatus"] == COMPLETED
    assert scanned["imageScanFindings"]["findingSeverityCounts"] == {}


def test_an_enhanced_scan_finds_what_packages_of_languages_have_too(scanner, enhanced, push):
    digest = push("debian", enhanced.reference("v1"))
    scanned = enhanced.findings("v1")
    assert scanned["imageScanStatus"] == COMPLETED
    found = scanned["imageScanFindings"]
    counts = {"HIGH": 1, "MEDIUM": 1, scanner.unimportant: 1}
    assert found["findingSeverityCounts"] == counts
    [described] = enhanced.ecr.describe_images(repositoryName=enhanced.name)["imageDetails"]
    assert described["imageScanStatus"] == COMPLETED
    assert described["imageScanFindingsSummary"]["findingSeverityCounts"] == counts
    openssl, jinja, bash = found["enhancedFindings"]
    [system_layer, python_layer] = enhanced.layers("v1")

    details = openssl["packageVulnerabilityDetails"]
    assert details["vulnerabilityId"] == "CVE-2023-5363"
    assert details["source"] == "debian"
    assert details["sourceUrl"] == scanner.page("debian", "CVE-2023-5363")
    assert details["referenceUrls"] == ["https://www.openssl.org/news/secadv/20231024.txt"]
    assert details["cvss"][0] == cvss(OPENSSL_VECTOR, 7.5, "NVD")
    assert details["vulnerablePackages"] == [
        {
            "name": "libssl3",
            "epoch": 0,
            "version": "3.0.9",
            "release": "1",
            "arch": "AMD64",
            "packageManager": "OS",
            "sourceLayerHash": system_layer,
            "fixedInVersion": "3.0.11-1~deb12u2",
        }
    ]
    assert (openssl["severity"], openssl["score"], openssl["fixAvailable"]) == ("HIGH", 7.5, "YES")
    assert openssl["scoreDetails"]["cvss"]["scoreSource"] == "NVD"
    assert openssl["remediation"]["recommendation"]["text"] == "Upgrade libssl3 to 3.0.11-1~deb12u2."
    [resource] = openssl["resources"]
    image = resource["details"]["awsEcrContainerImage"]
    assert (image["imageHash"], image["imageTags"]) == (digest, ["v1"])
    assert (image["architecture"], image["platform"]) == ("amd64", "DEBIAN_12")

    details = jinja["packageVulnerabilityDetails"]
    assert details["vulnerabilityId"] == "CVE-2024-22195"
    assert details["sourceUrl"] == scanner.page("github", "CVE-2024-22195")
    assert details["relatedVulnerabilities"] == ["GHSA-h5c8-rqwp-cp95"]
    assert details["cvss"] == [cvss(JINJA_VECTOR, 6.1, "NVD"), cvss(JINJA_VECTOR_OF_GITHUB, 5.4, "GHSA")]
    [package] = details["vulnerablePackages"]
    assert package.pop("name").lower() == "jinja2"
    assert package == {
        "version": "3.1.2",
        "packageManager": "PYTHONPKG",
        "filePath": PYTHON_FILE,
        "sourceLayerHash": python_layer,
        "fixedInVersion": "3.1.3",
    }
    assert (jinja["severity"], jinja["score"], jinja["fixAvailable"]) == ("MEDIUM", 6.1, "YES")

    [package] = bash["packageVulnerabilityDetails"]["vulnerablePackages"]
    assert (package["name"], package["version"], package["release"]) == ("bash", "5.2.15", "2+b2")
    assert (bash["fixAvailable"], package["fixedInVersion"]) == ("NO", "NotAvailable")


def test_a_scan_without_a_database_fails_with_what_the_scanner_says(
    scanner, push, tmp_path, logs: dict[str, Path]
):
    said = {
        "trivy": "--skip-db-update cannot be specified on the first run",
        "grype": "failed to load vulnerability db: database does not exist",
    }
    empty = {"TRIVY_CACHE_DIR": str(tmp_path / "none"), "GRYPE_DB_CACHE_DIR": str(tmp_path / "none")}
    environment = {**scanner.env, **empty, "PATH": TOOLS}
    with (
        serve(tmp_path, logs, "--scan-command", scanner.command, environment=environment) as server,
        scans_of(server) as scans,
    ):
        push("debian", scans.reference("v1"))
        status = scans.start("v1")["imageScanStatus"]
    assert status["status"] == "FAILED"
    assert status["description"].startswith("The scan command has failed with exit code 1: ")
    assert status["description"].endswith(said[scanner.name])


# ------------------------------------------------------------------------ as clients that pull an image


def found_by(report: str) -> set[str]:
    """The packages in which a report's vulnerabilities are."""
    document = json.loads(report)
    if "matches" in document:
        return {match["artifact"]["name"].lower() for match in document["matches"]}
    results = [result.get("Vulnerabilities", []) for result in document["Results"]]
    return {found["PkgName"].lower() for vulnerabilities in results for found in vulnerabilities}


def test_an_image_is_scanned_where_it_is_by_who_has_a_token(
    scanner, make_client, push, token_server, token_password, go_trust
):
    crane = make_client("crane", **go_trust)
    login = ("auth", "login", token_server.registry, "--username", "AWS", "--password-stdin")
    crane.run(*login, stdin=token_password)
    reference = f"{token_server.registry}/app:{scanner.name}"
    push("debian", reference, crane=crane)

    client = make_client(scanner.name, **scanner.env)
    if scanner.name == "trivy":
        scan = ("image", "--scanners", "vuln", "--format", "json", reference)
        credentials = {"TRIVY_USERNAME": "AWS", "TRIVY_PASSWORD": token_password}
    else:
        scan = ("--output", "json", f"registry:{reference}")
        credentials = {
            "GRYPE_REGISTRY_AUTH_AUTHORITY": token_server.registry,
            "GRYPE_REGISTRY_AUTH_USERNAME": "AWS",
            "GRYPE_REGISTRY_AUTH_PASSWORD": token_password,
        }
    reach = go_trust or {"GRYPE_REGISTRY_INSECURE_USE_HTTP": "true"}
    assert found_by(client.run(*scan, **reach, **credentials)) == {"libssl3", "bash", "jinja2"}
    logged_in = {"DOCKER_CONFIG": str(Path(crane.env["HOME"], ".docker"))}
    assert found_by(client.run(*scan, **reach, **logged_in)) == {"libssl3", "bash", "jinja2"}
    assert "UNAUTHORIZED" in client.fail(*scan, **reach)
