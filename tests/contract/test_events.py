"""The events of image actions: which there are, of what both planes and the engines do."""

import json

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import OCI_INDEX, descriptor, put_image, sha256
from tests.contract.oci_client import OciClient, api_client
from tests.contract.registries import Registry
from tests.shapes import check_event
from tests.upstream import running as upstream_running

ACCOUNT = "000000000000"
OTHER = "111111111111"
DAY = 24 * 3600
ARN = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository"

pytestmark = pytest.mark.usefixtures("ecr_registry")

upstream = pytest.fixture(scope="module")(upstream_running)


@pytest.fixture(scope="module")
def running(upstream, tmp_path_factory):
    """A server whose engines run when they are told to, with a scanner that finds what a file says."""
    findings = tmp_path_factory.mktemp("findings") / "findings.json"
    findings.write_text(
        json.dumps(
            {
                "app:v1": [
                    {"name": "CVE-1", "severity": "HIGH", "attributes": []},
                    {"name": "CVE-2", "severity": "LOW", "attributes": []},
                    {"name": "CVE-3", "severity": "HIGH", "attributes": []},
                ],
                "app:broken": {"status": "FAILED", "description": "as if"},
            }
        )
    )
    settings = Settings(
        data_dir=MEMORY,
        port=0,
        engines="off",
        oci_deletes="on",
        scan_findings=str(findings),
        upstreams={"quay.io": upstream.url},
    )
    with BackgroundServer(settings) as server:
        yield server


@pytest.fixture
def server(running, upstream):
    running.reset()
    upstream.reset()
    with unblocked_loop():
        yield running


@pytest.fixture
def ecr(server):
    return api_client(server.url)


@pytest.fixture
def oci(server):
    return OciClient(server.address)


@pytest.fixture
def repository(ecr):
    ecr.create_repository(repositoryName="app")
    return "app"


def events_of(oci, query=""):
    """The events that there were, each of which has to be one of ECR's."""
    answer = oci.get(f"/_emulator/events?limit=1000{query}")
    assert answer.status == 200, answer
    events = answer.json()["events"]
    for event in events:
        check_event(event)
    return events


def summary(events):
    """Detail type, action and tag of each event."""
    return [
        (
            event["detail-type"].removeprefix("ECR "),
            event["detail"].get("action-type"),
            event["detail"].get("image-tag"),
        )
        for event in events
    ]


def test_a_push_is_an_event_on_either_plane(ecr, oci, repository):
    pushed = oci.push_image(repository, "v1")
    (event,) = events_of(oci)
    assert (event["account"], event["region"], event["resources"]) == (ACCOUNT, "us-east-1", [])
    assert event["detail"] == {
        "result": "SUCCESS",
        "repository-name": "app",
        "image-digest": pushed.digest,
        "action-type": "PUSH",
        "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
        "artifact-media-type": "application/vnd.oci.image.config.v1+json",
        "image-tag": "v1",
    }
    put_image(ecr, repository, "v2", seed="other")
    oci.push_image(repository, seed="third")
    # It changes nothing, and is none.
    oci.push_image(repository, "v1")
    assert summary(events_of(oci)) == [
        ("Image Action", "PUSH", "v1"),
        ("Image Action", "PUSH", "v2"),
        ("Image Action", "PUSH", ""),
    ]


def test_a_push_that_is_refused_is_none(oci, repository):
    assert oci.push_manifest(repository, "v1", b"{}").status == 405
    assert events_of(oci) == []


def test_the_time_of_an_event_is_the_servers(server, oci, repository):
    server.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    oci.push_image(repository, "v1")
    (event,) = events_of(oci)
    assert event["time"][:18] == "2030-01-31T12:00:0"


def test_artifacts_have_events_of_their_own(oci, repository):
    image = oci.push_image(repository, "v1")
    subject = descriptor(image.manifest, "application/vnd.oci.image.manifest.v1+json")
    artifact = oci.push_image(repository, seed="sbom", subject=subject, artifactType="text/sbom")
    assert oci.delete(f"/v2/app/manifests/{artifact.digest}").status == 202
    _, pushed, deleted = events_of(oci)
    for event, action in ((pushed, "PUSH"), (deleted, "DELETE")):
        assert event["detail-type"] == "ECR Referrer Action"
        assert event["detail"]["action-type"] == action
        assert event["detail"]["artifact-media-type"] == "text/sbom"
        assert event["detail"]["image-digest"] == artifact.digest


def test_a_deletion_is_an_event_for_each_tag_that_is_gone(ecr, oci, repository):
    digest = put_image(ecr, repository, "v1")
    manifest = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["images"][0]
    for tag in ("v2", "v3"):
        ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest["imageManifest"])
    untagged = put_image(ecr, repository, seed="untagged")
    before = len(events_of(oci))
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v2"}])
    assert summary(events_of(oci)[before:]) == [("Image Action", "DELETE", "v2")]
    ids = [{"imageDigest": digest}, {"imageDigest": untagged}, {"imageTag": "nothing"}]
    ecr.batch_delete_image(repositoryName=repository, imageIds=ids)
    deleted = events_of(oci)[before + 1 :]
    assert summary(deleted) == [
        ("Image Action", "DELETE", "v1"),
        ("Image Action", "DELETE", "v3"),
        ("Image Action", "DELETE", ""),
    ]
    assert [event["detail"]["image-digest"] for event in deleted] == [digest, digest, untagged]


def test_lifecycle_policies_delete_and_archive_with_events(ecr, oci, server, repository):
    for number in range(3):
        put_image(ecr, repository, f"v{number}", seed=str(number))
        server.advance_clock(60)

    def run_policy(rule):
        text = json.dumps(
            {"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", **rule[0]}, **rule[1]}]}
        )
        ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=text)
        before = len(events_of(oci))
        server.manage("run/lifecycle", {})
        return events_of(oci)[before:]

    more_than_two = {"countType": "imageCountMoreThan", "countNumber": 2}
    assert summary(run_policy((more_than_two, {"action": {"type": "expire"}}))) == [
        ("Image Action", "DELETE", "v0")
    ]
    more_than_one = {"countType": "imageCountMoreThan", "countNumber": 1}
    transition = {"action": {"type": "transition", "targetStorageClass": "archive"}}
    (archived,) = run_policy((more_than_one, transition))
    assert archived["detail"]["target-storage-class"] == "ARCHIVE"


def test_archiving_and_restoring_are_events(ecr, oci, server, repository):
    registry = Registry(server, ACCOUNT, "us-east-1")
    image_id = {"imageDigest": put_image(ecr, repository, "v1")}

    def move(target):
        registry.call(
            "UpdateImageStorageClass", repositoryName=repository, imageId=image_id, targetStorageClass=target
        )

    move("ARCHIVE")
    move("STANDARD")
    assert len(events_of(oci)) == 2
    server.manage("run/archive", {})
    pushed, archived, restored = events_of(oci)
    assert summary([pushed]) == [("Image Action", "PUSH", "v1")]
    assert archived["detail"]["target-storage-class"] == "ARCHIVE"
    assert restored["detail"]["target-storage-class"] == "STANDARD"
    assert restored["detail"]["last-activated-at"]


def test_a_basic_scan_is_an_event_when_it_is_over(ecr, oci, server, repository):
    digest = put_image(ecr, repository, "v1")
    ecr.start_image_scan(repositoryName=repository, imageId={"imageTag": "v1"})
    put_image(ecr, repository, "broken", seed="broken")
    ecr.start_image_scan(repositoryName=repository, imageId={"imageTag": "broken"})
    assert events_of(oci, "&detail-type=ECR%20Image%20Scan") == []
    server.manage("run/scans", {})
    complete, failed = events_of(oci, "&detail-type=ECR%20Image%20Scan")
    assert complete["resources"] == [f"{ARN}/app"]
    assert complete["detail"] == {
        "scan-status": "COMPLETE",
        "repository-name": "app",
        "finding-severity-counts": {"HIGH": 2, "LOW": 1},
        "image-digest": digest,
        "image-tags": ["v1"],
    }
    assert failed["detail"]["scan-status"] == "FAILED"
    assert failed["detail"]["finding-severity-counts"] == {}


def test_a_replication_is_an_event_of_the_destination(ecr, oci, server, repository):
    source = Registry(server, ACCOUNT, "us-east-1")
    near, far = Registry(server, ACCOUNT, "eu-west-1"), Registry(server, OTHER, "us-east-1")
    source.replicate_to(near, far)
    digest = put_image(ecr, repository, "v1")
    server.manage("run/replication", {})
    (event,) = events_of(oci, "&region=eu-west-1")
    assert event["detail-type"] == "ECR Replication Action"
    assert event["resources"] == [f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/app"]
    assert event["detail"] == {
        "result": "SUCCESS",
        "repository-name": "app",
        "image-digest": digest,
        "source-account": ACCOUNT,
        "action-type": "REPLICATE",
        "source-region": "us-east-1",
        "image-tag": "v1",
    }
    # The other account does not allow it, but that is tried again before it has failed.
    assert events_of(oci, f"&account={OTHER}") == []
    for _ in range(4):
        server.advance_clock(600)
        server.manage("run/replication", {})
    (event,) = events_of(oci, f"&account={OTHER}")
    assert (event["detail"]["result"], event["account"]) == ("FAILED", OTHER)


def test_replicated_deletions_are_deletions(ecr, oci, server, repository):
    source, near = Registry(server, ACCOUNT, "us-east-1"), Registry(server, ACCOUNT, "eu-west-1")
    source.replicate_to(near, deleteReplication={"enabled": True})
    digest = put_image(ecr, repository, "v1")
    server.manage("run/replication", {})
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    server.manage("run/replication", {})
    assert summary(events_of(oci, "&region=eu-west-1")) == [
        ("Replication Action", "REPLICATE", "v1"),
        ("Image Action", "DELETE", "v1"),
    ]


def test_pulling_through_is_an_event_whether_it_works_or_not(ecr, oci, server, upstream):
    ecr.create_pull_through_cache_rule(ecrRepositoryPrefix="quay", upstreamRegistryUrl="quay.io")
    digest = upstream.add_image("lib/app", "v1")
    assert oci.get("/v2/quay/lib/app/manifests/v1").status == 200
    # From the cache, which is no attempt; and making the image whole is no push.
    assert oci.get("/v2/quay/lib/app/manifests/v1").status == 200
    server.manage("run/pull-through", {})
    (event,) = events_of(oci)
    assert event["detail-type"] == "ECR Pull Through Cache Action"
    assert event["resources"] == [f"{ARN}/quay/lib/app"]
    assert event["detail"] == {
        "rule-version": "1",
        "sync-status": "SUCCESS",
        "ecr-repository-prefix": "quay",
        "repository-name": "quay/lib/app",
        "upstream-registry-url": "quay.io",
        "image-tag": "v1",
        "image-digest": digest,
    }
    upstream.fail_with = 500
    assert oci.get("/v2/quay/lib/app/manifests/v2").status == 503
    _, failed = events_of(oci)
    assert failed["detail"]["sync-status"] == "FAILED"
    assert failed["detail"]["failure-code"] == "UpstreamUnavailable"
    assert failed["detail"]["failure-reason"]
    assert (failed["detail"]["image-tag"], "image-digest" in failed["detail"]) == ("v2", False)


def test_events_can_be_asked_for_by_what_they_are_about(ecr, oci, server, repository):
    ecr.create_repository(repositoryName="other")
    oci.push_image(repository, "v1")
    server.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    oci.push_image("other", "v2")
    assert summary(events_of(oci, "&repository=other")) == [("Image Action", "PUSH", "v2")]
    assert summary(events_of(oci, "&since=2030-01-31T12:00:00Z")) == [("Image Action", "PUSH", "v2")]
    assert summary(events_of(oci, "&since=1896000000")) == [("Image Action", "PUSH", "v2")]
    assert len(oci.get("/_emulator/events").json()["events"]) == 2
    assert oci.get("/_emulator/events?limit=0").json() == {"events": []}
    assert oci.get("/_emulator/events?limit=1").json()["events"][0]["detail"]["image-tag"] == "v2"
    for query in ("limit=-1", "limit=x", "since=yesterday", "detailType=x"):
        assert oci.get(f"/_emulator/events?{query}").status == 400


def test_a_reset_takes_the_events_of_its_scope(ecr, oci, server, repository):
    other = Registry(server, OTHER, "eu-west-1")
    other.call("CreateRepository", repositoryName="app")
    put_image(other.api, "app", "v1")
    put_image(ecr, repository, "v1")
    server.manage("reset", {"account": OTHER})
    assert [event["account"] for event in events_of(oci)] == [ACCOUNT]
    server.reset()
    assert events_of(oci) == []


def test_an_index_is_an_event_as_any_image_is(oci, repository):
    child = oci.push_image(repository, seed="child")
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor(child.manifest, "application/vnd.oci.image.manifest.v1+json")],
        }
    ).encode()
    assert oci.push_manifest(repository, "all", index, OCI_INDEX).status == 201
    detail = events_of(oci)[1]["detail"]
    assert (detail["image-digest"], detail["manifest-media-type"]) == (sha256(index), OCI_INDEX)
    assert "artifact-media-type" not in detail
