"""Manifests over /v2/: pushing, pulling and deleting images, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    descriptor,
    image_manifest,
    put_image,
    sha256,
)
from tests.contract.oci_client import Answer, OciClient, PushedImage, api_client, no_such_repository, sha512

MAX_SIZE = 4 * 1024 * 1024
EMPTY_JSON = b"{}"
DAY = 24 * 3600


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


@pytest.fixture
def image(oci: OciClient, repository: str) -> PushedImage:
    """An image with the tag v1."""
    return oci.push_image(repository, "v1")


@pytest.fixture(scope="module")
def deleting_server() -> Iterator[BackgroundServer]:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, oci_deletes="on")) as server:
        yield server


@pytest.fixture
def deleting(deleting_server: BackgroundServer) -> OciClient:
    """A client of a server that offers deletes, with the repository app."""
    deleting_server.reset()
    api_client(deleting_server.url).create_repository(repositoryName="app")
    return OciClient(deleting_server.address)


def index(*children: bytes, media_type: str = OCI_INDEX, **members: Any) -> bytes:
    child_type = OCI_MANIFEST if media_type == OCI_INDEX else DOCKER_MANIFEST
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [descriptor(child, child_type) for child in children],
            **members,
        }
    ).encode()


def assert_created(answer: Answer, digest: str, repository: str = "app") -> None:
    assert answer.status == 201, answer
    assert answer.headers["Location"] == f"/v2/{repository}/manifests/{digest}"
    assert answer.headers["Docker-Content-Digest"] == digest


def assert_pulled(
    oci: OciClient, reference: str, manifest: bytes, media_type: str = OCI_MANIFEST, repository: str = "app"
) -> None:
    path = f"/v2/{repository}/manifests/{reference}"
    answer, head = oci.get(path), oci.head(path)
    assert (answer.status, head.status) == (200, 200)
    assert answer.body == manifest
    assert head.body == b""
    for headers in (answer.headers, head.headers):
        assert headers["Content-Type"] == media_type
        assert headers["Content-Length"] == str(len(manifest))
        assert headers["Docker-Content-Digest"] == sha256(manifest)
        assert headers["Docker-Distribution-API-Version"] == "registry/2.0"


def pull_time(ecr: Any, digest: str) -> float | None:
    (detail,) = ecr.describe_images(repositoryName="app", imageIds=[{"imageDigest": digest}])["imageDetails"]
    pulled_at = detail.get("lastRecordedPullTime")
    return None if pulled_at is None else pulled_at.timestamp()


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_an_image_is_pulled_by_tag_and_by_digest_as_it_was_pushed(
    oci: OciClient, repository: str, media_type: str
) -> None:
    image = oci.push_image(repository, "v1", media_type=media_type)
    for reference in ("v1", image.digest):
        assert_pulled(oci, reference, image.manifest, media_type)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_is_pulled_by_tag_and_by_digest_as_it_was_pushed(
    oci: OciClient, repository: str, media_type: str
) -> None:
    child_type = OCI_MANIFEST if media_type == OCI_INDEX else DOCKER_MANIFEST
    children = [oci.push_image(repository, seed=seed, media_type=child_type) for seed in ("amd64", "arm64")]
    manifest = index(*(child.manifest for child in children), media_type=media_type)
    assert_created(oci.push_manifest("app", "v1", manifest, media_type), sha256(manifest))
    for reference in ("v1", sha256(manifest)):
        assert_pulled(oci, reference, manifest, media_type)
    for child in children:
        assert_pulled(oci, child.digest, child.manifest, child_type)


def test_an_index_can_list_an_index_or_nothing(oci: OciClient, repository: str) -> None:
    empty = index()
    assert_created(oci.push_manifest("app", "empty", empty, OCI_INDEX), sha256(empty))
    outer = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(empty, OCI_INDEX)]}
    ).encode()
    assert_created(oci.push_manifest("app", "outer", outer, OCI_INDEX), sha256(outer))
    assert_pulled(oci, "outer", outer, OCI_INDEX)


BODIES = {
    "spaces and line breaks": lambda manifest: json.dumps(json.loads(manifest), indent=7).encode() + b"\n\n",
    "no spaces": lambda manifest: json.dumps(json.loads(manifest), separators=(",", ":")).encode(),
    "other order": lambda manifest: json.dumps(dict(reversed(json.loads(manifest).items()))).encode(),
    "escapes": lambda manifest: manifest.replace(b'"schemaVersion"', rb'"\u0073chemaVersion"'),
    "not ASCII": lambda manifest: manifest.replace(
        b'"layers"', '"annotations": {"größe": "groß 🐳"}, "layers"'.encode()
    ),
    "unknown members": lambda manifest: manifest.replace(b'"layers"', b'"x": [1e400, null], "layers"'),
}


@pytest.mark.parametrize("change", BODIES.values(), ids=BODIES)
def test_a_manifest_comes_back_byte_for_byte_on_both_planes(
    oci: OciClient, ecr: Any, image: PushedImage, change: Any
) -> None:
    manifest = change(image.manifest)
    assert manifest != image.manifest
    assert_created(oci.push_manifest("app", "v2", manifest), sha256(manifest))
    assert_pulled(oci, "v2", manifest)
    assert_pulled(oci, sha256(manifest), manifest)
    (got,) = ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v2"}])["images"]
    assert got["imageManifest"].encode() == manifest
    assert got["imageId"]["imageDigest"] == sha256(manifest)


@pytest.mark.parametrize("content_type", [OCI_MANIFEST, f"{OCI_MANIFEST}; charset=utf-8"])
def test_the_media_type_can_be_in_the_header_alone(
    oci: OciClient, ecr: Any, image: PushedImage, content_type: str
) -> None:
    document = json.loads(image.manifest)
    del document["mediaType"]
    manifest = json.dumps(document).encode()
    assert_created(oci.push_manifest("app", "v2", manifest, content_type), sha256(manifest))
    assert_pulled(oci, "v2", manifest)
    (got,) = ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v2"}])["images"]
    assert got["imageManifestMediaType"] == OCI_MANIFEST


def test_an_artifact_names_its_type_and_its_subject(
    oci: OciClient, ecr: Any, image: PushedImage, repository: str
) -> None:
    oci.push_blob(repository, EMPTY_JSON)
    artifact = image_manifest(
        EMPTY_JSON,
        artifactType="application/vnd.example.sbom",
        subject=descriptor(image.manifest, OCI_MANIFEST),
        annotations={"org.example.kind": "sbom"},
    )
    answer = oci.push_manifest("app", sha256(artifact), artifact)
    assert_created(answer, sha256(artifact))
    assert answer.headers["OCI-Subject"] == image.digest
    assert_pulled(oci, sha256(artifact), artifact)
    (detail,) = ecr.describe_images(repositoryName="app", imageIds=[{"imageDigest": sha256(artifact)}])[
        "imageDetails"
    ]
    assert detail["artifactMediaType"] == "application/vnd.example.sbom"
    assert detail["subjectManifestDigest"] == image.digest


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX])
def test_a_subject_may_not_be_there_yet(oci: OciClient, repository: str, media_type: str) -> None:
    subject = descriptor(b"not pushed yet", OCI_MANIFEST)
    oci.push_blob(repository, EMPTY_JSON)
    manifest = (
        index(subject=subject) if media_type == OCI_INDEX else image_manifest(EMPTY_JSON, subject=subject)
    )
    answer = oci.push_manifest("app", sha256(manifest), manifest, media_type)
    assert_created(answer, sha256(manifest))
    assert answer.headers["OCI-Subject"] == subject["digest"]


def test_an_image_without_subject_is_answered_without_the_header(oci: OciClient, image: PushedImage) -> None:
    answer = oci.push_manifest("app", "v1", image.manifest)
    assert_created(answer, image.digest)
    assert "OCI-Subject" not in answer.headers


def test_an_image_whose_layers_are_missing_is_refused(oci: OciClient, ecr: Any, repository: str) -> None:
    ecr.create_repository(repositoryName="other")
    config, pushed, elsewhere, missing = b"config", b"pushed", b"in another repository", b"nowhere"
    for content in (config, pushed):
        oci.push_blob(repository, content)
    oci.push_blob("other", elsewhere)
    for blobs in ((config, missing), (missing,), (config, pushed, elsewhere), (elsewhere, pushed)):
        answer = oci.push_manifest("app", "v1", image_manifest(*blobs))
        assert answer.error == (404, "MANIFEST_BLOB_UNKNOWN")
        gone = missing if missing in blobs else elsewhere
        assert sha256(gone) in answer.message
        assert sha256(pushed) not in answer.message
        assert oci.get("/v2/app/manifests/v1").error == (404, "MANIFEST_UNKNOWN")
    manifest = image_manifest(config, pushed)
    assert_created(oci.push_manifest("app", "v1", manifest), sha256(manifest))


def test_layers_that_are_elsewhere_by_their_own_word_need_not_be_pushed(
    oci: OciClient, repository: str
) -> None:
    oci.push_blob(repository, EMPTY_JSON)
    foreign = descriptor(b"windows", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    foreign["urls"] = ["https://example.com/layer"]
    manifest = image_manifest(EMPTY_JSON, layers=[foreign])
    assert_created(oci.push_manifest("app", "v1", manifest), sha256(manifest))


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_whose_images_are_missing_is_refused(
    oci: OciClient, image: PushedImage, media_type: str
) -> None:
    manifest = index(image.manifest, b"never pushed", media_type=media_type)
    answer = oci.push_manifest("app", "multi", manifest, media_type)
    assert answer.error == (404, "MANIFEST_BLOB_UNKNOWN")
    assert sha256(b"never pushed") in answer.message
    assert image.digest not in answer.message
    assert oci.get("/v2/app/manifests/multi").error == (404, "MANIFEST_UNKNOWN")


def test_without_the_layer_check_layers_and_images_may_be_missing() -> None:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, layer_check="off")) as server:
        api_client(server.url).create_repository(repositoryName="app")
        manifest = image_manifest(b"config", b"layer")
        oci = OciClient(server.address)
        assert_created(oci.push_manifest("app", "v1", manifest), sha256(manifest))
        assert_pulled(oci, "v1", manifest)
        children = [descriptor(b"never pushed", OCI_MANIFEST)]
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
        assert_created(oci.push_manifest("app", "multi", index, OCI_INDEX), sha256(index))
        assert_pulled(oci, "multi", index, OCI_INDEX)


def padded_manifest(size: int) -> bytes:
    manifest = image_manifest(EMPTY_JSON)
    return manifest + b" " * (size - len(manifest))


def test_a_manifest_can_have_4_mib(oci: OciClient, repository: str) -> None:
    oci.push_blob(repository, EMPTY_JSON)
    manifest = padded_manifest(MAX_SIZE)
    assert_created(oci.push_manifest("app", "v1", manifest), sha256(manifest))
    assert_pulled(oci, "v1", manifest)


@pytest.mark.parametrize("size", [MAX_SIZE + 1, 5 * 1024 * 1024, 20 * 1024 * 1024])
@pytest.mark.parametrize("streamed", [False, True], ids=["with its length", "streamed"])
def test_a_larger_manifest_is_refused(oci: OciClient, repository: str, size: int, streamed: bool) -> None:
    oci.push_blob(repository, EMPTY_JSON)
    manifest = padded_manifest(size)
    body = (manifest[at : at + 100_000] for at in range(0, size, 100_000)) if streamed else manifest
    answer = oci.put("/v2/app/manifests/v1", body, {"Content-Type": OCI_MANIFEST})
    assert answer.error == (413, "MANIFEST_INVALID")
    assert oci.get("/v2/app/manifests/v1").error == (404, "MANIFEST_UNKNOWN")


# What is wrong with a manifest: its media type, its text, and part of ECR's answer.
REFUSED = {
    "unknown media type": ("application/vnd.example.manifest+json", b"{}", "is not supported"),
    "no manifest's media type": ("application/json", b"{}", "is not supported"),
    "schema 1": ("application/vnd.docker.distribution.manifest.v1+prettyjws", b"{}", "is not supported"),
    "another media type than its own": (DOCKER_MANIFEST, None, "does not match"),
    "an index's media type": (OCI_INDEX, None, "does not match"),
    "nothing": (OCI_MANIFEST, b"", "Invalid JSON syntax"),
    "no JSON": (OCI_MANIFEST, b"{'schemaVersion': 2}", "Invalid JSON syntax"),
    "half": (OCI_MANIFEST, b'{"schemaVersion": 2, "config": {', "Invalid JSON syntax"),
    "no UTF-8": (OCI_MANIFEST, b'{"schemaVersion": 2, "x": "\xff"}', "Invalid JSON syntax"),
    "a list": (OCI_MANIFEST, b"[]", "Invalid JSON syntax"),
    "nested too deep": (OCI_MANIFEST, b"[" * 100_000, "Invalid JSON syntax"),
    "no schema version": (OCI_MANIFEST, b"{}", "schema version"),
    "schema version 1": (OCI_MANIFEST, b'{"schemaVersion": 1}', "schema version"),
    "no config": (OCI_MANIFEST, b'{"schemaVersion": 2, "layers": []}', "config"),
    "no manifests": (OCI_INDEX, b'{"schemaVersion": 2}', "manifests"),
    "a digest that is none": (
        OCI_INDEX,
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "a/b", "digest": "latest", "size": 1}]}',
        "digest",
    ),
    "a negative size": (
        OCI_INDEX,
        json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [{"mediaType": OCI_MANIFEST, "digest": sha256(b""), "size": -1}],
            }
        ).encode(),
        "size",
    ),
}


@pytest.mark.parametrize(("media_type", "body", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_manifest_is_refused_as_ecr_does(
    oci: OciClient, image: PushedImage, media_type: str, body: bytes | None, message: str
) -> None:
    answer = oci.push_manifest("app", "v2", image.manifest if body is None else body, media_type)
    assert answer.error == (405, "UNSUPPORTED")
    assert answer.message.startswith("Invalid parameter at 'ImageManifest' failed to satisfy constraint: '")
    assert message in answer.message
    assert oci.get("/v2/app/manifests/v2").error == (404, "MANIFEST_UNKNOWN")


def test_a_manifest_of_no_media_type_is_refused(oci: OciClient, repository: str) -> None:
    oci.push_blob(repository, EMPTY_JSON)
    document = json.loads(image_manifest(EMPTY_JSON))
    del document["mediaType"]
    answer = oci.put("/v2/app/manifests/v1", json.dumps(document).encode())
    assert answer.error == (405, "UNSUPPORTED")
    assert "ImageManifest" in answer.message


def test_a_manifest_with_another_digest_is_refused(oci: OciClient, image: PushedImage) -> None:
    for wrong in (sha256(b"another"), sha512(b"another")):
        answer = oci.push_manifest("app", wrong, image.manifest)
        assert answer.error == (400, "DIGEST_INVALID")
        assert wrong in answer.message
        assert oci.get(f"/v2/app/manifests/{wrong}").error == (404, "MANIFEST_UNKNOWN")


def test_a_manifest_can_be_named_by_sha512(oci: OciClient, image: PushedImage) -> None:
    digest = sha512(image.manifest)
    assert_created(oci.push_manifest("app", digest, image.manifest), digest)
    answer = oci.get(f"/v2/app/manifests/{digest}")
    assert (answer.status, answer.body) == (200, image.manifest)
    assert answer.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize(
    "digest", ["sha256:", f"sha256:{'0' * 63}", f"sha256:{'A' * 64}", f"sha384:{'0' * 96}", "v1:v2", ":"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_digest_that_is_none_is_refused(
    oci: OciClient, image: PushedImage, digest: str, method: str
) -> None:
    body = image.manifest if method == "PUT" else None
    answer = oci.request(method, f"/v2/app/manifests/{digest}", body, {"Content-Type": OCI_MANIFEST})
    assert answer.status == 400
    if method != "HEAD":
        assert answer.error == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    "tag", ["1", "_", "latest", "V1.2-rc_3", "a..b", "x" * 128, "list", "uploads", "sha256-abc", "A-"]
)
def test_a_tag_of_the_grammar_is_taken(oci: OciClient, image: PushedImage, tag: str) -> None:
    assert_created(oci.push_manifest("app", tag, image.manifest), image.digest)
    assert_pulled(oci, tag, image.manifest)


@pytest.mark.parametrize(
    "tag", [".v1", "-v1", "x" * 129, "v1+build", "v%201", "v$1", "v%C3%A9", "v1%0A", "%00", "@", "*"]
)
def test_any_other_tag_is_refused(oci: OciClient, image: PushedImage, tag: str) -> None:
    assert oci.push_manifest("app", tag, image.manifest).error == (400, "TAG_INVALID")
    assert oci.get(f"/v2/app/manifests/{tag}").error == (404, "MANIFEST_UNKNOWN")
    assert oci.get("/v2/app/tags/list").json()["tags"] == ["v1"]


def test_an_image_can_be_pushed_again(oci: OciClient, ecr: Any, image: PushedImage) -> None:
    (before,) = ecr.describe_images(repositoryName="app")["imageDetails"]
    for reference in ("v1", image.digest, "v1"):
        assert_created(oci.push_manifest("app", reference, image.manifest), image.digest)
    (after,) = ecr.describe_images(repositoryName="app")["imageDetails"]
    assert after == before


def test_a_tag_moves_and_the_image_that_lost_it_stays(oci: OciClient, ecr: Any, image: PushedImage) -> None:
    newer = oci.push_image("app", "v1", seed="newer")
    assert_pulled(oci, "v1", newer.manifest)
    assert_pulled(oci, image.digest, image.manifest)
    listed = ecr.list_images(repositoryName="app")["imageIds"]
    assert sorted(listed, key=str) == sorted(
        [{"imageDigest": image.digest}, {"imageDigest": newer.digest, "imageTag": "v1"}], key=str
    )


def test_a_manifest_pushed_by_digest_and_then_by_tag_is_one_image(
    oci: OciClient, ecr: Any, repository: str
) -> None:
    image = oci.push_image(repository)
    (untagged,) = ecr.describe_images(repositoryName="app")["imageDetails"]
    assert "imageTags" not in untagged
    for tag in ("v1", "v2"):
        assert_created(oci.push_manifest("app", tag, image.manifest), image.digest)
    (tagged,) = ecr.describe_images(repositoryName="app")["imageDetails"]
    assert sorted(tagged["imageTags"]) == ["v1", "v2"]


# Mutability, its exclusion filters, and which tags may be moved.
MUTABILITIES = {
    "mutable": ("MUTABLE", [], {"v1": True, "dev-1": True}),
    "immutable": ("IMMUTABLE", [], {"v1": False, "dev-1": False}),
    "immutable with exclusion": (
        "IMMUTABLE_WITH_EXCLUSION",
        ["dev-*", "latest"],
        {"v1": False, "dev-1": True, "dev-": True, "dev": False, "latest": True, "latest2": False},
    ),
    "mutable with exclusion": (
        "MUTABLE_WITH_EXCLUSION",
        ["v*", "*-rel*"],
        {"v1": False, "v": False, "x-rel-2": False, "dev-1": True, "1v": True},
    ),
}


@pytest.mark.parametrize(("mutability", "filters", "movable"), MUTABILITIES.values(), ids=MUTABILITIES)
def test_a_tag_that_is_immutable_cannot_be_overwritten(
    oci: OciClient, ecr: Any, mutability: str, filters: list[str], movable: dict[str, bool]
) -> None:
    exclusions = {
        "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": text} for text in filters]
    }
    ecr.create_repository(
        repositoryName="app", imageTagMutability=mutability, **(exclusions if filters else {})
    )
    first, second = oci.push_image("app", seed="first"), oci.push_image("app", seed="second")
    for tag, can_move in movable.items():
        assert_created(oci.push_manifest("app", tag, first.manifest), first.digest)
        # Pushing what it points at already is no overwriting.
        assert_created(oci.push_manifest("app", tag, first.manifest), first.digest)
        answer = oci.push_manifest("app", tag, second.manifest)
        if can_move:
            assert_created(answer, second.digest)
            assert_pulled(oci, tag, second.manifest)
        else:
            assert answer.error == (400, "TAG_INVALID")
            assert answer.message == (
                f"The image tag '{tag}' already exists in the 'app' repository and cannot be overwritten "
                "because the tag is immutable."
            )
            assert_pulled(oci, tag, first.manifest)


def test_an_image_with_an_immutable_tag_can_still_be_pushed_by_digest(
    oci: OciClient, ecr: Any, image: PushedImage
) -> None:
    ecr.put_image_tag_mutability(repositoryName="app", imageTagMutability="IMMUTABLE")
    assert_created(oci.push_manifest("app", image.digest, image.manifest), image.digest)
    newer = oci.push_image("app", seed="newer")
    assert_created(oci.push_manifest("app", "v2", newer.manifest), newer.digest)
    assert oci.push_manifest("app", "v1", newer.manifest).error == (400, "TAG_INVALID")


@pytest.mark.parametrize(
    "reference", ["v2", "V1", "latest", sha256(b"never pushed"), sha512(b"never pushed")]
)
def test_an_image_that_is_not_there_is_unknown(oci: OciClient, image: PushedImage, reference: str) -> None:
    path = f"/v2/app/manifests/{reference}"
    assert oci.get(path).error == (404, "MANIFEST_UNKNOWN")
    head = oci.head(path)
    assert (head.status, head.body) == (404, b"")


def test_an_image_of_a_repository_that_does_not_exist_is_refused_in_ecrs_words(
    oci: OciClient, image: PushedImage
) -> None:
    for answer in (
        oci.get("/v2/none/manifests/v1"),
        oci.get(f"/v2/none/manifests/{image.digest}"),
        oci.push_manifest("none", "v1", image.manifest),
        oci.push_manifest("none", image.digest, image.manifest),
    ):
        assert answer.error == (404, "NAME_UNKNOWN")
        assert answer.message == no_such_repository("none")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_other_methods_on_a_manifest_are_refused_with_those_that_there_are(
    oci: OciClient, image: PushedImage, method: str
) -> None:
    answer = oci.request(method, "/v2/app/manifests/v1", image.manifest)
    assert answer.error == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD, PUT, DELETE"


def test_an_image_is_not_deleted_unless_the_setting_allows_it(oci: OciClient, image: PushedImage) -> None:
    for reference in ("v1", image.digest):
        assert oci.delete(f"/v2/app/manifests/{reference}").error == (405, "UNSUPPORTED")
        assert_pulled(oci, reference, image.manifest)


def test_an_image_is_deleted_by_digest_with_all_its_tags(deleting: OciClient) -> None:
    image = deleting.push_image("app", "v1")
    deleting.push_manifest("app", "v2", image.manifest)
    other = deleting.push_image("app", "v3", seed="other")
    assert deleting.delete(f"/v2/app/manifests/{image.digest}").status == 202
    for reference in ("v1", "v2", image.digest):
        assert deleting.get(f"/v2/app/manifests/{reference}").error == (404, "MANIFEST_UNKNOWN")
        assert deleting.delete(f"/v2/app/manifests/{reference}").error == (404, "MANIFEST_UNKNOWN")
    assert_pulled(deleting, "v3", other.manifest)


def test_a_tag_is_deleted_alone_while_the_image_has_another(deleting: OciClient) -> None:
    image = deleting.push_image("app", "v1")
    deleting.push_manifest("app", "v2", image.manifest)
    assert deleting.delete("/v2/app/manifests/v1").status == 202
    assert deleting.get("/v2/app/manifests/v1").error == (404, "MANIFEST_UNKNOWN")
    assert_pulled(deleting, "v2", image.manifest)
    assert_pulled(deleting, image.digest, image.manifest)


def test_an_image_that_an_index_lists_is_deleted_after_the_index(deleting: OciClient) -> None:
    child = deleting.push_image("app")
    manifest = index(child.manifest)
    deleting.push_manifest("app", "multi", manifest, OCI_INDEX)
    assert deleting.delete(f"/v2/app/manifests/{child.digest}").error == (405, "UNSUPPORTED")
    assert_pulled(deleting, child.digest, child.manifest)
    assert deleting.delete(f"/v2/app/manifests/{sha256(manifest)}").status == 202
    assert deleting.delete(f"/v2/app/manifests/{child.digest}").status == 202


def test_a_delete_names_an_image_of_a_repository_that_exists(deleting: OciClient) -> None:
    assert deleting.delete("/v2/app/manifests/sha256:0").error == (400, "DIGEST_INVALID")
    assert deleting.delete("/v2/app/manifests/v1").error == (404, "MANIFEST_UNKNOWN")
    assert deleting.delete("/v2/none/manifests/v1").error == (404, "NAME_UNKNOWN")


def test_an_image_put_by_the_api_is_pulled_over_v2(oci: OciClient, ecr: Any, repository: str) -> None:
    digest = put_image(ecr, repository, "v1", seed="api")
    manifest = image_manifest(b"config api", b"layer api")
    assert digest == sha256(manifest)
    for reference in ("v1", digest):
        assert_pulled(oci, reference, manifest)
    for content in (b"config api", b"layer api"):
        assert oci.get(f"/v2/app/blobs/{sha256(content)}").body == content


def test_an_image_pushed_over_v2_is_the_apis_too(oci: OciClient, ecr: Any, image: PushedImage) -> None:
    (got,) = ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])["images"]
    assert got["imageManifest"].encode() == image.manifest
    assert got["imageManifestMediaType"] == OCI_MANIFEST
    assert got["imageId"] == {"imageDigest": image.digest, "imageTag": "v1"}
    (detail,) = ecr.describe_images(repositoryName="app")["imageDetails"]
    assert detail["imageDigest"] == image.digest
    assert detail["imageTags"] == ["v1"]
    assert detail["imageSizeInBytes"] == sum(map(len, image.blobs))
    assert detail["artifactMediaType"] == OCI_CONFIG
    with pytest.raises(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(repositoryName="app", imageTag="v1", imageManifest=image.manifest.decode())
    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": image.digest}])
    assert oci.get("/v2/app/manifests/v1").error == (404, "MANIFEST_UNKNOWN")


def test_a_tag_that_is_immutable_is_so_on_both_planes(oci: OciClient, ecr: Any) -> None:
    ecr.create_repository(repositoryName="app", imageTagMutability="IMMUTABLE")
    put_image(ecr, "app", "api", seed="first")
    image = oci.push_image("app", "v2", seed="second")
    assert oci.push_manifest("app", "api", image.manifest).error == (400, "TAG_INVALID")
    with pytest.raises(ecr.exceptions.ImageTagAlreadyExistsException):
        put_image(ecr, "app", "v2", seed="first")


def test_a_pull_is_recorded_at_most_once_in_a_day(
    oci: OciClient, ecr: Any, server: BackgroundServer, image: PushedImage
) -> None:
    assert pull_time(ecr, image.digest) is None
    oci.head("/v2/app/manifests/v1")
    assert pull_time(ecr, image.digest) is None
    server.manage("clock", {"now": 2_000_000_000})
    oci.get("/v2/app/manifests/v1")
    first = pull_time(ecr, image.digest)
    assert first == pytest.approx(2_000_000_000, abs=60)
    server.advance_clock(DAY - 60)
    oci.get("/v2/app/manifests/v1")
    ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
    assert pull_time(ecr, image.digest) == first
    server.advance_clock(120)
    oci.get(f"/v2/app/manifests/{image.digest}")
    second = pull_time(ecr, image.digest)
    assert second == pytest.approx(first + DAY + 60, abs=60)
    server.advance_clock(DAY + 1)
    ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
    assert pull_time(ecr, image.digest) == pytest.approx(second + DAY + 1, abs=60)


def test_a_pull_of_one_image_says_nothing_of_another(oci: OciClient, ecr: Any, image: PushedImage) -> None:
    other = oci.push_image("app", "v2", seed="other")
    oci.get("/v2/app/manifests/v2")
    assert pull_time(ecr, image.digest) is None
    assert pull_time(ecr, other.digest) is not None
