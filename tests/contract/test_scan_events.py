"""The events of enhanced scanning: of scan frequencies, of first scans, and of findings that come and go."""

import contextlib
import json
import shutil
from datetime import UTC, datetime

import pytest

from ecr_emulator.core import scans
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import image_manifest, put_image, sha256, upload_layer
from tests.contract.oci_client import OciClient, api_client
from tests.contract.registries import Registry
from tests.contract.stores import run, serving
from tests.scanned_images import ADVISORIES, DEBIAN, NODE, layer
from tests.shapes import check_event

ACCOUNT = "000000000000"
ARN = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository"
DAY = 24 * 3600
MANUAL, ON_PUSH, CONTINUOUS = "MANUAL", "SCAN_ON_PUSH", "CONTINUOUS_SCAN"
CHANGE, SCAN, FINDING = "ECR Scan Resource Change", "Inspector2 Scan", "Inspector2 Finding"
OPENSSL, BASH = "CVE-2023-5363 - openssl", "CVE-2022-3715 - bash"

pytestmark = pytest.mark.usefixtures("ecr_registry")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("scans")


@pytest.fixture(scope="module")
def running(data):
    """A server whose engines run when they are told to, with advisories and findings that tests change."""
    (data / "findings.json").write_text("{}")
    (data / "osv").mkdir()
    settings = Settings(
        data_dir=MEMORY,
        port=0,
        engines="off",
        scan_findings=str(data / "findings.json"),
        vulnerability_database=str(data / "osv"),
    )
    with BackgroundServer(settings) as server:
        yield server


@pytest.fixture
def server(running, data):
    running.reset()
    (data / "findings.json").write_text("{}")
    shutil.rmtree(data / "osv")
    shutil.copytree(ADVISORIES, data / "osv")
    with unblocked_loop():
        yield running


@pytest.fixture
def ecr(server):
    return api_client(server.url)


@pytest.fixture
def oci(server):
    return OciClient(server.address)


@pytest.fixture
def events_of(oci):
    """Ask for the events of a type and, where it is named, a repository."""

    def ask(detail_type, repository=None):
        query = f"limit=1000&detail-type={detail_type.replace(' ', '%20')}"
        answer = oci.get(f"/_emulator/events?{query}{f'&repository={repository}' if repository else ''}")
        assert answer.status == 200
        events = answer.json()["events"]
        for event in events:
            check_event(event)
        return events

    return ask


def rules(**frequencies):
    """Rules by frequency, each with its filters."""
    return [
        {
            "scanFrequency": frequency,
            "repositoryFilters": [{"filter": pattern, "filterType": "WILDCARD"} for pattern in filters],
        }
        for frequency, filters in frequencies.items()
    ]


def configure(ecr, scan_type="ENHANCED", **frequencies):
    ecr.put_registry_scanning_configuration(scanType=scan_type, rules=rules(**frequencies))


def run_scans(server):
    return server.manage("run/scans", {})["done"]


def changes_in(events):
    """What each event tells of scan frequencies: by repository, before and after."""
    told = []
    for event in events:
        assert (event["source"], event["resources"]) == ("aws.ecr", [])
        for entry in event["detail"]["repositories"]:
            name = entry["repository-name"]
            assert (
                entry["repository-arn"]
                == f"arn:aws:ecr:{event['region']}:{event['account']}:repository/{name}"
            )
        told.append(
            {
                entry["repository-name"]: (entry["previous-scan-frequency"], entry["scan-frequency"])
                for entry in event["detail"]["repositories"]
            }
        )
    return told


# Scan frequencies


@pytest.fixture
def repositories(ecr):
    """Repositories, of which one is scanned on push by its own setting in basic scanning."""
    for name in ("api", "app", "web"):
        ecr.create_repository(repositoryName=name, imageScanningConfiguration={"scanOnPush": name == "web"})


FIRST = {ON_PUSH: ["app", "web"], CONTINUOUS: ["api"]}


@pytest.mark.parametrize(
    ("frequencies", "expected"),
    [
        (FIRST, []),
        ({CONTINUOUS: ["*"]}, [{"app": (ON_PUSH, CONTINUOUS), "web": (ON_PUSH, CONTINUOUS)}]),
        ({ON_PUSH: ["a*"]}, [{"api": (CONTINUOUS, ON_PUSH), "web": (ON_PUSH, MANUAL)}]),
        ({}, [{"api": (CONTINUOUS, MANUAL), "app": (ON_PUSH, MANUAL), "web": (ON_PUSH, MANUAL)}]),
        # Other rules, to the same effect.
        ({ON_PUSH: ["*"], CONTINUOUS: ["ap*i", "api"]}, []),
    ],
)
def test_rules_that_change_frequencies_are_told_of(
    server, ecr, events_of, repositories, frequencies, expected
):
    configure(ecr, **FIRST)
    run_scans(server)
    # That of web was its own in basic scanning.
    first = [{"api": (MANUAL, CONTINUOUS), "app": (MANUAL, ON_PUSH)}]
    assert changes_in(events_of(CHANGE)) == first
    configure(ecr, **frequencies)
    run_scans(server)
    assert run_scans(server) == 0
    assert changes_in(events_of(CHANGE)) == first + expected


def test_each_of_several_configurations_is_told_of(server, ecr, events_of, repositories):
    configure(ecr, **{CONTINUOUS: ["api", "app"]})
    configure(ecr, **{CONTINUOUS: ["api"], ON_PUSH: ["app"]})
    configure(ecr, **{CONTINUOUS: ["api", "app"]})
    run_scans(server)
    # "web" was scanned on push in basic scanning.
    assert changes_in(events_of(CHANGE)) == [
        {"api": (MANUAL, CONTINUOUS), "app": (MANUAL, CONTINUOUS), "web": (ON_PUSH, MANUAL)},
        {"app": (CONTINUOUS, ON_PUSH)},
        {"app": (ON_PUSH, CONTINUOUS)},
    ]


def test_basic_scanning_is_not_told_of(server, ecr, events_of, repositories):
    configure(ecr, "BASIC", **{ON_PUSH: ["*"]})
    ecr.create_repository(repositoryName="new")
    configure(ecr, "BASIC")
    run_scans(server)
    assert events_of(CHANGE) == []
    configure(ecr, **{ON_PUSH: ["api"]})
    run_scans(server)
    told = events_of(CHANGE)
    configure(ecr, "BASIC")
    run_scans(server)
    assert events_of(CHANGE) == told


def test_a_policy_of_the_organization_is_told_of(server, ecr, events_of, repositories):
    server.manage("organization-policy", {"ecr_scanning": True})
    run_scans(server)
    assert changes_in(events_of(CHANGE)) == [
        {"api": (MANUAL, CONTINUOUS), "app": (MANUAL, CONTINUOUS), "web": (ON_PUSH, CONTINUOUS)}
    ]


def test_an_event_has_a_page_of_repositories_and_is_found_by_each(
    server, ecr, events_of, repositories, monkeypatch
):
    monkeypatch.setattr(scans, "_PAGE_SIZE", 2)
    for name in ("dev", "ops/ci"):
        ecr.create_repository(repositoryName=name)
    configure(ecr, **{CONTINUOUS: ["*"]})
    run_scans(server)
    told = events_of(CHANGE)
    assert [sorted(change) for change in changes_in(told)] == [["api", "app"], ["dev", "ops/ci"], ["web"]]
    assert events_of(CHANGE, "app") == told[:1]
    assert events_of(CHANGE, "ops/ci") == told[1:2]
    assert events_of(CHANGE, "ops") == events_of(CHANGE, "ap") == []


def test_an_interruption_loses_no_change_and_tells_none_twice(
    server, ecr, oci, events_of, repositories, monkeypatch
):
    monkeypatch.setattr(scans, "_PAGE_SIZE", 2)
    push(ecr, layer(DEBIAN), repository="app")
    push(ecr, layer(DEBIAN), repository="web")
    take_up_page = scans._take_up_page

    def interrupted(tx, task, name, *rest):
        if name in interrupting:
            interrupting.remove(name)
            raise RuntimeError
        return take_up_page(tx, task, name, *rest)

    monkeypatch.setattr(scans, "_take_up_page", interrupted)
    configure(ecr, **{CONTINUOUS: ["*"]})
    interrupting = ["app", "web"]
    for left in (["web"], []):
        assert oci.post("/_emulator/run/scans").status == 500
        assert interrupting == left
    # What both pages were begun for is done too, beside the basic scan that the push to "web" set off.
    assert run_scans(server) == 3
    assert (len(events_of(SCAN, "app")), len(events_of(SCAN, "web"))) == (1, 1)
    assert [sorted(change) for change in changes_in(events_of(CHANGE))] == [["api", "app"], ["web"]]


def test_a_new_repository_is_told_of_where_it_is_scanned(server, ecr, oci, events_of):
    ecr.create_repository(repositoryName="before")
    configure(ecr, **{CONTINUOUS: ["app*"], ON_PUSH: ["web"]})
    ecr.create_repository(repositoryName="app")
    ecr.create_repository(repositoryName="other")
    run_scans(server)
    ecr.create_repository(repositoryName="web")
    ecr.create_repository_creation_template(prefix="app", appliedFor=["CREATE_ON_PUSH"])
    oci.push_image("app/pushed", "v1")
    expected = [
        {"app": (MANUAL, CONTINUOUS)},
        {"web": (MANUAL, ON_PUSH)},
        {"app/pushed": (MANUAL, CONTINUOUS)},
    ]
    assert changes_in(events_of(CHANGE)) == expected
    assert changes_in(events_of(CHANGE, "web")) == expected[1:2]
    west = Registry(server, ACCOUNT, "us-west-2")
    configure(west.api, **{ON_PUSH: ["*"]})
    Registry(server, ACCOUNT, "us-east-1").replicate_to(west)
    put_image(ecr, "other", "v1")
    server.manage("run/replication", {})
    *_, replicated = events_of(CHANGE)
    assert replicated["region"] == "us-west-2"
    assert changes_in([replicated]) == [{"other": (MANUAL, ON_PUSH)}]


# Scans and findings


def push(ecr, *layers, tag="v1", repository="app"):
    """Push an image and return its digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "tag": tag}).encode()
    for content in (config, *layers):
        with contextlib.suppress(ecr.exceptions.LayerAlreadyExistsException):
            upload_layer(ecr, repository, content)
    manifest = image_manifest(config, *layers)
    ecr.put_image(repositoryName=repository, imageManifest=manifest.decode(), imageTag=tag)
    return sha256(manifest)


@pytest.fixture
def repository(ecr):
    """A repository of a registry that scans continuously."""
    ecr.create_repository(repositoryName="app")
    configure(ecr, **{CONTINUOUS: ["*"]})


def summary(events):
    return [(event["detail"]["status"], event["detail"]["title"]) for event in events]


def in_words(moment):
    """A time as Inspector's events have it."""
    moment = moment.astimezone(UTC)
    return f"{moment:%b} {moment.day}, {moment.year}, {moment.hour % 12 or 12}:{moment:%M:%S %p}"


def as_told(value):
    if isinstance(value, dict):
        return {key: as_told(member) for key, member in value.items()}
    if isinstance(value, list):
        return [as_told(member) for member in value]
    return in_words(value) if isinstance(value, datetime) else value


def test_the_first_scan_tells_what_the_api_shows(server, ecr, events_of, repository):
    digest = push(ecr, layer(DEBIAN | NODE))
    assert events_of(SCAN) == events_of(FINDING) == []
    run_scans(server)
    (scan,) = events_of(SCAN, "app")
    assert (scan["source"], scan["resources"]) == ("aws.inspector2", [f"{ARN}/app"])
    assert scan["detail"] == {
        "scan-status": "INITIAL_SCAN_COMPLETE",
        "repository-name": f"{ARN}/app",
        "finding-severity-counts": {"HIGH": 2, "INFORMATIONAL": 1, "TOTAL": 3},
        "image-digest": digest,
        "image-tags": ["v1"],
    }
    found = events_of(FINDING, "app")
    assert [event["resources"] for event in found] == [[f"{ARN}/app/{digest}"]] * 3
    shown = ecr.describe_image_scan_findings(repositoryName="app", imageId={"imageTag": "v1"})
    for event, finding in zip(found, shown["imageScanFindings"]["enhancedFindings"], strict=True):
        score, cvss = finding.pop("score", None), finding.pop("scoreDetails", {}).get("cvss")
        detail = event["detail"]
        assert detail.pop("inspectorScore", None) == score
        told = detail.pop("inspectorScoreDetails", {}).get("adjustedCvss")
        assert told == (cvss and cvss | {"cvssSource": cvss["scoreSource"]})
        (resource,) = detail["resources"]
        assert (resource.pop("partition"), resource.pop("region")) == ("aws", "us-east-1")
        assert detail == as_told(finding)
    assert events_of(SCAN, "other") == events_of(FINDING, "other") == []


def change_advisory(data, name, change=None):
    """Change an advisory, or remove it."""
    path = next((data / "osv").rglob(f"{name}.json"))
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_later_scans_tell_what_has_changed(server, ecr, events_of, repository, data):
    change_advisory(data, "DEBIAN-CVE-2022-3715")
    server.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    push(ecr, layer(DEBIAN))
    run_scans(server)
    (openssl,) = first = events_of(FINDING)
    assert summary(first) == [("ACTIVE", OPENSSL)]
    # It finds the same.
    server.advance_clock(DAY)
    assert run_scans(server) == 1
    assert events_of(FINDING) == first

    shutil.copytree(ADVISORIES, data / "osv", dirs_exist_ok=True)
    change_advisory(data, "DEBIAN-CVE-2023-5363", {"details": "It is worse than that."})
    server.advance_clock(DAY)
    assert run_scans(server) == 1
    second = events_of(FINDING)[1:]
    assert summary(second) == [("ACTIVE", OPENSSL), ("ACTIVE", BASH)]
    updated, new = (event["detail"] for event in second)
    assert updated["findingArn"] == openssl["detail"]["findingArn"] != new["findingArn"]
    assert updated["description"] == "It is worse than that."
    for key, days in (("firstObservedAt", 31), ("lastObservedAt", 2), ("updatedAt", 2)):
        assert updated[key].startswith(f"{'Jan' if days == 31 else 'Feb'} {days}, 2030, 12:00:0"), key

    change_advisory(data, "DEBIAN-CVE-2023-5363")
    server.advance_clock(DAY)
    assert run_scans(server) == 1
    third = events_of(FINDING)[3:]
    assert summary(third) == [("CLOSED", OPENSSL)]
    closed = third[0]["detail"]
    assert closed["findingArn"] == updated["findingArn"]
    for key, day in (("firstObservedAt", "Jan 31"), ("lastObservedAt", "Feb 2"), ("updatedAt", "Feb 3")):
        assert closed[key].startswith(f"{day}, 2030"), key
    assert len(events_of(SCAN)) == 1


def note(data, **images):
    (data / "findings.json").write_text(json.dumps({f"app:{tag}": noted for tag, noted in images.items()}))


def test_a_scan_that_fails_closes_nothing(server, ecr, events_of, repository, data):
    push(ecr, layer(DEBIAN))
    run_scans(server)
    first = events_of(FINDING)
    assert summary(first) == [("ACTIVE", OPENSSL), ("ACTIVE", BASH)]
    note(data, v1={"status": "FAILED"})
    server.advance_clock(DAY)
    assert run_scans(server) == 1
    answer = ecr.describe_image_scan_findings(repositoryName="app", imageId={"imageTag": "v1"})
    assert (answer["imageScanStatus"]["status"], "imageScanFindings" in answer) == ("FAILED", False)
    # What it finds after that is compared with what was found before.
    note(data)
    change_advisory(data, "DEBIAN-CVE-2022-3715")
    server.advance_clock(DAY)
    assert run_scans(server) == 1
    (closed,) = events_of(FINDING)[2:]
    assert summary([closed]) == [("CLOSED", BASH)]
    assert closed["detail"]["lastObservedAt"] == first[1]["detail"]["lastObservedAt"]
    assert len(events_of(SCAN)) == 1
    (shown,) = ecr.describe_image_scan_findings(repositoryName="app", imageId={"imageTag": "v1"})[
        "imageScanFindings"
    ]["enhancedFindings"]
    assert in_words(shown["firstObservedAt"]) == first[0]["detail"]["firstObservedAt"]


@pytest.mark.parametrize("wrong", [{"description": 5}, {"uri": ["https://example.com"]}, {"name": 1.5}])
def test_findings_that_are_none_fail_the_scan_and_hold_up_no_other(
    server, ecr, events_of, repository, data, wrong
):
    note(data, v1=[{"name": "CVE-1", "severity": "LOW", **wrong}])
    push(ecr, layer(DEBIAN))
    push(ecr, layer(DEBIAN), layer(NODE), tag="v2")
    assert run_scans(server) == 2
    answer = ecr.describe_image_scan_findings(repositoryName="app", imageId={"imageTag": "v1"})
    assert answer["imageScanStatus"] == {"status": "FAILED", "description": "The scan has failed."}
    (scan,) = events_of(SCAN)
    assert scan["detail"]["image-tags"] == ["v2"]


def test_the_initial_scan_is_the_first_that_is_complete(server, ecr, events_of, repository, data):
    note(data, v1={"status": "FAILED"})
    push(ecr, layer(DEBIAN))
    push(ecr, layer({"bin/tool": b"of no system"}), tag="unsupported")
    run_scans(server)
    assert events_of(SCAN) == events_of(FINDING) == []
    note(data, v1=[])
    for _ in range(2):
        server.advance_clock(DAY)
        run_scans(server)
    (scan,) = events_of(SCAN)
    assert scan["detail"]["image-tags"] == ["v1"]
    assert scan["detail"]["finding-severity-counts"] == {"TOTAL": 0}


def test_a_severity_that_nobody_gave_is_untriaged(server, ecr, events_of, repository, data):
    note(data, v1=[{"name": "CVE-1", "severity": "UNDEFINED"}, {"name": "CVE-2", "severity": "LOW"}])
    push(ecr, b"anything")
    run_scans(server)
    assert [event["detail"]["severity"] for event in events_of(FINDING)] == ["LOW", "UNTRIAGED"]
    (scan,) = events_of(SCAN)
    assert scan["detail"]["finding-severity-counts"] == {"LOW": 1, "UNTRIAGED": 1, "TOTAL": 2}


def test_a_description_is_as_long_as_inspector_lets_it_be(server, ecr, events_of, repository, data):
    note(data, v1=[{"name": "CVE-1", "severity": "LOW", "description": "x" * 2000}])
    push(ecr, b"anything")
    run_scans(server)
    (event,) = events_of(FINDING)
    assert event["detail"]["description"] == "x" * 1024


def test_findings_of_several_versions_of_a_package_have_arns_of_their_own(server, ecr, events_of, repository):
    ((path, manifest),) = NODE.items()
    older = {f"srv/{path}": manifest.replace(b"4.17.20", b"4.17.19")}
    push(ecr, layer(DEBIAN | NODE | older))
    run_scans(server)
    lodash = [event["detail"] for event in events_of(FINDING) if "lodash" in event["detail"]["title"]]
    assert len(lodash) == len({detail["findingArn"] for detail in lodash}) == 2


def test_scans_by_other_rules_are_told_of_alike(server, ecr, events_of):
    ecr.create_repository(repositoryName="app")
    push(ecr, layer(DEBIAN))
    ecr.start_image_scan(repositoryName="app", imageId={"imageTag": "v1"})
    run_scans(server)
    assert events_of(SCAN) == events_of(FINDING) == []
    configure(ecr, **{ON_PUSH: ["*"]})
    run_scans(server)
    assert (len(events_of(SCAN)), len(events_of(FINDING))) == (1, 2)
    assert len(events_of("ECR Image Scan")) == 1
    # An image that goes takes its findings along, without a word.
    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
    run_scans(server)
    assert len(events_of(FINDING)) == 2


@pytest.mark.local
def test_an_import_announces_nothing(tmp_path):
    with serving(tmp_path / "old") as old:
        configure(api_client(old.url), **{CONTINUOUS: ["*"]})
        api_client(old.url).create_repository(repositoryName="app")
    for command, folder in (("export", "old"), ("import", "new")):
        assert run(command, tmp_path / "all.tar", "--data-dir", tmp_path / folder).status == 0
    with serving(tmp_path / "new") as new:
        (found,) = api_client(new.url).batch_get_repository_scanning_configuration(repositoryNames=["app"])[
            "scanningConfigurations"
        ]
        assert found["scanFrequency"] == CONTINUOUS
        run_scans(new)
        assert OciClient(new.address).get("/_emulator/events").json()["events"] == []
