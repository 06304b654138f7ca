"""Replication backfills: images that were there before the rules are pulled from their destination.

The operations are newer than most SDKs, so that they are called without one.
"""

import json
import uuid

import pytest

from ecr_emulator.core import replicas
from ecr_emulator.core.replicas import RETRY_DELAYS
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_INDEX, OCI_MANIFEST, descriptor, put_image, sha256
from tests.contract.registries import ApiError, Registry, run, run_to_the_end

OWN, OTHER = "111122223333", "444455556666"
DENIED = "DESTINATION_REGISTRY_ACCESS_DENIED"
DAY = 86400


@pytest.fixture(scope="module")
def ecr_server():
    """A server whose engines run when they are told to."""
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, engines="off")) as server:
        yield server


@pytest.fixture
def source(server):
    source = Registry(server, OWN, "us-east-1")
    source.api.create_repository(repositoryName="app")
    return source


@pytest.fixture
def west(server):
    return Registry(server, OWN, "us-west-2")


@pytest.fixture
def other(server):
    return Registry(server, OTHER, "eu-west-1")


@pytest.fixture
def pushed(source):
    """An image with two tags and an image with none, older than any rule."""
    tagged = put_image(source.api, "app", "v1", seed="tagged")
    put_image(source.api, "app", "v2", seed="tagged")
    return {(tagged, "v1"), (tagged, "v2"), (put_image(source.api, "app", seed="untagged"), None)}


def start(source, destination):
    return source.call("StartReplicationBackfill", destination=destination.destination)


def stop(source, backfill):
    return source.call("StopReplicationBackfill", replicationBackfillId=backfill["replicationBackfillId"])


def results_of(source, backfill, **given):
    return source.call(
        "DescribeReplicationBackfillResults",
        replicationBackfillId=backfill["replicationBackfillId"],
        **given,
    )


def listed(source, **given):
    return source.call("ListReplicationBackfills", **given)["backfills"]


def image_ids(results):
    return {(entry["imageId"]["imageDigest"], entry["imageId"].get("imageTag")) for entry in results}


def permit(action="ecr:*"):
    return {
        "Effect": "Allow",
        "Principal": {"AWS": OWN},
        "Action": action,
        "Resource": f"arn:aws:ecr:eu-west-1:{OTHER}:repository/*",
    }


def test_what_was_there_before_the_rule_is_copied(server, source, west, pushed):
    source.replicate_to(west)
    assert run(server) == 0
    backfill = start(source, west)
    uuid.UUID(backfill["replicationBackfillId"])
    assert backfill == {
        "replicationBackfillId": backfill["replicationBackfillId"],
        "registryId": OWN,
        "destination": west.destination,
        "status": "PREPARING",
        "startedAt": backfill["startedAt"],
    }
    preparing = {name: value for name, value in backfill.items() if name != "registryId"}
    assert listed(source) == [preparing]
    assert results_of(source, backfill) == {**preparing, "registryId": OWN, "results": []}

    run(server)
    assert west.image_ids("app") == pushed
    for digest, tag in pushed:
        assert sha256(west.pull("app", tag or digest)) == digest
        assert sha256(west.pull_by_host("app", tag or digest)) == digest
        assert source.status("app", imageDigest=digest) == {str(west): ("COMPLETE", None)}
    done = results_of(source, backfill)
    assert done["status"] == "COMPLETE"
    assert done["progress"] == {
        "totalReplicationCount": 3,
        "completedReplicationCount": 3,
        "failedReplicationCount": 0,
        "failureCodes": [],
    }
    assert done["startedAt"] <= done["endedAt"]
    assert image_ids(done["results"]) == pushed
    assert {(entry["repositoryName"], entry["status"]) for entry in done["results"]} == {("app", "COMPLETE")}
    assert [set(entry) for entry in done["results"]] == [{"repositoryName", "imageId", "status"}] * 3
    assert listed(source) == [
        {name: value for name, value in done.items() if name not in ("registryId", "results")}
    ]


def test_only_what_the_rules_select_for_the_destination_is_copied(server, source, west, other, pushed):
    source.api.create_repository(repositoryName="prod/web")
    web = put_image(source.api, "prod/web", "v1")
    prefix = [{"filter": "prod/", "filterType": "PREFIX_MATCH"}]
    source.replicate(
        {"destinations": [west.destination], "repositoryFilters": prefix},
        {"destinations": [other.destination]},
    )
    other.set_policy(permit())
    for destination, copied in ((west, set()), (other, pushed)):
        start(source, destination)
        run(server)
        assert destination.image_ids("prod/web") == {(web, "v1")}
        assert destination.image_ids("app") == copied


def test_an_index_is_copied_with_its_images(server, source, west):
    child = put_image(source.api, "app", seed="amd64")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor(source.pull("app", child), OCI_MANIFEST)],
        }
    )
    source.api.put_image(repositoryName="app", imageManifest=manifest, imageTag="multi")
    source.replicate_to(west)
    backfill = start(source, west)
    run(server)
    assert west.pull("app", "multi").decode() == manifest
    shown = {entry["imageId"].get("imageTag"): entry for entry in results_of(source, backfill)["results"]}
    assert shown["multi"]["subImageFailureCodes"] == []
    assert "subImageFailureCodes" not in shown[None]


def test_a_registry_without_images_is_done_at_once(server, source, west):
    source.replicate_to(west)
    backfill = start(source, west)
    run(server)
    done = results_of(source, backfill)
    assert (done["status"], done["results"]) == ("COMPLETE", [])
    assert done["progress"]["totalReplicationCount"] == 0


def test_a_backfill_again_changes_nothing(server, source, west, pushed):
    source.replicate_to(west)
    for _ in range(2):
        backfill = start(source, west)
        run(server)
        assert results_of(source, backfill)["progress"]["completedReplicationCount"] == 3
        assert west.image_ids("app") == pushed


def test_replications_that_fail_are_counted_and_listed(server, source, other, pushed):
    other.api.create_repository(repositoryName="app")
    other.set_policy(permit("ecr:ReplicateImage"))
    source.api.create_repository(repositoryName="new")
    new = put_image(source.api, "new", "v1")
    source.replicate_to(other)
    backfill = start(source, other)
    run(server)
    under_way = results_of(source, backfill)
    assert (under_way["status"], under_way["results"]) == ("IN_PROGRESS", [])
    assert "endedAt" not in under_way
    assert under_way["progress"] == {
        "totalReplicationCount": 4,
        "completedReplicationCount": 3,
        "failedReplicationCount": 0,
        "failureCodes": [],
    }
    run_to_the_end(server)
    done = results_of(source, backfill)
    # The threshold of failures is for a hundred replications and more.
    assert done["status"] == "COMPLETE"
    assert done["progress"] == {
        "totalReplicationCount": 4,
        "completedReplicationCount": 3,
        "failedReplicationCount": 1,
        "failureCodes": [DENIED],
    }
    assert image_ids(results_of(source, backfill, resultStatusFilter="COMPLETE")["results"]) == pushed
    assert results_of(source, backfill, resultStatusFilter="FAILED")["results"] == [
        {
            "repositoryName": "new",
            "imageId": {"imageDigest": new, "imageTag": "v1"},
            "status": "FAILED",
            "failureCode": DENIED,
        }
    ]
    assert source.status("new", imageTag="v1") == {str(other): ("FAILED", DENIED)}


def test_an_index_that_fails_tells_of_its_images(server, source, other):
    child = put_image(source.api, "app", seed="amd64")
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor(source.pull("app", child), OCI_MANIFEST)],
        }
    )
    source.api.put_image(repositoryName="app", imageManifest=manifest, imageTag="multi")
    source.replicate_to(other)
    backfill = start(source, other)
    run_to_the_end(server)
    shown = {entry["imageId"].get("imageTag"): entry for entry in results_of(source, backfill)["results"]}
    assert (shown["multi"]["failureCode"], shown["multi"]["subImageFailureCodes"]) == (DENIED, [DENIED])


def test_images_that_are_gone_by_then_fail(server, source, other, pushed):
    source.replicate_to(other)
    backfill = start(source, other)
    run(server)
    source.api.delete_repository(repositoryName="app", force=True)
    server.advance_clock(RETRY_DELAYS[0] + 1)
    run(server)
    done = results_of(source, backfill)
    assert done["status"] == "COMPLETE"
    assert image_ids(done["results"]) == pushed
    assert {entry["failureCode"] for entry in done["results"]} == {"SOURCE_IMAGE_NOT_FOUND"}


def test_half_of_a_hundred_failures_end_a_backfill(server, source, other):
    put_image(source.api, "app", "v0")
    manifest = source.pull("app", "v0").decode()
    for number in range(1, 120):
        source.api.put_image(repositoryName="app", imageManifest=manifest, imageTag=f"v{number}")
    source.replicate_to(other)
    backfill = start(source, other)
    run_to_the_end(server)
    done = results_of(source, backfill, maxResults=1000)
    assert (done["status"], done["failureCode"]) == ("FAILED", "FAILURE_THRESHOLD_EXCEEDED")
    assert done["progress"]["totalReplicationCount"] == 120
    assert done["progress"]["failedReplicationCount"] == len(done["results"]) == 100
    assert listed(source)[0]["failureCode"] == "FAILURE_THRESHOLD_EXCEEDED"


def test_a_backfill_that_can_not_be_prepared_fails(server, source, west, pushed, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("broken")

    source.replicate_to(west)
    backfill = start(source, west)
    monkeypatch.setattr(replicas.backfills, "prepare", broken)
    run(server)
    assert results_of(source, backfill)["status"] == "PREPARING"
    run_to_the_end(server)
    done = results_of(source, backfill)
    assert (done["status"], done["failureCode"]) == ("FAILED", "INTERNAL_ERROR")
    assert "progress" not in done


# Stopping


def test_a_backfill_is_stopped_before_it_is_prepared(server, source, west, pushed):
    source.replicate_to(west)
    backfill = start(source, west)
    stopped = stop(source, backfill)
    assert stopped == {**backfill, "status": "STOPPED"}
    run(server)
    assert west.image_ids("app") == set()
    done = results_of(source, backfill)
    assert (done["status"], done["results"]) == ("STOPPED", [])
    assert "endedAt" in done
    assert "progress" not in done


def test_a_stopped_backfill_ends_with_the_replications_that_were_begun(server, source, other, pushed):
    source.replicate_to(other)
    backfill = start(source, other)
    run(server)
    assert stop(source, backfill)["status"] == "STOPPING"
    with pytest.raises(ApiError) as raised:
        stop(source, backfill)
    assert raised.value.code == "ReplicationBackfillInvalidStatusException"
    other.set_policy(permit())
    server.advance_clock(RETRY_DELAYS[0] + 1)
    run(server)
    done = results_of(source, backfill)
    assert (done["status"], image_ids(done["results"])) == ("STOPPED", pushed)
    assert other.image_ids("app") == pushed


def test_what_was_copied_before_the_stop_stays(server, source, other, pushed):
    source.api.create_repository(repositoryName="new")
    put_image(source.api, "new", "v1")
    other.api.create_repository(repositoryName="app")
    other.set_policy(permit("ecr:ReplicateImage"))
    source.replicate_to(other)
    backfill = start(source, other)
    run(server)
    assert stop(source, backfill)["status"] == "STOPPING"
    run_to_the_end(server)
    assert other.image_ids("app") == pushed
    done = results_of(source, backfill)
    assert done["status"] == "STOPPED"
    assert done["progress"]["completedReplicationCount"] == 3


# Errors


def error_of(call, *arguments, **given):
    with pytest.raises(ApiError) as raised:
        call(*arguments, **given)
    return raised.value


def test_the_destination_has_to_be_one_of_the_rules(source, west, other):
    source.replicate_to(west)
    error = error_of(start, source, other)
    assert error.code == "InvalidParameterException"
    assert "Destination must be configured in the replication configuration" in error.message
    assert listed(source) == []


def test_one_backfill_at_a_time_goes_to_a_region(server, source, west):
    neighbour = Registry(server, OTHER, "us-west-2")
    source.replicate_to(west, neighbour)
    backfill = start(source, west)
    for destination in (west, neighbour):
        error = error_of(start, source, destination)
        assert error.code == "ReplicationBackfillInProgressException"
        assert "'us-west-2'" in error.message
    stop(source, backfill)
    start(source, neighbour)


def test_ten_backfills_run_at_once(server, source):
    regions = [Registry(server, OWN, f"region-{number}") for number in range(11)]
    source.replicate_to(*regions)
    begun = [start(source, region) for region in regions[:10]]
    error = error_of(start, source, regions[10])
    assert error.code == "LimitExceededException"
    stop(source, begun[0])
    start(source, regions[10])


def test_an_unknown_backfill(source, west):
    source.replicate_to(west)
    start(source, west)
    unknown = {"replicationBackfillId": str(uuid.uuid4())}
    for call in (stop, results_of):
        error = error_of(call, source, unknown)
        assert error.code == "ReplicationBackfillNotFoundException"
        assert unknown["replicationBackfillId"] in error.message
    # Another registry knows nothing of it.
    assert error_of(results_of, west, listed(source)[0]).code == "ReplicationBackfillNotFoundException"
    assert listed(west) == []


def test_a_backfill_that_has_ended_can_not_be_stopped(server, source, west, pushed):
    source.replicate_to(west)
    backfill = start(source, west)
    run(server)
    error = error_of(stop, source, backfill)
    assert error.code == "ReplicationBackfillInvalidStatusException"
    assert error.message.endswith("its status is COMPLETE")


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("StartReplicationBackfill", {}),
        ("StartReplicationBackfill", {"destination": {"region": "us-west-2"}}),
        ("StopReplicationBackfill", {"replicationBackfillId": "nonsense"}),
        ("DescribeReplicationBackfillResults", {"replicationBackfillId": "nonsense"}),
        ("ListReplicationBackfills", {"maxResults": 51}),
        ("ListReplicationBackfills", {"maxResults": 0}),
        ("ListReplicationBackfills", {"nextToken": "forged"}),
    ],
)
def test_bad_input(source, operation, given):
    assert error_of(source.call, operation, **given).code == "InvalidParameterException"


# Pages, and what is kept


def test_backfills_are_listed_in_pages_the_newest_first(server, source):
    regions = [Registry(server, OWN, f"region-{number}") for number in range(5)]
    source.replicate_to(*regions)
    begun = [start(source, region)["replicationBackfillId"] for region in regions]
    pages, token = [], {}
    while token is not None:
        page = source.call("ListReplicationBackfills", maxResults=2, **token)
        pages.append(page["backfills"])
        token = {"nextToken": page["nextToken"]} if "nextToken" in page else None
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [entry["replicationBackfillId"] for page in pages for entry in page] == begun[::-1]


def test_a_page_has_25_backfills_by_default(server, source, west):
    source.replicate_to(west)
    for _ in range(26):
        start(source, west)
        run(server)
    page = source.call("ListReplicationBackfills")
    assert len(page["backfills"]) == 25
    rest = source.call("ListReplicationBackfills", nextToken=page["nextToken"])
    assert (len(rest["backfills"]), "nextToken" in rest) == (1, False)


def test_results_come_in_pages(server, source, west, pushed):
    source.replicate_to(west)
    backfill = start(source, west)
    run(server)
    first = results_of(source, backfill, maxResults=2, resultStatusFilter="COMPLETE")
    assert len(first["results"]) == 2
    token = first["nextToken"]
    rest = results_of(source, backfill, maxResults=2, resultStatusFilter="COMPLETE", nextToken=token)
    assert "nextToken" not in rest
    assert image_ids(first["results"] + rest["results"]) == pushed
    # A token is for its own list.
    error = error_of(results_of, source, backfill, nextToken=token)
    assert error.code == "InvalidParameterException"


def test_what_has_ended_is_kept_for_90_days(server, source, west, other, pushed):
    source.replicate_to(west, other)
    ended = start(source, west)
    run(server)
    running = start(source, other)
    server.advance_clock(90 * DAY - 60)
    assert len(listed(source)) == 2
    server.advance_clock(120)
    assert [entry["replicationBackfillId"] for entry in listed(source)] == [running["replicationBackfillId"]]
    assert error_of(results_of, source, ended).code == "ReplicationBackfillNotFoundException"
    start(source, west)
    assert len(listed(source)) == 2


def test_a_backfill_goes_on_after_a_restart(tmp_path):
    settings = Settings(data_dir=str(tmp_path), port=0, engines="off")
    with BackgroundServer(settings) as server:
        source, other = Registry(server, OWN, "us-east-1"), Registry(server, OTHER, "eu-west-1")
        source.api.create_repository(repositoryName="app")
        digest = put_image(source.api, "app", "v1")
        source.replicate_to(other)
        backfill = start(source, other)
    with BackgroundServer(settings) as server:
        run(server)
        Registry(server, OTHER, "eu-west-1").set_policy(permit())
    with BackgroundServer(settings) as server:
        source, other = Registry(server, OWN, "us-east-1"), Registry(server, OTHER, "eu-west-1")
        assert results_of(source, backfill)["status"] == "IN_PROGRESS"
        server.advance_clock(RETRY_DELAYS[0] + 1)
        run(server)
        assert results_of(source, backfill)["status"] == "COMPLETE"
        assert sha256(other.pull("app", "v1")) == digest


def test_a_reset_removes_the_backfills_of_the_registry(server, source, west, pushed):
    source.replicate_to(west)
    start(source, west)
    server.manage("reset", {"account": OWN})
    assert listed(source) == []
    assert run(server) == 0
