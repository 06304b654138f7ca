"""The archive: images in it can be seen but not pulled, on either plane, until they are restored."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from ecr_emulator.core import pushes
from ecr_emulator.engines import archive
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import OCI_INDEX, OCI_MANIFEST, image_manifest, put_image, sha256, status_of, upload_layer

MINUTE = 60


@pytest.fixture(scope="module")
def ecr_server():
    """A server whose engines run when they are told to."""
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, engines="off")) as server:
        yield server


@pytest.fixture
def image(ecr, repository):
    """The digest of an image with a tag."""
    return put_image(ecr, repository, "v1")


CONFIG, LAYER = b"config seed", b"layer seed"


def move(ecr, target, **image_id):
    answer = ecr.update_image_storage_class(
        repositoryName="app", imageId=image_id or {"imageTag": "v1"}, targetStorageClass=target
    )
    return answer["imageStatus"]


def detail(ecr, tag="v1"):
    return ecr.describe_images(repositoryName="app", imageIds=[{"imageTag": tag}])["imageDetails"][0]


def now(server):
    return server.manage("clock", {"advance": 0})["epoch"]


def run_due(server):
    """Let the engine do what the clock says, as it does again and again where engines are on."""
    return server._run(archive.run_due(server._running.emulator))


def request(server, method, path, body=b"", **headers):
    connection = http.client.HTTPConnection(server.address)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def layer_states(ecr, *contents):
    answer = ecr.batch_check_layer_availability(
        repositoryName="app", layerDigests=[sha256(content) for content in contents]
    )
    return [layer["layerAvailability"] for layer in answer["layers"]]


def is_pullable(server, ecr, digest, tag="v1"):
    """Whether an image can be pulled, where all the ways to do so agree."""
    answer = ecr.batch_get_image(repositoryName="app", imageIds=[{"imageDigest": digest}, {"imageTag": tag}])
    outcomes = {len(answer["images"]) == 2, not answer["failures"]}
    for path in (f"manifests/{tag}", f"manifests/{digest}", f"blobs/{sha256(LAYER)}"):
        for method in ("GET", "HEAD"):
            status = status_of(server, f"/v2/app/{path}", method)
            assert status in (200, 404)
            outcomes.add(status == 200)
    (outcome,) = outcomes
    return outcome


def test_an_archived_image_is_seen_and_not_pulled(server, ecr, image):
    url = ecr.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(LAYER))["downloadUrl"]
    assert is_pullable(server, ecr, image)
    before = now(server)
    answer = ecr.update_image_storage_class(
        repositoryName="app", imageId={"imageTag": "v1"}, targetStorageClass="ARCHIVE"
    )
    del answer["ResponseMetadata"]
    assert answer == {
        "registryId": "000000000000",
        "repositoryName": "app",
        "imageId": {"imageDigest": image, "imageTag": "v1"},
        "imageStatus": "ARCHIVED",
    }
    described = detail(ecr)
    assert described["imageStatus"] == "ARCHIVED"
    assert before <= described["lastArchivedAt"].timestamp() <= now(server)
    assert "lastActivatedAt" not in described
    assert not is_pullable(server, ecr, image)
    (failure,) = ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])["failures"]
    assert failure == {
        "imageId": {"imageTag": "v1"},
        "failureCode": "ImageInaccessible",
        "failureReason": "Requested image is archived",
    }
    _, _, body = request(server, "GET", "/v2/app/manifests/v1")
    assert json.loads(body)["errors"] == [
        {"code": "MANIFEST_UNKNOWN", "message": "Requested image not found"}
    ]
    _, _, body = request(server, "GET", f"/v2/app/blobs/{sha256(LAYER)}")
    assert json.loads(body)["errors"][0]["code"] == "BLOB_UNKNOWN"
    with pytest.raises(ecr.exceptions.LayerInaccessibleException, match="is archived"):
        ecr.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(LAYER))
    assert status_of(server, urlsplit(url).path) == 404


def test_lists_show_images_by_status(server, ecr, image):
    put_image(ecr, "app", "v2", seed="two")
    put_image(ecr, "app", "v3", seed="three")
    move(ecr, "ARCHIVE", imageTag="v1")
    move(ecr, "ARCHIVE", imageTag="v2")
    move(ecr, "STANDARD", imageTag="v2")

    def listed(**given):
        identifiers = ecr.list_images(repositoryName="app", **given)["imageIds"]
        details = ecr.describe_images(repositoryName="app", **given)["imageDetails"]
        tags = [identifier["imageTag"] for identifier in identifiers]
        assert [image["imageTags"] for image in details] == [[tag] for tag in tags]
        return tags

    assert listed() == ["v3"]
    assert listed(filter={"imageStatus": "ARCHIVED"}) == ["v1"]
    assert listed(filter={"imageStatus": "ACTIVATING"}) == ["v2"]
    assert listed(filter={"imageStatus": "ANY"}) == ["v1", "v2", "v3"]


def test_layers_of_an_active_image_stay_available(server, ecr, image):
    own = upload_layer(ecr, "app", b"own")
    manifest = image_manifest(CONFIG, LAYER, b"own")
    ecr.put_image(repositoryName="app", imageManifest=manifest.decode(), imageTag="other")
    unused = b"of no image"
    upload_layer(ecr, "app", unused)
    move(ecr, "ARCHIVE", imageTag="other")
    assert layer_states(ecr, LAYER, b"own", unused, b"absent") == [
        "AVAILABLE",
        "ARCHIVED",
        "AVAILABLE",
        "UNAVAILABLE",
    ]
    assert status_of(server, f"/v2/app/blobs/{sha256(LAYER)}") == 200
    assert status_of(server, f"/v2/app/blobs/{own}") == 404
    move(ecr, "ARCHIVE", imageTag="v1")
    assert layer_states(ecr, LAYER, b"own") == ["ARCHIVED", "ARCHIVED"]


def test_restoring_takes_twenty_minutes(server, ecr, image):
    move(ecr, "ARCHIVE")
    assert move(ecr, "STANDARD") == "ACTIVATING"
    assert detail(ecr)["imageStatus"] == "ACTIVATING"
    server.advance_clock(20 * MINUTE - 30)
    assert run_due(server) == 0
    assert not is_pullable(server, ecr, image)
    assert layer_states(ecr, LAYER) == ["ARCHIVED"]
    server.advance_clock(30)
    before = now(server)
    assert run_due(server) == 1
    assert is_pullable(server, ecr, image)
    assert layer_states(ecr, LAYER) == ["AVAILABLE"]
    described = detail(ecr)
    assert described["imageStatus"] == "ACTIVE"
    assert described["lastArchivedAt"].timestamp() < before <= described["lastActivatedAt"].timestamp()
    assert run_due(server) == 0


def test_a_restored_image_counts_as_pushed(server, ecr, image, monkeypatch):
    manifest = image_manifest(CONFIG, LAYER).decode()
    ecr.put_image(repositoryName="app", imageManifest=manifest, imageTag="stable")
    seen = []
    monkeypatch.setattr(pushes, "SUBSCRIBERS", (lambda tx, call, push: seen.append((call, push)),))
    move(ecr, "ARCHIVE")
    move(ecr, "STANDARD")
    assert server.manage("run/archive", {}) == {"done": 1}
    assert [(push.tag, push.is_new) for _, push in seen] == [("stable", True), ("v1", False)]
    call, push = seen[0]
    assert (push.image.digest, push.image.status, push.image.last_activated_at) == (image, "ACTIVE", call.now)
    assert (call.registry.account, call.registry.region) == ("000000000000", "us-east-1")


def test_an_image_without_tags_is_restored_and_announced_once(server, ecr, repository, monkeypatch):
    digest = put_image(ecr, repository)
    seen = []
    monkeypatch.setattr(pushes, "SUBSCRIBERS", (lambda tx, call, push: seen.append(push),))
    move(ecr, "ARCHIVE", imageDigest=digest)
    move(ecr, "STANDARD", imageDigest=digest)
    server.manage("run/archive", {})
    assert [(push.tag, push.is_new) for push in seen] == [(None, True)]


def test_moves_that_are_not_supported(server, ecr, image):
    def refused(target):
        with pytest.raises(ecr.exceptions.ImageStorageClassUpdateNotSupportedException) as raised:
            move(ecr, target)
        return raised.value.response["Error"]["Message"]

    assert refused("STANDARD") == (
        "The image with imageId {imageDigest:null, imageTag:'v1'} in the repository with name 'app' in the "
        "registry with id '000000000000' can't be moved to the storage class STANDARD while its status is "
        "ACTIVE"
    )
    move(ecr, "ARCHIVE")
    archived_at = detail(ecr)["lastArchivedAt"]
    assert refused("ARCHIVE").endswith("ARCHIVE while its status is ARCHIVED")
    move(ecr, "STANDARD")
    assert refused("ARCHIVE").endswith("ACTIVATING")
    assert refused("STANDARD").endswith("ACTIVATING")
    assert detail(ecr)["lastArchivedAt"] == archived_at


def test_a_child_of_an_index_is_archived_after_it(server, ecr, image):
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": image, "size": 1}],
    }
    ecr.put_image(repositoryName="app", imageManifest=json.dumps(index), imageTag="index")
    with pytest.raises(ecr.exceptions.ImageStorageClassUpdateNotSupportedException, match="manifest list"):
        move(ecr, "ARCHIVE")
    assert is_pullable(server, ecr, image)
    assert move(ecr, "ARCHIVE", imageTag="index") == "ARCHIVED"
    assert is_pullable(server, ecr, image)
    assert move(ecr, "ARCHIVE") == "ARCHIVED"


def test_an_archive_needs_an_image(ecr, image):
    for image_id in ({"imageTag": "absent"}, {"imageDigest": sha256(b"absent")}):
        with pytest.raises(ecr.exceptions.ImageNotFoundException, match="does not exist within the"):
            move(ecr, "ARCHIVE", **image_id)
    for given in ({"imageId": {}}, {"imageId": {"imageDigest": "wrong"}}, {"targetStorageClass": "ATTIC"}):
        valid = {"imageId": {"imageTag": "v1"}, "targetStorageClass": "ARCHIVE"}
        with pytest.raises(ecr.exceptions.InvalidParameterException):
            ecr.update_image_storage_class(repositoryName="app", **{**valid, **given})
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.update_image_storage_class(
            repositoryName="absent", imageId={"imageTag": "v1"}, targetStorageClass="ARCHIVE"
        )


@pytest.mark.parametrize("status", ["ARCHIVED", "ACTIVATING"])
@pytest.mark.parametrize("tag", ["v1", "v2", None])
def test_putting_an_archived_image_again_restores_it_at_once(server, ecr, image, status, tag):
    ecr.put_image_tag_mutability(repositoryName="app", imageTagMutability="IMMUTABLE")
    move(ecr, "ARCHIVE")
    if status == "ACTIVATING":
        move(ecr, "STANDARD")
    named = {} if tag is None else {"imageTag": tag}
    manifest = image_manifest(CONFIG, LAYER).decode()
    answer = ecr.put_image(repositoryName="app", imageManifest=manifest, **named)
    assert answer["image"]["imageId"]["imageDigest"] == image
    assert is_pullable(server, ecr, image)
    described = detail(ecr)
    assert described["imageTags"] == sorted({"v1", tag or "v1"})
    assert described["lastActivatedAt"] >= described["lastArchivedAt"]
    with pytest.raises(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(repositoryName="app", imageManifest=manifest, **named)


def test_an_archived_image_can_be_pushed_again(server, ecr, image):
    """As a client does it that asks for each blob first."""
    move(ecr, "ARCHIVE")
    for content in (CONFIG, LAYER):
        digest = sha256(content)
        assert status_of(server, f"/v2/app/blobs/{digest}", "HEAD") == 404
        status, headers, _ = request(server, "POST", "/v2/app/blobs/uploads/")
        assert status == 202
        assert request(server, "PUT", f"{headers['Location']}?digest={digest}", content)[0] == 201
    manifest = image_manifest(CONFIG, LAYER)
    headers = {"Content-Type": OCI_MANIFEST}
    assert request(server, "PUT", "/v2/app/manifests/v1", manifest, **headers)[0] == 201
    assert is_pullable(server, ecr, image)
    assert detail(ecr)["imageStatus"] == "ACTIVE"


def test_an_archived_layer_can_be_uploaded_again(server, ecr, image):
    with pytest.raises(ecr.exceptions.LayerAlreadyExistsException):
        upload_layer(ecr, "app", LAYER)
    move(ecr, "ARCHIVE")
    assert upload_layer(ecr, "app", LAYER) == sha256(LAYER)
    upload_layer(ecr, "app", b"another config")
    other = image_manifest(b"another config", LAYER).decode()
    ecr.put_image(repositoryName="app", imageManifest=other, imageTag="other")
    assert layer_states(ecr, LAYER, CONFIG) == ["AVAILABLE", "ARCHIVED"]
    assert detail(ecr)["imageStatus"] == "ARCHIVED"


def test_a_restoration_that_was_overtaken_does_nothing(server, ecr, image):
    """The image was pushed again and archived again before the time of the first restoration."""
    move(ecr, "ARCHIVE")
    move(ecr, "STANDARD")
    manifest = image_manifest(CONFIG, LAYER).decode()
    ecr.put_image(repositoryName="app", imageManifest=manifest, imageTag="v1")
    server.advance_clock(10 * MINUTE)
    move(ecr, "ARCHIVE")
    move(ecr, "STANDARD")
    server.advance_clock(10 * MINUTE)
    run_due(server)
    assert detail(ecr)["imageStatus"] == "ACTIVATING"
    server.advance_clock(10 * MINUTE)
    run_due(server)
    assert detail(ecr)["imageStatus"] == "ACTIVE"


def test_a_restoration_of_what_is_gone_does_nothing(server, ecr, image):
    put_image(ecr, "app", "v2", seed="two")
    for tag in ("v1", "v2"):
        move(ecr, "ARCHIVE", imageTag=tag)
        move(ecr, "STANDARD", imageTag=tag)
    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
    assert server.manage("run/archive", {}) == {"done": 2}
    move(ecr, "ARCHIVE", imageTag="v2")
    move(ecr, "STANDARD", imageTag="v2")
    ecr.delete_repository(repositoryName="app", force=True)
    assert server.manage("run/archive", {}) == {"done": 1}
    assert server.manage("run/archive", {}) == {"done": 0}


def test_an_archived_image_keeps_its_repository(ecr, image):
    move(ecr, "ARCHIVE")
    with pytest.raises(ecr.exceptions.RepositoryNotEmptyException):
        ecr.delete_repository(repositoryName="app")
    deleted = ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
    assert deleted["failures"] == []
    ecr.delete_repository(repositoryName="app")


def test_archived_artifacts_are_no_referrers(server, ecr, image):
    signature = put_image(
        ecr,
        "app",
        seed="signature",
        subject={"mediaType": OCI_MANIFEST, "digest": image, "size": 1},
    )

    def referrers():
        _, _, body = request(server, "GET", f"/v2/app/referrers/{image}")
        return [manifest["digest"] for manifest in json.loads(body)["manifests"]]

    assert referrers() == [signature]
    move(ecr, "ARCHIVE", imageDigest=signature)
    assert referrers() == []


def test_a_policy_does_not_touch_an_image_that_is_being_restored(server, ecr, image):
    server.advance_clock(100 * 24 * 60 * MINUTE)
    move(ecr, "ARCHIVE")
    move(ecr, "STANDARD")
    rule = {
        "rulePriority": 1,
        "selection": {
            "tagStatus": "any",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": 30,
        },
        "action": {"type": "transition", "targetStorageClass": "archive"},
    }
    ecr.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=json.dumps({"rules": [rule]}))
    server.manage("run/lifecycle", {})
    assert detail(ecr)["imageStatus"] == "ACTIVATING"
    server.manage("run/archive", {})
    server.manage("run/lifecycle", {})
    assert detail(ecr)["imageStatus"] == "ACTIVE"
