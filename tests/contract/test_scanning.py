"""Image scans: configurations, scans on push, on demand and continuous, findings, and their limits."""

import gzip
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest

from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests import scanned_images
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import OCI_CONFIG, OCI_INDEX, connect, image_manifest, sha256, upload_layer
from tests.scanned_images import ADVISORIES, DEBIAN, NODE, PYTHON, layer

# For the credentials that clients want to have.
pytestmark = pytest.mark.usefixtures("ecr_registry")

DAY = 24 * 3600
REGISTRY = {"repositoryName": "app"}
AWS = Path(sys.executable).with_name("aws")
UNSUPPORTED = "UnsupportedImageError: The operating system and/or package manager are not supported."
DONE = {"status": "COMPLETE", "description": "The scan was completed successfully."}


def settings(**changed):
    return Settings(data_dir=MEMORY, port=0, engines="off", **changed)


def serving(**changed):
    """A server, and a client of it."""
    with BackgroundServer(settings(**changed)) as running, unblocked_loop():
        yield running


@pytest.fixture(scope="module")
def scanning_server():
    with BackgroundServer(settings(vulnerability_database=str(ADVISORIES))) as running:
        yield running


@pytest.fixture
def server(scanning_server):
    """A server with a vulnerability database, whose engines run when they are told to."""
    scanning_server.reset()
    with unblocked_loop():
        yield scanning_server


def client_of(running, region="us-east-1"):
    return boto3.client("ecr", endpoint_url=running.url, region_name=region)


@pytest.fixture
def ecr(server):
    return client_of(server)


def push(client, *contents, tag="v1", repository="app", config=b'{"architecture": "amd64", "os": "linux"}'):
    """Push an image of some layers and return its digest."""
    digests = {sha256(content) for content in (config, *contents)}
    checked = client.batch_check_layer_availability(repositoryName=repository, layerDigests=list(digests))
    present = {
        entry["layerDigest"] for entry in checked["layers"] if entry["layerAvailability"] == "AVAILABLE"
    }
    for content in {sha256(content): content for content in (config, *contents)}.values():
        if sha256(content) not in present:
            upload_layer(client, repository, content)
    manifest = image_manifest(config, *contents)
    client.put_image(repositoryName=repository, imageManifest=manifest.decode(), imageTag=tag)
    return sha256(manifest)


def run_scans(running):
    return running.manage("run/scans", {})["done"]


def findings_of(client, tag="v1", **members):
    return client.describe_image_scan_findings(**REGISTRY, imageId={"imageTag": tag}, **members)


def refusal(client, operation, **members):
    with pytest.raises(client.exceptions.ClientError) as raised:
        getattr(client, operation)(**members)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def rule(frequency, *filters):
    entries = [{"filter": pattern, "filterType": "WILDCARD"} for pattern in filters]
    return {"scanFrequency": frequency, "repositoryFilters": entries}


def enhance(client, *rules):
    client.put_registry_scanning_configuration(scanType="ENHANCED", rules=list(rules))


# Configurations


def test_a_registry_begins_with_basic_scanning_without_rules(ecr):
    answer = ecr.get_registry_scanning_configuration()
    assert answer["registryId"] == "000000000000"
    assert answer["scanningConfiguration"] == {"scanType": "BASIC", "rules": []}


def test_enhanced_scanning_without_rules_is_continuous_for_all(ecr):
    ecr.create_repository(repositoryName="app")
    answer = ecr.put_registry_scanning_configuration(scanType="ENHANCED")
    configured = {"scanType": "ENHANCED", "rules": [rule("CONTINUOUS_SCAN", "*")]}
    assert answer["registryScanningConfiguration"] == configured
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"] == configured
    (found,) = ecr.batch_get_repository_scanning_configuration(repositoryNames=["app"])[
        "scanningConfigurations"
    ]
    assert (found["scanFrequency"], found["appliedScanFilters"]) == (
        "CONTINUOUS_SCAN",
        [{"filter": "*", "filterType": "WILDCARD"}],
    )
    # An empty list is that there are none.
    for scan_type, rules in (("ENHANCED", {"rules": []}), ("BASIC", {})):
        answer = ecr.put_registry_scanning_configuration(scanType=scan_type, **rules)
        assert answer["registryScanningConfiguration"] == {"scanType": scan_type, "rules": []}


def test_a_configuration_is_kept_for_its_region(server, ecr):
    rules = [rule("SCAN_ON_PUSH", "prod*"), rule("CONTINUOUS_SCAN", "web", "api")]
    put = ecr.put_registry_scanning_configuration(scanType="ENHANCED", rules=rules)
    assert put["registryScanningConfiguration"] == {"scanType": "ENHANCED", "rules": rules}
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"] == {
        "scanType": "ENHANCED",
        "rules": rules,
    }
    elsewhere = client_of(server, "eu-west-1").get_registry_scanning_configuration()
    assert elsewhere["scanningConfiguration"]["scanType"] == "BASIC"
    ecr.put_registry_scanning_configuration()
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"] == {
        "scanType": "BASIC",
        "rules": [],
    }


@pytest.mark.parametrize(
    ("scan_type", "rules", "constraint"),
    [
        (
            "BASIC",
            [rule("CONTINUOUS_SCAN", "*")],
            "scan frequency CONTINUOUS_SCAN is not supported with scan type BASIC",
        ),
        ("ENHANCED", [rule("MANUAL", "*")], "scan frequency MANUAL is not supported with scan type ENHANCED"),
        (
            "BASIC",
            [rule("SCAN_ON_PUSH", "a"), rule("SCAN_ON_PUSH", "b")],
            "each scan frequency can have one rule only",
        ),
    ],
)
def test_rules_that_do_not_fit_are_refused(ecr, scan_type, rules, constraint):
    code, message = refusal(ecr, "put_registry_scanning_configuration", scanType=scan_type, rules=rules)
    assert code == "InvalidParameterException"
    assert message == f"Invalid parameter at 'rules' failed to satisfy constraint: '{constraint}'"
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"]["rules"] == []


def test_a_filter_that_can_match_no_repository_is_refused(ecr):
    code, message = refusal(ecr, "put_registry_scanning_configuration", rules=[rule("SCAN_ON_PUSH", "UPPER")])
    assert code == "InvalidParameterException"
    assert "repositoryFilters.1.member.filter" in message


def test_repositories_tell_how_they_are_scanned(ecr):
    for name in ("prod", "dev", "own"):
        ecr.create_repository(repositoryName=name)
    put = ecr.put_image_scanning_configuration(
        repositoryName="own", imageScanningConfiguration={"scanOnPush": True}
    )
    assert put["imageScanningConfiguration"] == {"scanOnPush": True}
    described = ecr.describe_repositories(repositoryNames=["own"])["repositories"][0]
    assert described["imageScanningConfiguration"] == {"scanOnPush": True}
    ecr.put_registry_scanning_configuration(rules=[rule("SCAN_ON_PUSH", "pro*")])
    answer = ecr.batch_get_repository_scanning_configuration(repositoryNames=["prod", "absent", "dev", "own"])
    arn = "arn:aws:ecr:us-east-1:000000000000:repository/"
    assert answer["scanningConfigurations"] == [
        {
            "repositoryArn": f"{arn}prod",
            "repositoryName": "prod",
            "scanOnPush": False,
            "scanFrequency": "SCAN_ON_PUSH",
            "appliedScanFilters": [{"filter": "pro*", "filterType": "WILDCARD"}],
        },
        {
            "repositoryArn": f"{arn}dev",
            "repositoryName": "dev",
            "scanOnPush": False,
            "scanFrequency": "MANUAL",
            "appliedScanFilters": [],
        },
        {
            "repositoryArn": f"{arn}own",
            "repositoryName": "own",
            "scanOnPush": True,
            "scanFrequency": "SCAN_ON_PUSH",
            "appliedScanFilters": [],
        },
    ]
    assert answer["failures"] == [
        {
            "repositoryName": "absent",
            "failureCode": "REPOSITORY_NOT_FOUND",
            "failureReason": "REPOSITORY_NOT_FOUND",
        }
    ]


# Basic scans


@pytest.fixture
def repository(ecr):
    ecr.create_repository(repositoryName="app")


def test_a_scan_by_hand_finds_what_the_layers_have(server, ecr, repository):
    digest = push(ecr, layer(DEBIAN), layer(PYTHON))
    started = ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    assert started["imageScanStatus"] == {"status": "IN_PROGRESS"}
    assert started["imageId"] == {"imageDigest": digest, "imageTag": "v1"}
    waiting = findings_of(ecr)
    assert waiting["imageScanStatus"] == {"status": "IN_PROGRESS"}
    assert "imageScanFindings" not in waiting

    assert run_scans(server) == 1
    answer = findings_of(ecr)
    assert answer["imageId"] == {"imageDigest": digest, "imageTag": "v1"}
    assert answer["imageScanStatus"] == DONE
    found = answer["imageScanFindings"]
    # Of the operating system only, the worst first.
    assert [finding["name"] for finding in found["findings"]] == ["CVE-2023-5363", "CVE-2022-3715"]
    assert found["findings"][0] == {
        "name": "CVE-2023-5363",
        "description": "A bug has been identified in the processing of key lengths.",
        "uri": "https://security-tracker.debian.org/tracker/CVE-2023-5363",
        "severity": "HIGH",
        "attributes": [
            {"key": "package_version", "value": "3.0.9-1"},
            {"key": "package_name", "value": "openssl"},
            {"key": "CVSS3_VECTOR", "value": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"},
            {"key": "CVSS3_SCORE", "value": "7.5"},
        ],
    }
    assert found["findingSeverityCounts"] == {"HIGH": 1, "INFORMATIONAL": 1}
    assert found["vulnerabilitySourceUpdatedAt"].timestamp() == 1709251200
    (image,) = ecr.describe_images(**REGISTRY)["imageDetails"]
    assert not image.keys() & {"imageScanStatus", "imageScanFindingsSummary"}


def test_findings_come_in_pages(server, ecr, repository):
    push(ecr, layer(DEBIAN))
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    run_scans(server)
    paginator = ecr.get_paginator("describe_image_scan_findings")
    pages = list(paginator.paginate(**REGISTRY, imageId={"imageTag": "v1"}, PaginationConfig={"PageSize": 1}))
    assert [[entry["name"] for entry in page["imageScanFindings"]["findings"]] for page in pages] == [
        ["CVE-2023-5363"],
        ["CVE-2022-3715"],
    ]
    token = pages[0]["nextToken"]
    push(ecr, layer(DEBIAN | {"x": b"another image"}), tag="v2")
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v2"})
    code, message = refusal(
        ecr, "describe_image_scan_findings", **REGISTRY, imageId={"imageTag": "v2"}, nextToken=token
    )
    assert (code, "nextToken" in message) == ("InvalidParameterException", True)


def test_an_image_has_one_scan_a_day(server, ecr, repository):
    digest = push(ecr, layer(DEBIAN))
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    quota = ("LimitExceededException", "The scan quota per image has been exceeded. Wait and try again.")
    for image_id in ({"imageTag": "v1"}, {"imageDigest": digest}):
        assert refusal(ecr, "start_image_scan", **REGISTRY, imageId=image_id) == quota
    run_scans(server)
    server.advance_clock(DAY - 60)
    assert refusal(ecr, "start_image_scan", **REGISTRY, imageId={"imageTag": "v1"}) == quota
    server.advance_clock(60)
    ecr.start_image_scan(**REGISTRY, imageId={"imageDigest": digest})
    assert findings_of(ecr)["imageScanStatus"]["status"] == "IN_PROGRESS"
    assert run_scans(server) == 1
    assert findings_of(ecr)["imageScanFindings"]["findingSeverityCounts"] == {"HIGH": 1, "INFORMATIONAL": 1}


@pytest.mark.parametrize("by", ["repository", "registry"])
def test_a_push_sets_off_a_scan_where_that_is_set(server, ecr, repository, by):
    if by == "repository":
        ecr.put_image_scanning_configuration(**REGISTRY, imageScanningConfiguration={"scanOnPush": True})
    else:
        ecr.put_registry_scanning_configuration(rules=[rule("SCAN_ON_PUSH", "ap*")])
    ecr.create_repository(repositoryName="other")
    push(ecr, layer(DEBIAN))
    push(ecr, layer(DEBIAN), repository="other")
    assert findings_of(ecr)["imageScanStatus"]["status"] == "IN_PROGRESS"
    assert run_scans(server) == 1
    assert findings_of(ecr)["imageScanStatus"]["status"] == "COMPLETE"
    code, _ = refusal(ecr, "start_image_scan", **REGISTRY, imageId={"imageTag": "v1"})
    assert code == "LimitExceededException"
    # Another tag of the image is no new image; a day later it is scanned again.
    push(ecr, layer(DEBIAN), tag="v2")
    assert run_scans(server) == 0
    server.advance_clock(DAY)
    push(ecr, layer(DEBIAN), tag="v3")
    assert run_scans(server) == 1


def test_a_push_on_the_data_plane_sets_off_a_scan_too(server, ecr):
    import urllib.request

    ecr.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
    content, config = layer(DEBIAN), b"{}"
    for blob in (content, config):
        upload_layer(ecr, "app", blob)
    manifest = image_manifest(config, content)
    request = urllib.request.Request(
        f"{server.url}/v2/app/manifests/v1",
        manifest,
        {"Content-Type": "application/vnd.oci.image.manifest.v1+json"},
        method="PUT",
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 201
    assert run_scans(server) == 1
    assert len(findings_of(ecr)["imageScanFindings"]["findings"]) == 2


def test_an_image_that_was_never_scanned_has_no_scan(ecr, repository):
    digest = push(ecr, layer(DEBIAN))
    for image_id, text in (
        ({"imageTag": "v1"}, "{imageDigest:'null', imageTag:'v1'}"),
        ({"imageDigest": digest}, f"{{imageDigest:'{digest}', imageTag:'null'}}"),
    ):
        assert refusal(ecr, "describe_image_scan_findings", **REGISTRY, imageId=image_id) == (
            "ScanNotFoundException",
            f"Image scan does not exist for the image with '{text}' in the repository with name 'app' in the "
            "registry with id '000000000000'",
        )
    (image,) = ecr.describe_images(**REGISTRY)["imageDetails"]
    assert not image.keys() & {"imageScanStatus", "imageScanFindingsSummary"}


@pytest.mark.parametrize("operation", ["start_image_scan", "describe_image_scan_findings"])
@pytest.mark.parametrize(
    ("name", "image_id", "code"),
    [
        ("absent", {"imageTag": "v1"}, "RepositoryNotFoundException"),
        ("app", {"imageTag": "absent"}, "ImageNotFoundException"),
        ("app", {"imageDigest": "sha256:" + "0" * 64}, "ImageNotFoundException"),
        ("app", {}, "InvalidParameterException"),
        ("app", {"imageDigest": "sha256:0"}, "InvalidParameterException"),
    ],
)
def test_a_scan_needs_its_image(ecr, repository, operation, name, image_id, code):
    assert refusal(ecr, operation, repositoryName=name, imageId=image_id)[0] == code


def test_a_setting_needs_its_repository(ecr):
    code, _ = refusal(
        ecr,
        "put_image_scanning_configuration",
        repositoryName="absent",
        imageScanningConfiguration={"scanOnPush": True},
    )
    assert code == "RepositoryNotFoundException"


def test_what_is_no_container_image_can_not_be_scanned(ecr, repository):
    digest = push(ecr, layer(DEBIAN))
    size = len(
        ecr.batch_get_image(**REGISTRY, imageIds=[{"imageDigest": digest}])["images"][0]["imageManifest"]
    )
    child = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]})
    ecr.put_image(**REGISTRY, imageManifest=index, imageTag="index")
    chart = b"{}"
    upload_layer(ecr, "app", chart)
    helm = "application/vnd.cncf.helm.config.v1+json"
    manifest = image_manifest(chart, layer(DEBIAN)).decode().replace(OCI_CONFIG, helm)
    ecr.put_image(**REGISTRY, imageManifest=manifest, imageTag="chart")
    for tag, media_type in (("index", OCI_INDEX), ("chart", helm)):
        assert refusal(ecr, "start_image_scan", **REGISTRY, imageId={"imageTag": tag}) == (
            "UnsupportedImageTypeException",
            f"An artifact with media type '{media_type}' cannot be scanned. For more information, see the "
            "Amazon ECR documentation.",
        )


@pytest.mark.parametrize("files", [{"bin/tool": b"of no distribution"}, PYTHON])
def test_an_image_of_no_known_system_fails(server, ecr, repository, files):
    push(ecr, layer(files))
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    run_scans(server)
    answer = findings_of(ecr)
    assert answer["imageScanStatus"] == {"status": "FAILED", "description": UNSUPPORTED}
    assert "imageScanFindings" not in answer


def test_layers_that_are_no_archives_fail(server, ecr, repository):
    push(ecr, b"no archive")
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    run_scans(server)
    status = findings_of(ecr)["imageScanStatus"]
    assert status["status"] == "FAILED"
    assert status["description"].startswith(f"The layer {sha256(b'no archive')} can't be read")


def test_a_scan_of_an_image_that_is_gone_ends(server, ecr, repository):
    push(ecr, layer(DEBIAN))
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    ecr.batch_delete_image(**REGISTRY, imageIds=[{"imageTag": "v1"}])
    run_scans(server)
    assert run_scans(server) == 0
    # The same image pushed again has the scans of no other.
    push(ecr, layer(DEBIAN))
    assert refusal(ecr, "describe_image_scan_findings", **REGISTRY, imageId={"imageTag": "v1"})[0] == (
        "ScanNotFoundException"
    )
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})


def archive(client, tag="v1", storage_class="ARCHIVE"):
    client.update_image_storage_class(**REGISTRY, imageId={"imageTag": tag}, targetStorageClass=storage_class)


def test_an_archived_image_can_not_be_scanned(server, ecr, repository):
    push(ecr, layer(DEBIAN))
    archive(ecr)
    assert refusal(ecr, "start_image_scan", **REGISTRY, imageId={"imageTag": "v1"}) == (
        "ImageArchivedException",
        "The image with imageId {imageDigest:'null', imageTag:'v1'} within the repository with name 'app' "
        "in the registry with id '000000000000' is archived and cannot be scanned",
    )
    assert run_scans(server) == 0


def test_an_image_that_is_archived_shows_its_findings_when_it_is_restored(server, ecr, repository):
    push(ecr, layer(DEBIAN))
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    archive(ecr)
    run_scans(server)
    answer = findings_of(ecr)
    assert answer["imageScanStatus"]["status"] == "IMAGE_ARCHIVED"
    assert "imageScanFindings" not in answer
    archive(ecr, storage_class="STANDARD")
    server.manage("run/archive", {})
    assert len(findings_of(ecr)["imageScanFindings"]["findings"]) == 2


# Enhanced scans


def test_enhanced_scanning_finds_packages_of_languages_too(server, ecr, repository):
    enhance(ecr, rule("SCAN_ON_PUSH", "*"))
    before = time.time()
    digest = push(ecr, lower := layer(DEBIAN), layer(NODE))
    assert findings_of(ecr)["imageScanStatus"]["status"] == "PENDING"
    run_scans(server)
    answer = findings_of(ecr)
    assert answer["imageScanStatus"]["status"] == "COMPLETE"
    found = answer["imageScanFindings"]
    assert "findings" not in found
    assert found["findingSeverityCounts"] == {"HIGH": 2, "INFORMATIONAL": 1}
    titles = [finding["title"] for finding in found["enhancedFindings"]]
    assert titles == ["CVE-2021-23337 - lodash", "CVE-2023-5363 - openssl", "CVE-2022-3715 - bash"]
    lodash, openssl, _ = found["enhancedFindings"]
    assert before - 1 < openssl["firstObservedAt"].timestamp() <= openssl["lastObservedAt"].timestamp()
    assert openssl["findingArn"].startswith("arn:aws:inspector2:us-east-1:000000000000:finding/")
    assert openssl["packageVulnerabilityDetails"] | {"cvss": None} == {
        "cvss": None,
        "referenceUrls": ["https://security-tracker.debian.org/tracker/CVE-2023-5363"],
        "relatedVulnerabilities": ["DEBIAN-CVE-2023-5363"],
        "source": "Debian",
        "sourceUrl": "https://security-tracker.debian.org/tracker/CVE-2023-5363",
        "vendorCreatedAt": openssl["packageVulnerabilityDetails"]["vendorCreatedAt"],
        "vendorSeverity": "not yet assigned",
        "vendorUpdatedAt": openssl["packageVulnerabilityDetails"]["vendorUpdatedAt"],
        "vulnerabilityId": "CVE-2023-5363",
        "vulnerablePackages": [
            {
                "arch": "AMD64",
                "epoch": 0,
                "name": "openssl",
                "version": "3.0.9",
                "release": "1",
                "packageManager": "OS",
                "sourceLayerHash": sha256(lower),
                "fixedInVersion": "3.0.11-1~deb12u2",
            }
        ],
    }
    assert (openssl["score"], openssl["severity"], openssl["fixAvailable"]) == (7.5, "HIGH", "YES")
    assert openssl["scoreDetails"]["cvss"]["score"] == 7.5
    (resource,) = openssl["resources"]
    assert resource["id"] == f"arn:aws:ecr:us-east-1:000000000000:repository/app/{digest}"
    image = resource["details"]["awsEcrContainerImage"]
    assert (image["architecture"], image["platform"], image["imageTags"]) == ("amd64", "DEBIAN_12", ["v1"])
    (package,) = lodash["packageVulnerabilityDetails"]["vulnerablePackages"]
    assert (package["packageManager"], package["filePath"]) == ("NODEPKG", *NODE)


def test_images_are_described_with_their_enhanced_scans(server, ecr, repository):
    enhance(ecr, rule("SCAN_ON_PUSH", "*"))
    push(ecr, layer(DEBIAN))
    (image,) = ecr.describe_images(**REGISTRY)["imageDetails"]
    assert image["imageScanStatus"] == {"status": "PENDING"}
    assert "imageScanFindingsSummary" not in image
    run_scans(server)
    (image,) = ecr.describe_images(**REGISTRY)["imageDetails"]
    answer = findings_of(ecr)
    assert image["imageScanStatus"] == answer["imageScanStatus"]
    assert image["imageScanFindingsSummary"] == {
        key: value for key, value in answer["imageScanFindings"].items() if key != "enhancedFindings"
    }


CVSS_31 = "CVSS:3.1/AV:L/AC:H/PR:N/UI:N/S:U/C:L/I:N/A:N"
CVSS_40 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H"


def test_a_score_of_cvss_4_decides_on_the_severity(tmp_path):
    severities = [{"type": "CVSS_V3", "score": CVSS_31}, {"type": "CVSS_V4", "score": CVSS_40}]
    affected = {
        "package": {"ecosystem": "Debian:12", "name": "openssl"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
    }
    advisory = {"id": "CVE-2024-0002", "severity": severities, "affected": [affected]}
    (tmp_path / "advisory.json").write_text(json.dumps(advisory))
    for server in serving(vulnerability_database=str(tmp_path)):
        ecr = client_of(server)
        ecr.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
        push(ecr, layer(DEBIAN))
        run_scans(server)
        found = findings_of(ecr)["imageScanFindings"]
        (basic,) = found["findings"]
        assert (basic["severity"], found["findingSeverityCounts"]) == ("CRITICAL", {"CRITICAL": 1})
        attributes = {pair["key"]: pair["value"] for pair in basic["attributes"]}
        assert attributes["CVSS4_VECTOR"] == CVSS_40
        assert (attributes["CVSS4_SCORE"], attributes["CVSS3_SCORE"]) == ("10.0", "2.9")

        enhance(ecr, rule("SCAN_ON_PUSH", "*"))
        run_scans(server)
        (enhanced,) = findings_of(ecr)["imageScanFindings"]["enhancedFindings"]
        assert (enhanced["severity"], enhanced["score"]) == ("CRITICAL", 10.0)
        scored = {"scoringVector": CVSS_40, "version": "4.0"}
        listed = enhanced["packageVulnerabilityDetails"]["cvss"]
        assert listed[1] == scored | {"baseScore": 10.0, "source": "CVE"}
        assert listed[0]["version"] == "3.1"
        detail = enhanced["scoreDetails"]["cvss"]
        assert detail == scored | {"adjustments": [], "score": 10.0, "scoreSource": "CVE"}


def test_a_severity_that_nobody_gave_is_untriaged(server, ecr, repository):
    enhance(ecr, rule("SCAN_ON_PUSH", "*"))
    alpine = {
        "etc/os-release": scanned_images.ALPINE_RELEASE,
        "lib/apk/db/installed": scanned_images.APK_INSTALLED,
    }
    push(ecr, layer(alpine))
    run_scans(server)
    found = findings_of(ecr)["imageScanFindings"]
    assert found["enhancedFindings"][0]["severity"] == "UNTRIAGED"
    assert found["findingSeverityCounts"] == {"UNTRIAGED": 1}


def test_an_image_without_packages_is_unsupported(server, ecr, repository):
    enhance(ecr, rule("SCAN_ON_PUSH", "*"))
    push(ecr, layer({"bin/tool": b""}))
    push(ecr, layer(PYTHON), tag="python")
    run_scans(server)
    assert findings_of(ecr)["imageScanStatus"]["status"] == "UNSUPPORTED_IMAGE"
    assert findings_of(ecr, "python")["imageScanFindings"]["findingSeverityCounts"] == {"MEDIUM": 1}


def test_no_scan_is_started_by_hand_while_scanning_is_enhanced(ecr, repository):
    push(ecr, layer(DEBIAN))
    enhance(ecr, rule("CONTINUOUS_SCAN", "*"))
    assert refusal(ecr, "start_image_scan", **REGISTRY, imageId={"imageTag": "v1"}) == (
        "ValidationException",
        "This feature is disabled",
    )


def govern(server, enabled, **scope):
    return server.manage("organization-policy", {"ecr_scanning": enabled, **scope})


def scanning_of(ecr):
    found = ecr.get_registry_scanning_configuration()["scanningConfiguration"]
    rules = [
        (rule["scanFrequency"], [entry["filter"] for entry in rule["repositoryFilters"]])
        for rule in found["rules"]
    ]
    return found["scanType"], rules


BLOCKED = (
    "BlockedByOrganizationPolicyException",
    "The operation did not succeed because the account is managed by an organization policy.",
)


def test_a_policy_of_the_organization_turns_enhanced_scanning_on_and_keeps_it_so(server, ecr, repository):
    push(ecr, layer(DEBIAN | NODE))
    govern(server, True)
    assert scanning_of(ecr) == ("ENHANCED", [("CONTINUOUS_SCAN", ["*"])])
    run_scans(server)
    assert findings_of(ecr)["imageScanStatus"]["status"] == "ACTIVE"
    for basic in ({}, {"scanType": "BASIC"}, {"scanType": "BASIC", "rules": [rule("SCAN_ON_PUSH", "*")]}):
        assert refusal(ecr, "put_registry_scanning_configuration", **basic) == BLOCKED
    assert scanning_of(ecr) == ("ENHANCED", [("CONTINUOUS_SCAN", ["*"])])
    # Which repositories are scanned, and how often, is no matter of the policy.
    enhance(ecr, rule("SCAN_ON_PUSH", "app"))
    govern(server, True)
    assert scanning_of(ecr) == ("ENHANCED", [("SCAN_ON_PUSH", ["app"])])


def test_a_policy_of_the_organization_turns_enhanced_scanning_off(server, ecr):
    enhance(ecr, rule("CONTINUOUS_SCAN", "*"))
    govern(server, False)
    assert scanning_of(ecr) == ("BASIC", [])
    assert refusal(ecr, "put_registry_scanning_configuration", scanType="ENHANCED") == BLOCKED
    ecr.put_registry_scanning_configuration(scanType="BASIC", rules=[rule("SCAN_ON_PUSH", "app")])
    assert scanning_of(ecr) == ("BASIC", [("SCAN_ON_PUSH", ["app"])])


def test_without_the_policy_scanning_is_the_accounts_own_again(server, ecr):
    govern(server, True)
    govern(server, None)
    assert scanning_of(ecr)[0] == "ENHANCED"
    ecr.put_registry_scanning_configuration(scanType="BASIC")
    govern(server, True)
    server.reset()
    ecr.put_registry_scanning_configuration(scanType="BASIC")


@pytest.mark.parametrize("scope", [{"account": "111111111111"}, {"region": "eu-west-1"}])
def test_a_policy_of_the_organization_is_for_one_registry(server, ecr, scope):
    answer = govern(server, True, **scope)
    assert answer == {"account": "000000000000", "region": "us-east-1", "ecr_scanning": True, **scope}
    ecr.put_registry_scanning_configuration(scanType="BASIC")
    there = connect(server.url, answer["account"], answer["region"])
    assert refusal(there, "put_registry_scanning_configuration", scanType="BASIC") == BLOCKED


def test_only_repositories_that_match_are_scanned(server, ecr, repository):
    ecr.put_image_scanning_configuration(**REGISTRY, imageScanningConfiguration={"scanOnPush": True})
    enhance(ecr, rule("SCAN_ON_PUSH", "other*"))
    push(ecr, layer(DEBIAN))
    run_scans(server)
    assert refusal(ecr, "describe_image_scan_findings", **REGISTRY, imageId={"imageTag": "v1"})[0] == (
        "ScanNotFoundException"
    )


def test_enhanced_scanning_takes_up_the_images_of_the_last_30_days(server, ecr, repository):
    push(ecr, layer(DEBIAN), tag="old")
    server.advance_clock(31 * DAY)
    push(ecr, layer(DEBIAN | NODE), tag="new")
    enhance(ecr, rule("SCAN_ON_PUSH", "app"))
    run_scans(server)
    assert findings_of(ecr, "new")["imageScanStatus"]["status"] == "COMPLETE"
    answer = findings_of(ecr, "old")
    assert answer["imageScanStatus"] == {
        "status": "SCAN_ELIGIBILITY_EXPIRED",
        "description": "The scan duration has lapsed for the image.",
    }
    assert "imageScanFindings" not in answer
    # Set again, it changes neither; pushed again, the image is scanned.
    enhance(ecr, rule("SCAN_ON_PUSH", "app"))
    assert run_scans(server) == 0
    assert findings_of(ecr, "old")["imageScanStatus"] == answer["imageScanStatus"]
    push(ecr, layer(DEBIAN), tag="old-again")
    assert run_scans(server) == 1
    assert findings_of(ecr, "old")["imageScanStatus"]["status"] == "COMPLETE"


def test_images_that_are_no_containers_are_not_taken_up(server, ecr, repository):
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})
    ecr.put_image(**REGISTRY, imageManifest=index, imageTag="v1")
    server.advance_clock(31 * DAY)
    enhance(ecr, rule("CONTINUOUS_SCAN", "*"))
    assert run_scans(server) == 0
    assert refusal(ecr, "describe_image_scan_findings", **REGISTRY, imageId={"imageTag": "v1"})[0] == (
        "ScanNotFoundException"
    )


def test_each_scan_type_keeps_its_findings(server, ecr, repository):
    push(ecr, layer(DEBIAN), layer(NODE))
    ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    run_scans(server)
    enhance(ecr)
    assert refusal(ecr, "describe_image_scan_findings", **REGISTRY, imageId={"imageTag": "v1"})[0] == (
        "ScanNotFoundException"
    )
    enhance(ecr, rule("SCAN_ON_PUSH", "app"))
    run_scans(server)
    assert len(findings_of(ecr)["imageScanFindings"]["enhancedFindings"]) == 3
    ecr.put_registry_scanning_configuration(scanType="BASIC")
    assert len(findings_of(ecr)["imageScanFindings"]["findings"]) == 2


def test_continuous_scans_find_what_becomes_known_later(tmp_path):
    database = tmp_path / "osv"
    database.mkdir()
    for server in serving(vulnerability_database=str(database)):
        ecr = client_of(server)
        ecr.create_repository(repositoryName="app")
        enhance(ecr, rule("CONTINUOUS_SCAN", "*"), rule("SCAN_ON_PUSH", "*"))
        push(ecr, layer(DEBIAN))
        run_scans(server)
        answer = findings_of(ecr)
        assert answer["imageScanStatus"] == {
            "status": "ACTIVE",
            "description": "Continuous scan is selected for image.",
        }
        assert answer["imageScanFindings"]["enhancedFindings"] == []
        advisory = next(ADVISORIES.rglob("DEBIAN-CVE-2023-5363.json"))
        (database / advisory.name).write_bytes(advisory.read_bytes())
        server.advance_clock(DAY)
        assert run_scans(server) == 1
        (first,) = findings_of(ecr)["imageScanFindings"]["enhancedFindings"]
        # Told to, it scans again at once; what was found before keeps its time and its name.
        server.advance_clock(3600)
        assert run_scans(server) == 1
        (again,) = findings_of(ecr)["imageScanFindings"]["enhancedFindings"]
        assert again["firstObservedAt"] == first["firstObservedAt"] == first["lastObservedAt"]
        assert again["lastObservedAt"] > first["lastObservedAt"]
        assert again["findingArn"] == first["findingArn"]
        server.advance_clock(14 * DAY)
        assert findings_of(ecr)["imageScanStatus"]["status"] == "SCAN_ELIGIBILITY_EXPIRED"
        run_scans(server)
        assert run_scans(server) == 0


def test_continuous_scans_stop_and_go_on_with_what_makes_them_so(server, ecr, repository):
    once, again = rule("SCAN_ON_PUSH", "app"), rule("CONTINUOUS_SCAN", "app")
    enhance(ecr, once)
    push(ecr, layer(DEBIAN))
    assert run_scans(server) == 1
    assert run_scans(server) == 0
    enhance(ecr, again)
    assert findings_of(ecr)["imageScanStatus"]["status"] == "ACTIVE"
    assert [run_scans(server), run_scans(server)] == [1, 1]
    # Set again, it is still scanned once a day, not twice.
    enhance(ecr, again)
    assert run_scans(server) == 1
    enhance(ecr, once)
    completed = findings_of(ecr)["imageScanFindings"]["imageScanCompletedAt"]
    server.advance_clock(DAY)
    run_scans(server)
    assert run_scans(server) == 0
    assert findings_of(ecr)["imageScanFindings"]["imageScanCompletedAt"] == completed
    enhance(ecr, again)
    archive(ecr)
    run_scans(server)
    assert run_scans(server) == 0
    archive(ecr, storage_class="STANDARD")
    server.manage("run/archive", {})
    assert [run_scans(server), run_scans(server)] == [1, 1]


# Scanners and their limits


def test_without_a_database_a_scan_finds_nothing_and_says_so():
    for server in serving():
        ecr = client_of(server)
        ecr.create_repository(repositoryName="app")
        push(ecr, layer(DEBIAN))
        ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
        run_scans(server)
        answer = findings_of(ecr)
        assert answer["imageScanStatus"]["status"] == "COMPLETE"
        assert "No vulnerability database is configured" in answer["imageScanStatus"]["description"]
        assert answer["imageScanFindings"]["findings"] == []


def test_a_decompression_bomb_is_not_scanned():
    bomb = gzip.compress(layer({"bomb": bytes(64 << 20)}, compress=False))
    for limited in serving(scan_max_size=16, vulnerability_database=str(ADVISORIES)):
        ecr = client_of(limited)
        ecr.create_repository(repositoryName="app")
        push(ecr, layer(DEBIAN), bomb)
        ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
        run_scans(limited)
        status = findings_of(ecr)["imageScanStatus"]
        assert status["status"] == "IMAGE_SIZE_EXCEEDED"
        assert "more than 16 MiB" in status["description"]


def script(folder, text):
    """An executable Python script."""
    path = folder / "scanner"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def commanded(tmp_path, text, enhanced=False, **changed):
    """Scan an image with a command and return what the scan came to."""
    for server in serving(scan_command=f"{script(tmp_path, text)} --input {{layout}}", **changed):
        ecr = client_of(server)
        ecr.create_repository(repositoryName="app")
        if enhanced:
            enhance(ecr, rule("SCAN_ON_PUSH", "*"))
        push(ecr, layer(DEBIAN))
        if not enhanced:
            ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
        run_scans(server)
        return findings_of(ecr)
    raise AssertionError


# Stands in for Trivy: it reads the image that it is given as any reader of OCI layouts does.
READING = """
import hashlib, json, sys, tarfile
from pathlib import Path
layout = Path(sys.argv[sys.argv.index("--input") + 1])
assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
def blob(descriptor):
    algorithm, encoded = descriptor["digest"].split(":")
    path = layout / "blobs" / algorithm / encoded
    assert not path.is_symlink()
    content = path.read_bytes()
    assert len(content) == descriptor["size"] and hashlib.sha256(content).hexdigest() == encoded
    return content
manifest = json.loads(blob(json.loads((layout / "index.json").read_text())["manifests"][0]))
config = json.loads(blob(manifest["config"]))
for descriptor in manifest["layers"]:
    blob(descriptor)
def found(name, package):
    return {"VulnerabilityID": name, "PkgName": package, "InstalledVersion": "1", "Severity": "CRITICAL"}
system = [found("CVE-2024-0001", config["architecture"])]
results = [
    {"Class": "os-pkgs", "Type": "debian", "Vulnerabilities": system},
    {"Class": "lang-pkgs", "Type": "node-pkg", "Vulnerabilities": [found("CVE-2024-0002", "lodash")]},
]
metadata = {"OS": {"Family": "debian", "Name": "12"}}
print(json.dumps({"SchemaVersion": 2, "Metadata": metadata, "Results": results}))
sys.exit(5)
"""


def test_a_command_scans_the_image_that_it_is_given(tmp_path):
    found = commanded(tmp_path, READING)["imageScanFindings"]
    assert found["findingSeverityCounts"] == {"CRITICAL": 1}
    assert [finding["name"] for finding in found["findings"]] == ["CVE-2024-0001"]
    assert found["findings"][0]["attributes"] == [
        {"key": "package_version", "value": "1"},
        {"key": "package_name", "value": "amd64"},
    ]


def test_a_command_can_scan_for_enhanced_scanning(tmp_path):
    found = commanded(tmp_path, READING, enhanced=True)["imageScanFindings"]["enhancedFindings"]
    assert [finding["packageVulnerabilityDetails"]["vulnerabilityId"] for finding in found] == [
        "CVE-2024-0001",
        "CVE-2024-0002",
    ]


@pytest.mark.parametrize(
    ("text", "changed", "description"),
    [
        ("import sys; sys.exit('no database')", {}, "failed with exit code 1: no database"),
        ("import os, sys; sys.exit('without colours ' + os.environ['NO_COLOR'])", {}, "without colours 1"),
        ("import sys; sys.exit(3)", {}, "failed with exit code 3: its output can't be understood"),
        ("print('{}')", {}, "its output is neither Trivy's nor Grype's JSON"),
        ("import time; time.sleep(60)", {"scan_timeout": 1}, "took longer than 1 seconds"),
    ],
)
def test_a_command_that_fails_fails_the_scan(tmp_path, text, changed, description):
    status = commanded(tmp_path, text, **changed)["imageScanStatus"]
    assert status["status"] == "FAILED"
    assert description in status["description"]


@pytest.mark.parametrize("output", [{"matches": []}, {"SchemaVersion": 2}])
@pytest.mark.parametrize("enhanced", [False, True])
def test_a_command_that_knows_no_system_fails_the_scan(tmp_path, output, enhanced):
    scanned = commanded(tmp_path, f"print({json.dumps(output)!r})", enhanced=enhanced)
    # Grype's report does not tell whether there are packages of languages, which count in enhanced scanning.
    complete = enhanced and "matches" in output
    status = {"status": "UNSUPPORTED_IMAGE" if enhanced else "FAILED", "description": UNSUPPORTED}
    assert scanned["imageScanStatus"] == (DONE if complete else status)


def test_a_command_that_is_not_there_fails_the_scan():
    for server in serving(scan_command="/no/such/scanner {layout}"):
        ecr = client_of(server)
        ecr.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
        push(ecr, layer(DEBIAN))
        run_scans(server)
        assert "/no/such/scanner can't be run" in findings_of(ecr)["imageScanStatus"]["description"]


def test_a_server_that_stops_ends_the_command_and_leaves_the_scan(tmp_path):
    started = tmp_path / "started"
    sleeping = f"import os, time\nopen({str(started)!r}, 'x').write(str(os.getpid()))\ntime.sleep(600)"
    kept = Settings(
        data_dir=str(tmp_path / "data"), port=0, scan_command=f"{script(tmp_path, sleeping)} {{layout}}"
    )
    with BackgroundServer(kept) as running:
        ecr = client_of(running)
        ecr.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
        push(ecr, layer(DEBIAN))
        deadline = time.monotonic() + 30
        while not (started.exists() and started.read_text()):
            assert time.monotonic() < deadline, "the scan did not begin"
            time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    again = Settings(data_dir=kept.data_dir, port=0, engines="off")
    with BackgroundServer(again) as running:
        assert findings_of(client_of(running))["imageScanStatus"] == {"status": "IN_PROGRESS"}
        assert run_scans(running) == 1
        assert findings_of(client_of(running))["imageScanStatus"]["status"] == "COMPLETE"


def test_findings_that_are_written_down_are_found(tmp_path):
    noted = tmp_path / "findings.json"
    finding = {"name": "CVE-2024-0001", "severity": "CRITICAL", "description": "as written"}
    noted.write_text(json.dumps({"app:noted": [finding]}))
    for server in serving(scan_findings=str(noted), vulnerability_database=str(ADVISORIES)):
        ecr = client_of(server)
        ecr.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
        push(ecr, b"noted", tag="noted")
        push(ecr, layer(DEBIAN), tag="scanned")
        by_digest = push(ecr, b"by digest", tag="digest")
        document = {by_digest: {"status": "FAILED", "description": "as it is to be"}}
        noted.write_text(json.dumps(json.loads(noted.read_text()) | document))
        run_scans(server)
        assert findings_of(ecr, "noted")["imageScanFindings"]["findings"] == [finding | {"attributes": []}]
        assert len(findings_of(ecr, "scanned")["imageScanFindings"]["findings"]) == 2
        assert findings_of(ecr, "digest")["imageScanStatus"] == document[by_digest]
        noted.write_text("{")
        server.advance_clock(DAY)
        ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "noted"})
        run_scans(server)
        assert "can't read the scan findings" in findings_of(ecr, "noted")["imageScanStatus"]["description"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"vulnerability_database": "/no/such/folder"},
            "the vulnerability database /no/such/folder is no folder",
        ),
        ({"scan_command": "trivy image"}, "scan_command must have {layout}"),
        ({"scan_command": "trivy 'image {layout}"}, "scan_command can't be understood"),
        ({"scan_findings": "/no/such/file"}, "can't read the scan findings /no/such/file"),
    ],
)
def test_settings_that_no_scanner_can_work_with_keep_the_server_from_starting(changed, message):
    with pytest.raises(StartError, match=message):
        BackgroundServer(settings(**changed)).start()


def test_the_cli_can_wait_for_a_scan():
    with BackgroundServer(Settings(data_dir=MEMORY, port=0)) as running:
        ecr = client_of(running)
        ecr.create_repository(repositoryName="app")
        push(ecr, layer(DEBIAN))
        for command in ("start-image-scan", "wait image-scan-complete"):
            subprocess.run(
                [AWS, "ecr", *command.split(), "--repository-name", "app", "--image-id", "imageTag=v1"],
                env={**os.environ, "AWS_ENDPOINT_URL_ECR": running.url},
                check=True,
                capture_output=True,
                timeout=60,
            )
        assert findings_of(ecr)["imageScanStatus"]["status"] == "COMPLETE"


def test_a_scan_that_was_asked_for_survives_a_restart(tmp_path):
    kept = Settings(
        data_dir=str(tmp_path / "data"), port=0, engines="off", vulnerability_database=str(ADVISORIES)
    )
    with BackgroundServer(kept) as running:
        ecr = client_of(running)
        ecr.create_repository(repositoryName="app")
        push(ecr, layer(DEBIAN))
        ecr.start_image_scan(**REGISTRY, imageId={"imageTag": "v1"})
    with BackgroundServer(kept) as running:
        assert run_scans(running) == 1
        assert len(findings_of(client_of(running))["imageScanFindings"]["findings"]) == 2


def test_a_reset_removes_scans_and_configurations(server, ecr, repository):
    enhance(ecr, rule("CONTINUOUS_SCAN", "*"))
    push(ecr, layer(DEBIAN))
    server.manage("reset", {"account": "000000000000"})
    assert run_scans(server) == 0
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"]["scanType"] == "BASIC"
