"""Images: putting, getting, listing, describing and deleting them."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    connect,
    image_manifest,
    put_image,
    refused,
    sha256,
    upload_layer,
)

ACCOUNT = "000000000000"
ABSENT = sha256(b"absent")
DIGEST_REASON = (
    "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
)
TAG_REASON = "Invalid request parameters: image tag should satisfy the regex "


def manifest_text(*, seed="seed", **members):
    """The manifest of the image that ``put_image`` puts for a seed."""
    return image_manifest(f"config {seed}".encode(), f"layer {seed}".encode(), **members).decode()


def index_text(*manifests, media_type=OCI_INDEX, **members):
    children = [
        {"mediaType": OCI_MANIFEST, "digest": sha256(text.encode()), "size": len(text)} for text in manifests
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": children, **members})


def put(ecr, repository, text, **members):
    """Put a manifest and return its digest."""
    image = ecr.put_image(repositoryName=repository, imageManifest=text, **members)["image"]
    return image["imageId"]["imageDigest"]


def tags_of(ecr, repository):
    """The tags in a repository: digest by tag, and the digests without one under None."""
    tags = {None: []}
    for entry in ecr.list_images(repositoryName=repository)["imageIds"]:
        if "imageTag" in entry:
            tags[entry["imageTag"]] = entry["imageDigest"]
        else:
            tags[None].append(entry["imageDigest"])
    return tags


def detail(ecr, repository, **image_id):
    (found,) = ecr.describe_images(repositoryName=repository, imageIds=[image_id])["imageDetails"]
    return found


@pytest.fixture
def blobs(ecr, repository):
    """Upload what the manifests of ``manifest_text`` name."""
    for content in (b"config seed", b"layer seed"):
        upload_layer(ecr, repository, content)
    return repository


def test_an_image_is_put_with_everything_named(ecr, blobs):
    text = manifest_text()
    digest = sha256(text.encode())
    answer = ecr.put_image(
        registryId=ACCOUNT,
        repositoryName=blobs,
        imageManifest=text,
        imageManifestMediaType=OCI_MANIFEST,
        imageTag="v1",
        imageDigest=digest,
    )
    assert answer["image"] == {
        "registryId": ACCOUNT,
        "repositoryName": blobs,
        "imageId": {"imageDigest": digest, "imageTag": "v1"},
        "imageManifest": text,
        "imageManifestMediaType": OCI_MANIFEST,
    }


def test_an_image_needs_no_tag(ecr, blobs):
    text = manifest_text()
    image = ecr.put_image(repositoryName=blobs, imageManifest=text)["image"]
    assert image["imageId"] == {"imageDigest": sha256(text.encode())}
    assert tags_of(ecr, blobs) == {None: [sha256(text.encode())]}


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
@pytest.mark.parametrize("named_by", ["manifest", "request"])
def test_the_media_type_is_the_manifests_or_the_requests(ecr, blobs, media_type, named_by):
    document = json.loads(manifest_text(media_type=media_type))
    named = {}
    if named_by == "request":
        del document["mediaType"]
        named = {"imageManifestMediaType": media_type}
    digest = put(ecr, blobs, json.dumps(document), imageTag="v1", **named)
    (image,) = ecr.batch_get_image(repositoryName=blobs, imageIds=[{"imageTag": "v1"}])["images"]
    assert image["imageManifestMediaType"] == media_type
    assert detail(ecr, blobs, imageDigest=digest)["imageManifestMediaType"] == media_type


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_of_images_can_be_put(ecr, repository, media_type):
    texts = [manifest_text(seed=seed) for seed in ("amd64", "arm64")]
    for seed in ("amd64", "arm64"):
        put_image(ecr, repository, seed=seed)
    index = index_text(*texts, media_type=media_type)
    digest = put(ecr, repository, index, imageTag="v1")
    assert digest == sha256(index.encode())
    (image,) = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])["images"]
    assert image["imageManifest"] == index
    assert image["imageManifestMediaType"] == media_type


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(json.loads(manifest_text()), indent=3) + "\n\n",
        manifest_text(annotations={"title": "größer 図 🐋"}),
        json.dumps(json.loads(manifest_text(annotations={"title": "🐋"})), ensure_ascii=False),
    ],
    ids=["whitespace", "escapes", "characters"],
)
def test_a_manifest_comes_back_byte_for_byte(ecr, blobs, text):
    digest = put(ecr, blobs, text, imageTag="v1")
    assert digest == sha256(text.encode())
    (image,) = ecr.batch_get_image(repositoryName=blobs, imageIds=[{"imageDigest": digest}])["images"]
    assert image["imageManifest"] == text


def test_a_manifest_can_be_put_by_another_digest(ecr, blobs):
    text = manifest_text()
    digest = f"sha512:{hashlib.sha512(text.encode()).hexdigest()}"
    assert put(ecr, blobs, text, imageDigest=digest) == digest
    assert detail(ecr, blobs, imageDigest=digest)["imageDigest"] == digest


@pytest.mark.parametrize("digest", [ABSENT, "sha512:" + "0" * 128, "sha256:0", "latest"])
def test_a_digest_that_is_named_has_to_be_the_manifests(ecr, blobs, digest):
    code, message = refused(
        ecr.put_image, repositoryName=blobs, imageManifest=manifest_text(), imageDigest=digest
    )
    assert code == "ImageDigestDoesNotMatchException"
    assert digest in message
    assert tags_of(ecr, blobs) == {None: []}


def without(member):
    document = json.loads(manifest_text())
    del document[member]
    return document


@pytest.mark.parametrize(
    ("manifest", "media_type"),
    [
        ("{", None),
        ("[]", None),
        ("null", None),
        ("[" * 100_000, None),
        (without("mediaType"), None),
        (without("config"), None),
        (without("layers"), None),
        (without("schemaVersion"), None),
        (manifest_text(schemaVersion=1), None),
        (manifest_text(layers={}), None),
        (manifest_text(layers=[1]), None),
        (manifest_text(layers=[{"digest": "x", "size": 1, "mediaType": "x"}]), None),
        (manifest_text(layers=[{"digest": ABSENT, "size": -1, "mediaType": "x"}]), None),
        (manifest_text(layers=[{"digest": ABSENT, "size": 1}]), None),
        (manifest_text(media_type="application/json"), None),
        (manifest_text(), DOCKER_MANIFEST),
        (without("mediaType"), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (manifest_text(media_type=OCI_INDEX), None),
        ({"schemaVersion": 2, "mediaType": OCI_INDEX}, None),
        (manifest_text(subject={"digest": ABSENT}), None),
        (manifest_text(annotations={"a": 1}), None),
        (manifest_text(artifactType=1), None),
    ],
)
def test_a_malformed_manifest_is_refused(ecr, blobs, manifest, media_type):
    named = {} if media_type is None else {"imageManifestMediaType": media_type}
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    code, message = refused(ecr.put_image, repositoryName=blobs, imageManifest=text, imageTag="v1", **named)
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid parameter at 'ImageManifest' failed to satisfy constraint: '")
    assert tags_of(ecr, blobs) == {None: []}


@pytest.mark.parametrize("padding", [0, 1])
def test_a_manifest_has_a_greatest_size(ecr, blobs, padding):
    document = json.loads(manifest_text(annotations={"pad": ""}))
    size = len(json.dumps(document))
    document["annotations"]["pad"] = "x" * (4 * 1024 * 1024 - size + padding)
    text = json.dumps(document)
    if padding:
        code, _ = refused(ecr.put_image, repositoryName=blobs, imageManifest=text)
        assert code == "InvalidParameterException"
    else:
        assert put(ecr, blobs, text) == sha256(text.encode())


def test_a_manifest_is_measured_in_bytes(ecr, blobs):
    text = json.dumps(json.loads(manifest_text(annotations={"pad": "ü" * 2_200_000})), ensure_ascii=False)
    assert len(text) < 4 * 1024 * 1024 < len(text.encode())
    code, _ = refused(ecr.put_image, repositoryName=blobs, imageManifest=text)
    assert code == "InvalidParameterException"


def test_layers_have_to_be_in_the_repository(ecr, repository):
    upload_layer(ecr, repository, b"config seed")
    ecr.create_repository(repositoryName="other")
    missing = upload_layer(ecr, "other", b"layer seed")
    assert refused(ecr.put_image, repositoryName=repository, imageManifest=manifest_text()) == (
        "LayersNotFoundException",
        f"Layers with digests '[{missing}]' required for pushing image into repository with name 'app' in "
        "the registry with id '000000000000' do not exist",
    )
    assert tags_of(ecr, repository) == {None: []}
    upload_layer(ecr, repository, b"layer seed")
    put(ecr, repository, manifest_text())


def test_layers_with_urls_are_elsewhere(ecr, blobs):
    foreign = {"mediaType": "x", "digest": ABSENT, "size": 1, "urls": ["https://example.com"]}
    digest = put(ecr, blobs, manifest_text(layers=[foreign]))
    assert detail(ecr, blobs, imageDigest=digest)["imageSizeInBytes"] == len(b"config seed")


def test_layers_need_not_be_there_where_the_server_does_not_check():
    settings = Settings(data_dir=MEMORY, port=0, layer_check="off")
    with BackgroundServer(settings) as server:
        ecr = connect(server.url)
        ecr.create_repository(repositoryName="app")
        digest = put(ecr, "app", manifest_text(), imageTag="v1")
        size = len(b"config seed") + len(b"layer seed")
        assert detail(ecr, "app", imageDigest=digest)["imageSizeInBytes"] == size


def test_an_indexs_images_have_to_be_in_the_repository(ecr, repository):
    put_image(ecr, repository, seed="here")
    ecr.create_repository(repositoryName="other")
    missing = put_image(ecr, "other", seed="there")
    index = index_text(manifest_text(seed="here"), manifest_text(seed="there"))
    assert refused(ecr.put_image, repositoryName=repository, imageManifest=index) == (
        "ReferencedImagesNotFoundException",
        f"Images with digests '[{missing}]' required for pushing image into repository with name 'app' in "
        "the registry with id '000000000000' do not exist",
    )
    put_image(ecr, repository, seed="there")
    put(ecr, repository, index)


def test_a_subject_need_not_be_there(ecr, blobs):
    subject = {"mediaType": OCI_MANIFEST, "digest": ABSENT, "size": 1}
    digest = put(ecr, blobs, manifest_text(subject=subject, artifactType="application/example"))
    found = detail(ecr, blobs, imageDigest=digest)
    assert found["subjectManifestDigest"] == ABSENT
    assert found["artifactMediaType"] == "application/example"


@pytest.mark.parametrize("tag", ["v1", None])
def test_what_is_there_already_can_not_be_put_again(ecr, repository, tag):
    digest = put_image(ecr, repository, tag)
    named = {} if tag is None else {"imageTag": tag}
    assert refused(ecr.put_image, repositoryName=repository, imageManifest=manifest_text(), **named) == (
        "ImageAlreadyExistsException",
        f"Image with digest '{digest}' and tag '{tag or 'null'}' already exists in the repository with name "
        "'app' in registry with id '000000000000'",
    )
    # Without a tag nothing would change for an image that has one, either.
    code, _ = refused(ecr.put_image, repositoryName=repository, imageManifest=manifest_text())
    assert code == "ImageAlreadyExistsException"


def test_a_tag_moves_and_the_image_that_lost_it_stays(ecr, repository):
    first = put_image(ecr, repository, "latest", seed="first")
    second = put_image(ecr, repository, "latest", seed="second")
    assert tags_of(ecr, repository) == {None: [first], "latest": second}
    assert "imageTags" not in detail(ecr, repository, imageDigest=first)


def test_an_image_can_have_several_tags(ecr, repository):
    digest = put_image(ecr, repository, "v1")
    for tag in ("latest", "a.b_c-D"):
        assert put(ecr, repository, manifest_text(), imageTag=tag) == digest
    assert detail(ecr, repository, imageTag="latest")["imageTags"] == ["a.b_c-D", "latest", "v1"]


@pytest.mark.parametrize("tag", ["-v1", ".v1", "a b", "a/b", "a:b", "ü", "x" * 129, "v1\n"])
def test_tags_have_a_grammar(ecr, blobs, tag):
    code, message = refused(ecr.put_image, repositoryName=blobs, imageManifest=manifest_text(), imageTag=tag)
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid parameter at 'imageTag' failed to satisfy constraint: '")
    put(ecr, blobs, manifest_text(), imageTag="_" + "x" * 127)


def test_images_are_got_by_tag_by_digest_and_by_both(ecr, repository):
    digest = put_image(ecr, repository, "v1")
    put(ecr, repository, manifest_text(), imageTag="v2")
    ids = [
        {"imageTag": "v2"},
        {"imageDigest": digest},
        {"imageDigest": digest, "imageTag": "v1"},
        {"imageTag": "v2"},
    ]
    answer = ecr.batch_get_image(registryId=ACCOUNT, repositoryName=repository, imageIds=ids)
    assert answer["failures"] == []
    assert [image.pop("imageId") for image in answer["images"]] == [
        {"imageDigest": digest, "imageTag": "v2"},
        {"imageDigest": digest},
        {"imageDigest": digest, "imageTag": "v1"},
    ]
    assert answer["images"] == 3 * [
        {
            "registryId": ACCOUNT,
            "repositoryName": repository,
            "imageManifest": manifest_text(),
            "imageManifestMediaType": OCI_MANIFEST,
        }
    ]


@pytest.mark.parametrize(
    ("accepted", "found"),
    [([OCI_MANIFEST], True), ([DOCKER_MANIFEST, OCI_MANIFEST], True), ([DOCKER_MANIFEST], False)],
)
def test_images_of_other_media_types_than_accepted_are_not_found(ecr, repository, accepted, found):
    put_image(ecr, repository, "v1")
    ids = [{"imageTag": "v1"}]
    answer = ecr.batch_get_image(repositoryName=repository, imageIds=ids, acceptedMediaTypes=accepted)
    assert len(answer["images"]) == found
    assert [failure["failureCode"] for failure in answer["failures"]] == [] if found else ["ImageNotFound"]


FAILURES = [
    ({}, "MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null"),
    ({"imageTag": "absent"}, "ImageNotFound", "Requested image not found"),
    ({"imageDigest": ABSENT}, "ImageNotFound", "Requested image not found"),
    ({"imageDigest": ABSENT, "imageTag": "v1"}, "ImageNotFound", "Requested image not found"),
    ({"imageDigest": "sha256:xyz"}, "InvalidImageDigest", DIGEST_REASON),
    ({"imageDigest": ""}, "InvalidImageDigest", DIGEST_REASON),
    ({"imageTag": "-"}, "InvalidImageTag", TAG_REASON),
]


@pytest.mark.parametrize("operation", ["batch_get_image", "batch_delete_image"])
def test_images_that_can_not_be_had_fail_one_by_one(ecr, repository, operation):
    digest = put_image(ecr, repository, "v1")
    other = put_image(ecr, repository, "other", seed="other")
    mismatch = {"imageDigest": other, "imageTag": "v1"}
    wanted = [
        *FAILURES,
        (mismatch, "ImageTagDoesNotMatchDigest", "Image tag does not match image digest"),
    ]
    ids = [image_id for image_id, _, _ in wanted]
    answer = getattr(ecr, operation)(repositoryName=repository, imageIds=[*ids, {"imageTag": "v1"}, *ids])
    told = [(failure["imageId"], failure["failureCode"]) for failure in answer["failures"]]
    assert told == [(image_id, code) for image_id, code, _ in wanted]
    for failure, (_, _, reason) in zip(answer["failures"], wanted, strict=True):
        assert failure["failureReason"].startswith(reason)
    done = answer["imageIds"] if operation == "batch_delete_image" else answer["images"]
    assert [entry.get("imageId", entry) for entry in done] == [{"imageDigest": digest, "imageTag": "v1"}]


def test_a_pull_is_recorded_once_in_a_day(server, ecr, repository):
    digest = put_image(ecr, repository, "v1")
    other = put_image(ecr, repository, "v2", seed="other")

    def pull():
        ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
        return detail(ecr, repository, imageDigest=digest)["lastRecordedPullTime"]

    assert "lastRecordedPullTime" not in detail(ecr, repository, imageDigest=digest)
    first = pull()
    assert abs(first - datetime.now(UTC)) < timedelta(seconds=10)
    server.advance_clock(23 * 3600)
    assert pull() == first
    server.advance_clock(3600)
    assert pull() - first >= timedelta(hours=24)
    assert "lastRecordedPullTime" not in detail(ecr, repository, imageDigest=other)


def test_deleting_by_tag_removes_the_tag_and_with_the_last_one_the_image(ecr, repository):
    digest = put_image(ecr, repository, "v1")
    put(ecr, repository, manifest_text(), imageTag="v2")
    for tag, left in (("v1", {None: [], "v2": digest}), ("v2", {None: []})):
        answer = ecr.batch_delete_image(
            registryId=ACCOUNT, repositoryName=repository, imageIds=[{"imageTag": tag}]
        )
        assert (answer["imageIds"], answer["failures"]) == ([{"imageDigest": digest, "imageTag": tag}], [])
        assert tags_of(ecr, repository) == left


def test_deleting_by_digest_removes_the_image_with_its_tags(ecr, repository):
    tagged, untagged = put_image(ecr, repository, "v1"), put_image(ecr, repository, seed="untagged")
    put(ecr, repository, manifest_text(), imageTag="v2")
    ids = [{"imageDigest": tagged}, {"imageDigest": untagged}]
    answer = ecr.batch_delete_image(repositoryName=repository, imageIds=ids)
    assert answer["failures"] == []
    assert answer["imageIds"] == [
        {"imageDigest": tagged, "imageTag": "v1"},
        {"imageDigest": tagged, "imageTag": "v2"},
        {"imageDigest": untagged},
    ]
    assert tags_of(ecr, repository) == {None: []}


def test_an_image_of_an_index_stays_as_long_as_the_index(ecr, repository):
    child = put_image(ecr, repository, "child")
    index = put(ecr, repository, index_text(manifest_text()), imageTag="index")
    outer = put(ecr, repository, index_text(index_text(manifest_text())), imageTag="outer")
    for image_id in ({"imageDigest": child}, {"imageTag": "child"}):
        answer = ecr.batch_delete_image(repositoryName=repository, imageIds=[image_id])
        assert answer["imageIds"] == []
        assert answer["failures"] == [
            {
                "imageId": image_id,
                "failureCode": "ImageReferencedByManifestList",
                "failureReason": f"Requested image referenced by manifest list: [{index}]",
            }
        ]
    assert tags_of(ecr, repository) == {None: [], "child": child, "index": index, "outer": outer}
    # In one call the order does not matter.
    ids = [{"imageDigest": digest} for digest in (child, index, outer)]
    answer = ecr.batch_delete_image(repositoryName=repository, imageIds=ids)
    assert answer["failures"] == []
    assert tags_of(ecr, repository) == {None: []}


def test_a_tag_of_an_indexs_image_can_be_removed_while_it_has_another(ecr, repository):
    child = put_image(ecr, repository, "child")
    put(ecr, repository, manifest_text(), imageTag="second")
    put(ecr, repository, index_text(manifest_text()), imageTag="index")
    answer = ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "second"}])
    assert answer["imageIds"] == [{"imageDigest": child, "imageTag": "second"}]


def test_layers_of_a_deleted_image_can_be_used_again(ecr, repository):
    put_image(ecr, repository, "v1")
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    put(ecr, repository, manifest_text(), imageTag="v1")


@pytest.mark.parametrize(
    ("wanted", "tags"),
    [
        ({}, ["v1", "v2", None]),
        ({"tagStatus": "ANY"}, ["v1", "v2", None]),
        ({"tagStatus": "TAGGED"}, ["v1", "v2"]),
        ({"tagStatus": "UNTAGGED"}, [None]),
        ({"imageStatus": "ACTIVE"}, ["v1", "v2", None]),
        ({"imageStatus": "ANY", "tagStatus": "TAGGED"}, ["v1", "v2"]),
        ({"imageStatus": "ARCHIVED"}, []),
        ({"imageStatus": "ACTIVATING"}, []),
    ],
)
def test_images_are_listed_and_described_by_status(ecr, repository, wanted, tags):
    tagged = put_image(ecr, repository, "v1")
    put(ecr, repository, manifest_text(), imageTag="v2")
    untagged = put_image(ecr, repository, seed="untagged")
    listed = ecr.list_images(registryId=ACCOUNT, repositoryName=repository, filter=wanted)["imageIds"]
    assert listed == [
        {"imageDigest": untagged} if tag is None else {"imageDigest": tagged, "imageTag": tag} for tag in tags
    ]
    described = ecr.describe_images(registryId=ACCOUNT, repositoryName=repository, filter=wanted)
    digests = [found["imageDigest"] for found in described["imageDetails"]]
    assert digests == list(dict.fromkeys(entry["imageDigest"] for entry in listed))


def test_an_image_is_described(ecr, repository):
    before = datetime.now(UTC) - timedelta(seconds=1)
    digest = put_image(ecr, repository, "v1")
    put_image(ecr, repository, "other", seed="other")
    found = detail(ecr, repository, imageTag="v1")
    assert before <= found.pop("imagePushedAt") <= datetime.now(UTC)
    assert found == {
        "registryId": ACCOUNT,
        "repositoryName": repository,
        "imageDigest": digest,
        "imageTags": ["v1"],
        "imageSizeInBytes": len(b"config seed") + len(b"layer seed"),
        "imageManifestMediaType": OCI_MANIFEST,
        "artifactMediaType": OCI_CONFIG,
        "imageStatus": "ACTIVE",
    }


def test_the_size_of_an_index_is_that_of_its_largest_image(ecr, repository):
    for seed in ("a", "abc"):
        put_image(ecr, repository, seed=seed)
    index = index_text(*(manifest_text(seed=seed) for seed in ("a", "abc")))
    digest = put(ecr, repository, index)
    found = detail(ecr, repository, imageDigest=digest)
    assert found["imageSizeInBytes"] == len(b"config abc") + len(b"layer abc")
    assert found["imageManifestMediaType"] == OCI_INDEX


def test_a_blob_that_is_named_twice_counts_once(ecr, repository):
    upload_layer(ecr, repository, b"blob")
    text = image_manifest(b"blob", b"blob", b"blob").decode()
    assert detail(ecr, repository, imageDigest=put(ecr, repository, text))["imageSizeInBytes"] == 4


def test_images_are_described_once_each(ecr, repository):
    first, second = (put_image(ecr, repository, tag, seed=tag) for tag in ("first", "second"))
    ids = [{"imageTag": "second"}, {"imageDigest": first}, {"imageDigest": second, "imageTag": "second"}]
    found = ecr.describe_images(repositoryName=repository, imageIds=ids)["imageDetails"]
    assert [entry["imageDigest"] for entry in found] == [second, first]


@pytest.mark.parametrize("image_id", [{"imageTag": "absent"}, {"imageDigest": ABSENT}])
def test_images_that_are_described_have_to_be_there(ecr, repository, image_id):
    put_image(ecr, repository, "v1")
    ids = [{"imageTag": "v1"}, image_id]
    code, message = refused(ecr.describe_images, repositoryName=repository, imageIds=ids)
    assert code == "ImageNotFoundException"
    (named,) = image_id.values()
    assert f"'{named}'" in message


def test_an_image_that_is_not_there_is_told_by_its_id(ecr, repository):
    put_image(ecr, repository, "v1")
    image_id = {"imageDigest": ABSENT, "imageTag": "v1"}
    assert refused(ecr.describe_images, repositoryName=repository, imageIds=[image_id]) == (
        "ImageNotFoundException",
        f"The image with imageId {{imageDigest:'{ABSENT}', imageTag:'v1'}} does not exist within the "
        "repository with name 'app' in the registry with id '000000000000'",
    )


@pytest.mark.parametrize("image_id", [{}, {"imageDigest": "x"}, {"imageTag": "-"}])
def test_images_can_not_be_described_by_what_is_no_id(ecr, repository, image_id):
    with pytest.raises(ecr.exceptions.InvalidParameterException):
        ecr.describe_images(repositoryName=repository, imageIds=[image_id])


@pytest.mark.parametrize("paging", [{"maxResults": 1}, {"nextToken": "x"}])
def test_ids_and_pages_exclude_each_other(ecr, repository, paging):
    put_image(ecr, repository, "v1")
    with pytest.raises(ecr.exceptions.InvalidParameterException, match="'imageIds'"):
        ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": "v1"}], **paging)
