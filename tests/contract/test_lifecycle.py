"""Lifecycle policies at work: what they expire and archive, when, and what a preview says of it."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from ecr_emulator.engines import lifecycle
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import OCI_INDEX, OCI_MANIFEST, descriptor, put_image, status_of

HOUR = 3600
DAY = 24 * HOUR
EXPIRE = {"type": "expire"}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}


@pytest.fixture(scope="module")
def ecr_server():
    """A server whose engines run when they are told to, so that previews can be seen in progress."""
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, engines="off")) as server:
        yield server


def policy(*rules):
    return json.dumps({"rules": rules}, indent=4)


def keep(count, action=EXPIRE, priority=1, **selection):
    """A rule that keeps the newest images."""
    return {
        "rulePriority": priority,
        "description": "keep the newest",
        "selection": {
            "tagStatus": "any",
            "countType": "imageCountMoreThan",
            "countNumber": count,
            **selection,
        },
        "action": action,
    }


def older(days, action=EXPIRE, **selection):
    """A rule on images that were pushed some days ago."""
    timed = {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}
    return keep(days, action, **timed | selection)


@pytest.fixture
def images(server, ecr, repository):
    """The digests of three images by tag, pushed an hour apart."""
    digests = {}
    for tag in ("v1", "v2", "v3"):
        digests[tag] = put_image(ecr, repository, tag, seed=tag)
        server.advance_clock(HOUR)
    return digests


def tags(ecr, repository, status="ANY"):
    listed = ecr.list_images(repositoryName=repository, filter={"imageStatus": status})["imageIds"]
    return {entry.get("imageTag") for entry in listed}


def digests(ecr, repository):
    listed = ecr.list_images(repositoryName=repository, filter={"imageStatus": "ANY"})["imageIds"]
    return {entry["imageDigest"] for entry in listed}


def evaluated_at(ecr, repository):
    return ecr.get_lifecycle_policy(repositoryName=repository).get("lastEvaluatedAt")


def now(server):
    return datetime.fromtimestamp(server.manage("clock", {"advance": 0})["epoch"], UTC)


def run_due(server):
    """Let the engine do what the clock says, as it does again and again where engines are on."""
    return server._run(lifecycle.run_due(server._running.emulator))


def put_json(ecr, repository, manifest, **named):
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), **named)
    return descriptor(json.dumps(manifest).encode(), "")["digest"]


def put_index(ecr, repository, tag, *children):
    return put_json(
        ecr,
        repository,
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{"mediaType": OCI_MANIFEST, "digest": child, "size": 1} for child in children],
        },
        imageTag=tag,
    )


# Applying


def test_expired_images_are_gone_with_their_tags(server, ecr, repository, images):
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=policy(keep(1)))
    assert tags(ecr, repository) == {"v1", "v2", "v3"}
    before = now(server)
    assert server.manage("run/lifecycle", {}) == {"done": 1}
    assert before <= evaluated_at(ecr, repository) <= now(server)
    assert tags(ecr, repository) == {"v3"}
    assert digests(ecr, repository) == {images["v3"]}
    for reference in ("v1", images["v2"]):
        assert status_of(server, f"/v2/{repository}/manifests/{reference}") == 404
    assert status_of(server, f"/v2/{repository}/manifests/v3") == 200


def test_transitioned_images_are_archived(server, ecr, repository, images):
    ecr.put_lifecycle_policy(
        repositoryName=repository, lifecyclePolicyText=policy(older(1, ARCHIVE, tagStatus="any"))
    )
    server.advance_clock(DAY - 2 * HOUR)
    server.manage("run/lifecycle", {})
    assert tags(ecr, repository, "ARCHIVED") == {"v1", "v2"}
    assert tags(ecr, repository, "ACTIVE") == {"v3"}
    detail = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    assert detail["lastArchivedAt"] == evaluated_at(ecr, repository)
    assert status_of(server, f"/v2/{repository}/manifests/v1") == 404


def test_a_policy_is_evaluated_within_a_day_and_then_each_day(server, ecr, repository, images):
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=policy(keep(1)))
    server.advance_clock(DAY - 60)
    assert run_due(server) == 0
    assert evaluated_at(ecr, repository) is None
    server.advance_clock(60)
    assert run_due(server) == 1
    first = evaluated_at(ecr, repository)
    assert tags(ecr, repository) == {"v3"}
    put_image(ecr, repository, "v4", seed="v4")
    server.advance_clock(DAY - 60)
    assert run_due(server) == 0
    server.advance_clock(60)
    assert run_due(server) == 1
    assert (evaluated_at(ecr, repository) - first).total_seconds() == pytest.approx(DAY, abs=30)
    assert tags(ecr, repository) == {"v4"}


def test_setting_a_policy_again_does_not_put_it_off(server, ecr, repository, images):
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=policy(keep(2)))
    server.advance_clock(DAY - HOUR)
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=policy(keep(1)))
    server.advance_clock(HOUR)
    assert run_due(server) == 1
    assert tags(ecr, repository) == {"v3"}


def test_a_policy_that_was_removed_is_not_evaluated(server, ecr, repository, images):
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=policy(keep(1)))
    ecr.delete_lifecycle_policy(repositoryName=repository)
    server.advance_clock(2 * DAY)
    assert run_due(server) == 0
    assert server.manage("run/lifecycle", {}) == {"done": 0}
    assert tags(ecr, repository) == {"v1", "v2", "v3"}


def test_a_child_of_an_index_goes_after_it(server, ecr, repository):
    child = put_image(ecr, repository, seed="child")
    index = put_index(ecr, repository, "latest", child)
    server.advance_clock(2 * DAY)
    text = policy(older(1, tagStatus="untagged"))
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=text)
    server.manage("run/lifecycle", {})
    assert digests(ecr, repository) == {child, index}
    text = policy(older(1))
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=text)
    server.manage("run/lifecycle", {})
    assert digests(ecr, repository) == {child}
    server.manage("run/lifecycle", {})
    assert digests(ecr, repository) == set()


def test_artifacts_go_with_their_subject_or_after_it(server, ecr, repository, images):
    signatures = {
        tag: put_image(
            ecr,
            repository,
            seed=f"signature of {tag}",
            subject={"mediaType": OCI_MANIFEST, "digest": images[tag], "size": 1},
        )
        for tag in images
    }
    server.advance_clock(DAY)
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v3"}])
    ecr.update_image_storage_class(
        repositoryName=repository, imageId={"imageTag": "v2"}, targetStorageClass="ARCHIVE"
    )
    text = policy(older(1, tagStatus="tagged", tagPatternList=["v1"]))
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=text)
    server.manage("run/lifecycle", {})
    listed = ecr.describe_images(repositoryName=repository, filter={"imageStatus": "ANY"})["imageDetails"]
    assert {image["imageDigest"]: image["imageStatus"] for image in listed} == {
        images["v2"]: "ARCHIVED",
        signatures["v2"]: "ARCHIVED",
    }


# Previews


def start(ecr, repository, **given):
    return ecr.start_lifecycle_policy_preview(repositoryName=repository, **given)


def preview(ecr, repository, **given):
    answer = ecr.get_lifecycle_policy_preview(repositoryName=repository, **given)
    del answer["ResponseMetadata"]
    return answer


def previewed(ecr, repository, **given):
    return [result["imageDigest"] for result in preview(ecr, repository, **given)["previewResults"]]


def test_a_preview_tells_what_would_expire_and_changes_nothing(server, ecr, repository, images):
    text = policy(keep(1))
    answer = start(ecr, repository, lifecyclePolicyText=text)
    identity = {
        "registryId": "000000000000",
        "repositoryName": repository,
        "lifecyclePolicyText": text,
    }
    assert answer.items() >= (identity | {"status": "IN_PROGRESS"}).items()
    assert preview(ecr, repository) == identity | {"status": "IN_PROGRESS", "previewResults": []}
    server.manage("run/lifecycle", {})
    complete = preview(ecr, repository)
    described = ecr.describe_images(repositoryName=repository)["imageDetails"]
    pushed = {image["imageDigest"]: image["imagePushedAt"] for image in described}
    assert complete == identity | {
        "status": "COMPLETE",
        "previewResults": [
            {
                "imageTags": [tag],
                "imageDigest": images[tag],
                "imagePushedAt": pushed[images[tag]],
                "action": {"type": "EXPIRE"},
                "appliedRulePriority": 1,
                "storageClass": "STANDARD",
            }
            for tag in ("v1", "v2")
        ],
        "summary": {"expiringImageTotalCount": 2},
    }
    assert tags(ecr, repository, "ACTIVE") == {"v1", "v2", "v3"}
    with pytest.raises(ecr.exceptions.LifecyclePolicyNotFoundException):
        ecr.get_lifecycle_policy(repositoryName=repository)


def test_without_a_text_the_policy_that_is_set_is_previewed(server, ecr, repository, images):
    text = policy(keep(1, ARCHIVE))
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=text)
    assert start(ecr, repository)["lifecyclePolicyText"] == text
    ecr.delete_lifecycle_policy(repositoryName=repository)
    server.manage("run/lifecycle", {})
    complete = preview(ecr, repository)
    assert [result["action"] for result in complete["previewResults"]] == [
        {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}
    ] * 2
    assert complete["summary"] == {
        "expiringImageTotalCount": 0,
        "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 2}],
    }
    assert tags(ecr, repository, "ACTIVE") == {"v1", "v2", "v3"}


def test_a_preview_of_archived_images(server, ecr, repository, images):
    ecr.update_image_storage_class(
        repositoryName=repository, imageId={"imageTag": "v1"}, targetStorageClass="ARCHIVE"
    )
    server.advance_clock(91 * DAY)
    rule = older(90, countType="sinceImageTransitioned", storageClass="archive")
    start(ecr, repository, lifecyclePolicyText=policy(rule))
    server.manage("run/lifecycle", {})
    (result,) = preview(ecr, repository)["previewResults"]
    assert (result["imageTags"], result["storageClass"]) == (["v1"], "ARCHIVE")


def test_results_by_tag_status_image_and_page(server, ecr, repository, images):
    untagged = put_image(ecr, repository, seed="untagged")
    server.advance_clock(HOUR)
    put_image(ecr, repository, "v4", seed="v4")
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    server.manage("run/lifecycle", {})
    tagged = [images["v1"], images["v2"], images["v3"]]
    assert previewed(ecr, repository) == [*tagged, untagged]
    assert previewed(ecr, repository, filter={"tagStatus": "ANY"}) == [*tagged, untagged]
    assert previewed(ecr, repository, filter={"tagStatus": "TAGGED"}) == tagged
    assert previewed(ecr, repository, filter={"tagStatus": "UNTAGGED"}) == [untagged]
    ids = [
        {"imageTag": "v2"},
        {"imageDigest": untagged},
        {"imageTag": "v4"},
        {"imageTag": "absent"},
        {"imageDigest": images["v1"], "imageTag": "v2"},
    ]
    assert previewed(ecr, repository, imageIds=ids) == [images["v2"], untagged]
    assert previewed(ecr, repository, imageIds=ids, filter={"tagStatus": "TAGGED"}) == [images["v2"]]
    paginator = ecr.get_paginator("get_lifecycle_policy_preview")
    pages = list(
        paginator.paginate(
            repositoryName=repository, filter={"tagStatus": "TAGGED"}, PaginationConfig={"PageSize": 2}
        )
    )
    assert [[result["imageDigest"] for result in page["previewResults"]] for page in pages] == [
        tagged[:2],
        tagged[2:],
    ]
    assert [page["summary"]["expiringImageTotalCount"] for page in pages] == [4, 4]


def test_an_image_that_went_after_the_preview_is_not_in_it(server, ecr, repository, images):
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    server.manage("run/lifecycle", {})
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    assert previewed(ecr, repository) == [images["v2"]]


def test_a_preview_can_be_started_again_once_it_is_done(server, ecr, repository, images):
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    with pytest.raises(ecr.exceptions.LifecyclePolicyPreviewInProgressException, match="has not completed"):
        start(ecr, repository, lifecyclePolicyText=policy(keep(2)))
    server.manage("run/lifecycle", {})
    start(ecr, repository, lifecyclePolicyText=policy(keep(2)))
    server.manage("run/lifecycle", {})
    assert previewed(ecr, repository) == [images["v1"]]


def test_a_preview_expires_after_a_day(server, ecr, repository, images):
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    server.manage("run/lifecycle", {})
    server.advance_clock(DAY)
    expired = preview(ecr, repository)
    assert (expired["status"], expired["previewResults"]) == ("EXPIRED", [])
    assert "summary" not in expired
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    server.manage("run/lifecycle", {})
    assert preview(ecr, repository)["status"] == "COMPLETE"


def test_a_preview_that_can_not_be_evaluated_fails(server, ecr, repository, images, monkeypatch):
    monkeypatch.setattr("ecr_emulator.core.lifecycle.evaluate", lambda *_: 1 // 0)
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=policy(keep(1)))
    server.manage("run/lifecycle", {})
    assert preview(ecr, repository)["status"] == "FAILED"
    assert evaluated_at(ecr, repository) is None
    monkeypatch.undo()
    server.advance_clock(HOUR)
    assert run_due(server) == 1
    assert tags(ecr, repository) == {"v3"}


def test_a_preview_needs_a_repository_and_a_policy(ecr, repository):
    text = policy(keep(1))
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        start(ecr, "absent", lifecyclePolicyText=text)
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        preview(ecr, "absent")
    with pytest.raises(ecr.exceptions.LifecyclePolicyNotFoundException, match="does not exist for the repos"):
        start(ecr, repository)
    with pytest.raises(ecr.exceptions.InvalidParameterException, match="Lifecycle policy validation failure"):
        start(ecr, repository, lifecyclePolicyText=text.replace("expire", "explode"))
    with pytest.raises(ecr.exceptions.LifecyclePolicyPreviewNotFoundException, match="'app' in the registry"):
        preview(ecr, repository)


def test_previews_refuse_what_does_not_go_together(server, ecr, repository, images):
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    server.manage("run/lifecycle", {})
    ids = [{"imageTag": "v1"}]
    token = preview(ecr, repository, maxResults=1)["nextToken"]
    for given in (
        {"imageIds": ids, "maxResults": 1},
        {"imageIds": ids, "nextToken": token},
        {"imageIds": [{}]},
        {"nextToken": "forged"},
        {"nextToken": token, "filter": {"tagStatus": "TAGGED"}},
    ):
        with pytest.raises(ecr.exceptions.InvalidParameterException):
            preview(ecr, repository, **given)


def test_a_preview_ends_with_its_repository(ecr, repository):
    start(ecr, repository, lifecyclePolicyText=policy(keep(1)))
    ecr.delete_repository(repositoryName=repository)
    ecr.create_repository(repositoryName=repository)
    with pytest.raises(ecr.exceptions.LifecyclePolicyPreviewNotFoundException):
        preview(ecr, repository)


def test_the_command_line_waits_for_a_preview():
    """With engines on, nobody has to tell the server to go on."""

    with BackgroundServer() as server:

        def aws(*arguments):
            return subprocess.run(
                [sys.executable, "-m", "awscli", "ecr", *arguments, "--repository-name", "app"],
                env={
                    "AWS_ENDPOINT_URL_ECR": server.url,
                    "AWS_ACCESS_KEY_ID": "testing",
                    "AWS_SECRET_ACCESS_KEY": "testing",
                    "AWS_DEFAULT_REGION": "us-east-1",
                    "NO_PROXY": "127.0.0.1",
                },
                capture_output=True,
                text=True,
                check=True,
            ).stdout

        aws("create-repository")
        started = aws("start-lifecycle-policy-preview", "--lifecycle-policy-text", policy(keep(1)))
        assert json.loads(started)["status"] == "IN_PROGRESS"
        aws("wait", "lifecycle-policy-preview-complete")
        complete = json.loads(aws("get-lifecycle-policy-preview"))
    assert (complete["status"], complete["previewResults"], complete["summary"]) == (
        "COMPLETE",
        [],
        {"expiringImageTotalCount": 0},
    )
