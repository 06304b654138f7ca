"""The same statements about ECR, asked of the emulator and of moto.

Where moto answers otherwise, DIVERGENCES says why the emulator does not. An entry fails its test once
moto agrees.
"""

import base64
import json
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from .conftest import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    connect,
    image_manifest,
    sha256,
    upload_layer,
)

ACCOUNT = "123456789012"
ARN = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/app"
APP = {"repositoryName": "app"}
ABSENT = sha256(b"absent")

# For each test, its statements that moto does not hold, and why the emulator does. "Documented" is
# what the service model's documentation says of the operation, the member or the error.
DIVERGENCES: dict[str, dict[str, str]] = {
    "test_creating_repositories": {
        "a repositoryUri can be pushed to": "docker push has to work with it unchanged",
        "KMS_DSSE without a key takes the managed one": "documented, as for KMS",
    },
    "test_naming_repositories": {
        "a name has 256 characters at most": "the model's constraint",
        "a name can have two hyphens in a row": "the model's pattern; moto has an older one",
        "a name can have two underscores in a row": "the model's pattern; moto has an older one",
    },
    "test_describing_repositories": {
        "repositories come by name": "pages need an order that stays; moto has that of creation",
        "repositories come in pages": "documented",
        "a made-up nextToken is refused": "InvalidParameterException is documented",
    },
    "test_deleting_repositories": {
        "DeleteRepository leaves out the settings": "the API reference's example",
    },
    "test_needing_a_repository": {
        "put_image needs a repository": "documented; moto fails with 500",
    },
    "test_setting_tag_mutability": {
        "PutImageTagMutability answers with the filters": "a member of its output",
        "a mode with exclusion needs filters": "as CreateRepository, where moto knows it",
        "a mode without exclusion has no filters": "as CreateRepository, where moto knows it",
        "a filter has two wildcards at most": "the user guide on tag mutability",
    },
    "test_moving_tags": {
        "what moves: IMMUTABLE, v1": "ImageTagAlreadyExistsException is documented",
        "what moves: IMMUTABLE_WITH_EXCLUSION dev-*, v1": "ImageTagAlreadyExistsException is documented",
        "what moves: MUTABLE_WITH_EXCLUSION v*, v1": "ImageTagAlreadyExistsException is documented",
        "what moves: MUTABLE_WITH_EXCLUSION v*, dev-1": "filters are wildcards, not regular expressions",
        "what moves: MUTABLE_WITH_EXCLUSION v1, v1.2": "filters are for the whole tag",
        "what moves: MUTABLE_WITH_EXCLUSION v*final, v1-final": "filters are wildcards",
    },
    "test_uploading_layers": {
        "a part is as long as it says": "InvalidLayerPartException is documented for a wrong size",
    },
    "test_completing_layers": {
        "an upload without parts is empty": "EmptyUploadException is documented",
        "the digest has to be that of the bytes": "InvalidLayerException is documented",
        "a layer can be added once": "LayerAlreadyExistsException is documented",
    },
    "test_checking_layers": {
        "a layer without an image has no media type": "bytes have none; a manifest gives it to them",
        "a layer has the media type that its image gives it": "OCI layers are documented too",
        "a layer that is not there is unavailable": "documented; a failure is for what is no digest",
        "an empty digest is a MissingLayerDigest": "the only failure code that tells it",
    },
    "test_putting_images": {
        "layers have to be uploaded before their image": "LayersNotFoundException is documented",
        "the digest of an image is its manifest's SHA-256": "documented; clients verify it",
        "an image that lost its last tag stays": "the user guide: it is untagged, not deleted",
        "a digest has to be the manifest's": "ImageDigestDoesNotMatchException is documented",
        "a manifest is JSON": "InvalidParameterException is documented; moto fails with 500",
        "a manifest's media type is one that ECR knows": "the user guide's list of formats",
        "the request's media type is the manifest's": "an image has one",
        "a tag has a grammar": "that of the OCI distribution specification",
    },
    "test_describing_images": {
        "the size of an image is that of its config and layers": "documented; moto's is the config's",
        "the artifact's media type is the config's": "a member of ImageDetail",
        "an image is active": "a member of ImageDetail",
        "a pull is recorded": "documented of lastRecordedPullTime",
        "images come in pages": "documented",
        "DescribeImages filters by tag status": "documented",
    },
    "test_listing_images": {
        "image ids come in pages": "documented",
        "a list can be of archived images": "documented",
        "a list names images by their digests": "as PutImage, where moto's digests differ",
    },
    "test_getting_images": {
        "BatchGetImage answers by tag with that tag": "moto names the tag that was put last",
        "BatchGetImage gives accepted media types only": "documented",
        f"BatchGetImage fails for {{'imageDigest': '{ABSENT}'}}": "a failure names the id that was asked for",
        "BatchGetImage fails for {'imageDigest': 'sha256:x'}": "InvalidImageDigest is documented",
        "BatchGetImage fails for {'imageTag': '-'}": "InvalidImageTag is documented",
        "BatchGetImage fails for {}": "MissingDigestAndTag is documented",
    },
    "test_deleting_images": {
        "a digest with one of its tags deletes the tag": "documented of an id with a tag",
        "an untagged image is deleted": "imageIds are those of the deleted images; moto leaves it out",
        "a tag of another image is told": "ImageTagDoesNotMatchDigest is documented",
    },
    "test_tagging_resources": {
        "a tag's key has 128 characters at most": "documented",
        "a repository has 50 tags at most": "documented of TooManyTagsException",
    },
    "test_getting_tokens": {
        "the proxyEndpoint can be logged in to": "docker login has to work with it unchanged",
        "a token is for 12 hours": "documented; moto's is of 2015",
    },
}


@dataclass(frozen=True)
class Backend:
    """An implementation of ECR, and the statements of a test that it does not hold."""

    url: str
    client: Any
    divergences: dict[str, str]
    stated: set[str] = field(default_factory=set)

    def states(self, statement: str, actual: Any, expected: Any) -> None:
        """Assert that a statement holds, or that it does not where that is listed."""
        self.stated.add(statement)
        if statement in self.divergences:
            assert actual != expected, f"{statement!r} is no divergence any more"
        else:
            assert actual == expected, statement


@pytest.fixture(scope="session")
def moto_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["emulator", "moto"])
def backend(request):
    if request.param == "emulator":
        url, divergences = request.getfixturevalue("server").url, {}
    else:
        host, port = request.getfixturevalue("moto_server").get_host_and_port()
        url, divergences = f"http://{host}:{port}", DIVERGENCES.get(request.function.__name__, {})
        reset = urllib.request.Request(f"{url}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
    backend = Backend(url, connect(url, ACCOUNT), divergences)
    yield backend
    assert divergences.keys() <= backend.stated, "a divergence is of no statement"


def test_every_divergence_is_of_a_test():
    assert [name for name in DIVERGENCES if name not in globals()] == []


def outcome(operation, **members):
    """What an operation answers: its output, or its error's code and message."""
    try:
        answer = operation(**members)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    return {member: value for member, value in answer.items() if member != "ResponseMetadata"}


def code(operation, **members):
    """The code of the error that an operation answers, or None."""
    answer = outcome(operation, **members)
    return answer[0] if isinstance(answer, tuple) else None


def manifest_text(seed="seed", **members):
    return image_manifest(f"config {seed}".encode(), f"layer {seed}".encode(), **members).decode()


def push(client, *tags, seed="seed", repository="app"):
    """Push an image with its blobs under some tags, or under none, and return its manifest."""
    blobs = {sha256(blob): blob for blob in (f"config {seed}".encode(), f"layer {seed}".encode())}
    checked = client.batch_check_layer_availability(repositoryName=repository, layerDigests=list(blobs))
    present = {
        layer["layerDigest"] for layer in checked["layers"] if layer["layerAvailability"] == "AVAILABLE"
    }
    for digest in blobs.keys() - present:
        upload_layer(client, repository, blobs[digest])
    text = manifest_text(seed)
    for named in [{"imageTag": tag} for tag in tags] or [{}]:
        client.put_image(repositoryName=repository, imageManifest=text, **named)
    return text


def listed(client, **members):
    """The (digest, tag) pairs that ListImages gives."""
    answer = client.list_images(**APP, **members)["imageIds"]
    return {(entry["imageDigest"], entry.get("imageTag")) for entry in answer}


def filters(*patterns):
    return [{"filterType": "WILDCARD", "filter": pattern} for pattern in patterns]


BAD_PARAMETER = "InvalidParameterException"


def not_found(name):
    return (
        "RepositoryNotFoundException",
        f"The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'",
    )


def test_creating_repositories(backend):
    states, ecr = backend.states, backend.client
    created = ecr.create_repository(**APP)["repository"]
    states(
        "a repository is created now", abs(datetime.now(UTC) - created.pop("createdAt")).seconds < 10, True
    )
    uri = created.pop("repositoryUri")
    states("a repositoryUri ends in the name", uri.partition("/")[2], "app")
    states("a repositoryUri can be pushed to", f"http://{uri}", f"{backend.url}/app")
    defaults = {
        "repositoryArn": ARN,
        "registryId": ACCOUNT,
        "repositoryName": "app",
        "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": False},
        "encryptionConfiguration": {"encryptionType": "AES256"},
    }
    states("a new repository has defaults", created, defaults)
    states(
        "a name can be taken once",
        outcome(ecr.create_repository, **APP),
        (
            "RepositoryAlreadyExistsException",
            f"The repository with name 'app' already exists in the registry with id '{ACCOUNT}'",
        ),
    )
    settings = {
        "imageTagMutability": "MUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": filters("v*"),
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/mine"},
    }
    other = ecr.create_repository(repositoryName="other", **settings)["repository"]
    states("a repository keeps its settings", {name: other.get(name) for name in settings}, settings)
    for kind in ("KMS", "KMS_DSSE"):
        encryption = {"encryptionType": kind}
        made = ecr.create_repository(repositoryName=kind.lower(), encryptionConfiguration=encryption)[
            "repository"
        ]
        key = made["encryptionConfiguration"].get("kmsKey", "")
        states(f"{kind} without a key takes the managed one", key[:12], "arn:aws:kms:")


def test_naming_repositories(backend):
    for statement, name, expected in (
        ("a name has no capitals", "App", BAD_PARAMETER),
        ("a name does not end in a slash", "app/", BAD_PARAMETER),
        ("a name has no two dots in a row", "a..b", BAD_PARAMETER),
        ("a name has 256 characters at most", "a" * 257, BAD_PARAMETER),
        ("a name can have two hyphens in a row", "a--b", None),
        ("a name can have two underscores in a row", "a__b", None),
        ("a name can have slashes", "a/b/c", None),
    ):
        backend.states(statement, code(backend.client.create_repository, repositoryName=name), expected)


def test_describing_repositories(backend):
    states, ecr = backend.states, backend.client
    for name in ("two", "one", "three"):
        ecr.create_repository(repositoryName=name)

    def names(**members):
        described = ecr.describe_repositories(**members)["repositories"]
        return [repository["repositoryName"] for repository in described]

    states("all repositories are described", set(names()), {"one", "two", "three"})
    states("repositories come by name", names(), ["one", "three", "two"])
    states("repositories can be named", set(names(repositoryNames=["two", "one"])), {"one", "two"})
    states(
        "a repository that is named has to be there",
        outcome(ecr.describe_repositories, repositoryNames=["one", "absent"]),
        not_found("absent"),
    )
    states("another registry has other repositories", names(registryId="210987654321"), [])
    page = ecr.describe_repositories(maxResults=1)
    states("repositories come in pages", (len(page["repositories"]), "nextToken" in page), (1, True))
    states("a made-up nextToken is refused", code(ecr.describe_repositories, nextToken="x"), BAD_PARAMETER)


def test_deleting_repositories(backend):
    states, ecr = backend.states, backend.client
    created = ecr.create_repository(**APP)["repository"]
    push(ecr, "v1")
    states(
        "a repository with images is kept",
        outcome(ecr.delete_repository, **APP),
        (
            "RepositoryNotEmptyException",
            f"The repository with name 'app' in registry with id '{ACCOUNT}' cannot be deleted because it "
            "still contains images",
        ),
    )
    deleted = ecr.delete_repository(**APP, force=True)["repository"]
    kept = ("repositoryArn", "registryId", "repositoryName", "repositoryUri", "imageTagMutability")
    states(
        "DeleteRepository describes what is gone",
        {member: deleted.get(member) for member in kept},
        {member: created[member] for member in kept},
    )
    states("DeleteRepository leaves out the settings", deleted.keys() - {*kept, "createdAt"}, set())
    states("a repository can be deleted once", outcome(ecr.delete_repository, **APP), not_found("app"))
    ecr.create_repository(**APP)
    states("images end with their repository", listed(ecr), set())


def test_needing_a_repository(backend):
    for operation, members in {
        "list_images": {},
        "describe_images": {},
        "batch_get_image": {"imageIds": [{"imageTag": "v1"}]},
        "batch_delete_image": {"imageIds": [{"imageTag": "v1"}]},
        "put_image": {"imageManifest": manifest_text(), "imageTag": "v1"},
        "put_image_tag_mutability": {"imageTagMutability": "MUTABLE"},
        "initiate_layer_upload": {},
        "batch_check_layer_availability": {"layerDigests": [ABSENT]},
    }.items():
        backend.states(
            f"{operation} needs a repository",
            outcome(getattr(backend.client, operation), **APP, **members),
            not_found("app"),
        )


def test_setting_tag_mutability(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    for mutability in ("IMMUTABLE", "MUTABLE"):
        states(
            "PutImageTagMutability answers with what holds",
            outcome(ecr.put_image_tag_mutability, **APP, imageTagMutability=mutability),
            {"registryId": ACCOUNT, "repositoryName": "app", "imageTagMutability": mutability},
        )
    exclusions = {"imageTagMutabilityExclusionFilters": filters("latest", "dev-*")}
    mode = {"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}
    answer = ecr.put_image_tag_mutability(**APP, **mode, **exclusions)
    states(
        "PutImageTagMutability answers with the filters",
        answer.get("imageTagMutabilityExclusionFilters"),
        exclusions["imageTagMutabilityExclusionFilters"],
    )
    (described,) = ecr.describe_repositories()["repositories"]
    states("mutability is described", (mode | exclusions).items() <= described.items(), True)
    for statement, wrong in {
        "a mode with exclusion needs filters": mode,
        "a mode without exclusion has no filters": {"imageTagMutability": "MUTABLE", **exclusions},
        "mutability has four modes": {"imageTagMutability": "SOMETIMES"},
        "a filter has two wildcards at most": {
            **mode,
            "imageTagMutabilityExclusionFilters": filters("a*b*c*"),
        },
    }.items():
        states(statement, code(ecr.put_image_tag_mutability, **APP, **wrong), BAD_PARAMETER)


def test_moving_tags(backend):
    ecr = backend.client
    for mutability, patterns, tag, expected in (
        ("MUTABLE", [], "v1", None),
        ("IMMUTABLE", [], "v1", "ImageTagAlreadyExistsException"),
        ("IMMUTABLE_WITH_EXCLUSION", ["dev-*"], "v1", "ImageTagAlreadyExistsException"),
        ("IMMUTABLE_WITH_EXCLUSION", ["dev-*"], "dev-1", None),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], "v1", "ImageTagAlreadyExistsException"),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], "dev-1", None),
        ("MUTABLE_WITH_EXCLUSION", ["v1"], "v1.2", None),
        ("MUTABLE_WITH_EXCLUSION", ["v*final"], "v1-final", "ImageTagAlreadyExistsException"),
    ):
        exclusions = {"imageTagMutabilityExclusionFilters": filters(*patterns)} if patterns else {}
        ecr.create_repository(**APP, imageTagMutability=mutability, **exclusions)
        push(ecr, tag, seed="first")
        second = push(ecr, "second", seed="second")
        backend.states(
            f"what moves: {' '.join([mutability, *patterns])}, {tag}",
            code(ecr.put_image, **APP, imageTag=tag, imageManifest=second),
            expected,
        )
        ecr.delete_repository(**APP, force=True)


def test_uploading_layers(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    begun = outcome(ecr.initiate_layer_upload, **APP)
    states("a part has 10 MiB", begun["partSize"], 10485760)
    of_upload = {"registryId": ACCOUNT, **APP, "uploadId": begun["uploadId"]}
    part = {"partFirstByte": 0, "partLastByte": 4, "layerPartBlob": b"layer"}
    states(
        "UploadLayerPart answers with the last byte",
        outcome(ecr.upload_layer_part, **of_upload, **part),
        {**of_upload, "lastByteReceived": 4},
    )
    with pytest.raises(ClientError) as raised:
        ecr.upload_layer_part(**of_upload, **part)
    states("parts are consecutive", raised.value.response["Error"]["Code"], "InvalidLayerPartException")
    states(
        "a part that does not fit is told the last byte",
        {name: raised.value.response.get(name) for name in (*of_upload, "lastValidByteReceived")},
        {**of_upload, "lastValidByteReceived": 4},
    )
    short = {"partFirstByte": 5, "partLastByte": 9, "layerPartBlob": b"x"}
    states(
        "a part is as long as it says",
        code(ecr.upload_layer_part, **of_upload, **short),
        "InvalidLayerPartException",
    )


def test_completing_layers(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    of_upload = {"registryId": ACCOUNT, **APP}

    def upload(content):
        of_upload["uploadId"] = ecr.initiate_layer_upload(**APP)["uploadId"]
        if content:
            part = {"partFirstByte": 0, "partLastByte": len(content) - 1, "layerPartBlob": content}
            ecr.upload_layer_part(**of_upload, **part)

    upload(b"")
    states(
        "an upload without parts is empty",
        code(ecr.complete_layer_upload, **of_upload, layerDigests=[sha256(b"")]),
        "EmptyUploadException",
    )
    upload(b"layer")
    states(
        "the digest has to be that of the bytes",
        code(ecr.complete_layer_upload, **of_upload, layerDigests=[ABSENT]),
        "InvalidLayerException",
    )
    upload(b"other")
    digest = sha256(b"other")
    states(
        "CompleteLayerUpload answers with the digest",
        outcome(ecr.complete_layer_upload, **of_upload, layerDigests=[digest]),
        {**of_upload, "layerDigest": digest},
    )
    states(
        "an upload can be completed once",
        code(ecr.complete_layer_upload, **of_upload, layerDigests=[digest]),
        "UploadNotFoundException",
    )
    upload(b"other")
    states(
        "a layer can be added once",
        code(ecr.complete_layer_upload, **of_upload, layerDigests=[digest]),
        "LayerAlreadyExistsException",
    )


def test_checking_layers(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    ecr.create_repository(repositoryName="other")
    digest, theirs = upload_layer(ecr, "app", b"layer"), upload_layer(ecr, "other", b"theirs")

    def check(*digests):
        answer = ecr.batch_check_layer_availability(**APP, layerDigests=digests)
        return answer["layers"], answer["failures"]

    (layer,), failures = check(digest)
    described = (layer["layerDigest"], layer["layerAvailability"], layer["layerSize"], failures)
    states("a layer is available with its size", described, (digest, "AVAILABLE", 5, []))
    states("a layer without an image has no media type", layer.get("mediaType"), None)
    push(ecr, "v1")
    layers, _ = check(sha256(b"config seed"), sha256(b"layer seed"))
    states(
        "a layer has the media type that its image gives it",
        [layer.get("mediaType") for layer in layers],
        [OCI_CONFIG, OCI_LAYER],
    )
    states(
        "a layer that is not there is unavailable",
        check(ABSENT),
        ([{"layerDigest": ABSENT, "layerAvailability": "UNAVAILABLE"}], []),
    )
    layers, failures = check(theirs)
    available = [layer for layer in layers if layer["layerAvailability"] == "AVAILABLE"]
    states("a layer is of one repository", available, [])
    for statement, wrong, expected in (
        ("what is no digest is an InvalidLayerDigest", "sha256:x", "InvalidLayerDigest"),
        ("an empty digest is a MissingLayerDigest", "", "MissingLayerDigest"),
    ):
        layers, (failure,) = check(wrong)
        states(statement, (layers, failure["layerDigest"], failure["failureCode"]), ([], wrong, expected))


def test_putting_images(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    text = manifest_text()
    states(
        "layers have to be uploaded before their image",
        code(ecr.put_image, **APP, imageManifest=text, imageTag="early"),
        "LayersNotFoundException",
    )
    ecr.delete_repository(**APP, force=True)
    ecr.create_repository(**APP)
    for content in (b"config seed", b"layer seed"):
        upload_layer(ecr, "app", content)
    image = ecr.put_image(**APP, imageManifest=text, imageTag="v1")["image"]
    image_id = image.pop("imageId")
    states(
        "PutImage answers with the image",
        image,
        {
            "registryId": ACCOUNT,
            **APP,
            "imageManifest": text,
            "imageManifestMediaType": OCI_MANIFEST,
        },
    )
    states("PutImage answers with the tag", image_id["imageTag"], "v1")
    digest = image_id["imageDigest"]
    states("the digest of an image is its manifest's SHA-256", digest, sha256(text.encode()))
    states(
        "the same image can be put once",
        outcome(ecr.put_image, **APP, imageManifest=text, imageTag="v1"),
        (
            "ImageAlreadyExistsException",
            f"Image with digest '{digest}' and tag 'v1' already exists in the repository with name 'app' in "
            f"registry with id '{ACCOUNT}'",
        ),
    )
    ecr.put_image(**APP, imageManifest=text, imageTag="v2")
    states("an image can have several tags", listed(ecr), {(digest, "v1"), (digest, "v2")})
    push(ecr, "v2", seed="other")
    states("a tag moves to another image", {tag for found, tag in listed(ecr) if found == digest}, {"v1"})
    other = push(ecr, "v1", seed="third")
    states("an image that lost its last tag stays", (digest, None) in listed(ecr), True)
    states(
        "an image needs a tag no more than a digest",
        code(ecr.put_image, **APP, imageManifest=json.dumps(json.loads(other), indent=1)),
        None,
    )
    for statement, members, expected in (
        ("a digest has to be the manifest's", {"imageDigest": ABSENT}, "ImageDigestDoesNotMatchException"),
        ("a manifest is JSON", {"imageManifest": "{"}, BAD_PARAMETER),
        ("a manifest or its request names the media type", {"imageManifest": "{}"}, BAD_PARAMETER),
        (
            "a manifest's media type is one that ECR knows",
            {"imageManifest": manifest_text(media_type="text/plain")},
            BAD_PARAMETER,
        ),
        (
            "the request's media type is the manifest's",
            {"imageManifestMediaType": DOCKER_MANIFEST},
            BAD_PARAMETER,
        ),
        ("a tag has a grammar", {"imageTag": "-"}, BAD_PARAMETER),
    ):
        given = {"imageManifest": manifest_text("third", annotations={"for": statement}), "imageTag": "new"}
        states(statement, code(ecr.put_image, **APP, **given | members), expected)


def test_describing_images(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    push(ecr, "v1", "v2")
    (found,) = ecr.describe_images(**APP)["imageDetails"]
    digest = found["imageDigest"]
    states("an image is pushed now", abs(datetime.now(UTC) - found["imagePushedAt"]).seconds < 10, True)
    named = {name: found.get(name) for name in ("registryId", "repositoryName", "imageManifestMediaType")}
    states(
        "an image names its registry, repository and media type",
        named,
        {"registryId": ACCOUNT, "repositoryName": "app", "imageManifestMediaType": OCI_MANIFEST},
    )
    states("an image has its tags", set(found["imageTags"]), {"v1", "v2"})
    size = len(b"config seed") + len(b"layer seed")
    states("the size of an image is that of its config and layers", found["imageSizeInBytes"], size)
    states("the artifact's media type is the config's", found.get("artifactMediaType"), OCI_CONFIG)
    states("an image is active", found.get("imageStatus"), "ACTIVE")
    states("an image that was not pulled has no pull time", found.get("lastRecordedPullTime"), None)
    ecr.batch_get_image(**APP, imageIds=[{"imageTag": "v1"}])
    (pulled,) = ecr.describe_images(**APP)["imageDetails"]
    states("a pull is recorded", "lastRecordedPullTime" in pulled, True)
    push(ecr, seed="untagged")
    untagged = [found for found in ecr.describe_images(**APP)["imageDetails"] if "imageTags" not in found]
    states("an untagged image has no imageTags", len(untagged), 1)
    for statement, image_id in (
        ("an image is found by tag", {"imageTag": "v2"}),
        ("an image is found by digest", {"imageDigest": digest}),
        ("an image is found by both", {"imageDigest": digest, "imageTag": "v1"}),
    ):
        described = ecr.describe_images(**APP, imageIds=[image_id])["imageDetails"]
        states(statement, [found["imageDigest"] for found in described], [digest])
    for statement, image_id in (
        ("a tag that is described has to be there", {"imageTag": "x"}),
        ("a digest that is described has to be there", {"imageDigest": ABSENT}),
    ):
        states(statement, code(ecr.describe_images, **APP, imageIds=[image_id]), "ImageNotFoundException")
    states(
        "an absent image is told",
        outcome(ecr.describe_images, **APP, imageIds=[{"imageDigest": ABSENT, "imageTag": "v1"}]),
        (
            "ImageNotFoundException",
            f"The image with imageId {{imageDigest:'{ABSENT}', imageTag:'v1'}} does not exist within the "
            f"repository with name 'app' in the registry with id '{ACCOUNT}'",
        ),
    )
    page = ecr.describe_images(**APP, maxResults=1)
    states("images come in pages", (len(page["imageDetails"]), "nextToken" in page), (1, True))
    wanted = ecr.describe_images(**APP, filter={"tagStatus": "UNTAGGED"})["imageDetails"]
    states("DescribeImages filters by tag status", len(wanted), 1)


def test_listing_images(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    states("a new repository has no images", listed(ecr), set())
    tagged, untagged = sha256(push(ecr, "v1", "v2").encode()), sha256(push(ecr, seed="untagged").encode())
    pairs = {(tagged, "v1"), (tagged, "v2")}

    def tags(**members):
        return sorted(str(tag) for _, tag in listed(ecr, **members))

    states("an image is listed once for each tag", tags(), ["None", "v1", "v2"])
    states("a list can be of tagged images", tags(filter={"tagStatus": "TAGGED"}), ["v1", "v2"])
    states("a list can be of untagged images", tags(filter={"tagStatus": "UNTAGGED"}), ["None"])
    states("a list can be of archived images", tags(filter={"imageStatus": "ARCHIVED"}), [])
    states("a list names images by their digests", listed(ecr), pairs | {(untagged, None)})
    page = ecr.list_images(**APP, maxResults=2)
    states("image ids come in pages", (len(page["imageIds"]), "nextToken" in page), (2, True))


def test_getting_images(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)
    text = push(ecr, "v1", "v2")
    (found,) = ecr.describe_images(**APP)["imageDetails"]
    digest = found["imageDigest"]

    def get(image_id, **members):
        answer = ecr.batch_get_image(**APP, imageIds=[image_id], **members)
        return answer["images"], answer["failures"]

    for image_id in ({"imageTag": "v1"}, {"imageDigest": digest}, {"imageDigest": digest, "imageTag": "v2"}):
        (image,), failures = get(image_id)
        answered = image.pop("imageId")
        states("BatchGetImage answers with the digest", answered["imageDigest"], digest)
        if image_id == {"imageTag": "v1"}:
            states("BatchGetImage answers by tag with that tag", answered.get("imageTag"), "v1")
        states(
            "BatchGetImage answers with the manifest",
            (image, failures),
            (
                {
                    "registryId": ACCOUNT,
                    **APP,
                    "imageManifest": text,
                    "imageManifestMediaType": OCI_MANIFEST,
                },
                [],
            ),
        )
    images, failures = get({"imageTag": "v1"}, acceptedMediaTypes=[DOCKER_MANIFEST])
    states(
        "BatchGetImage gives accepted media types only",
        (images, [failure["failureCode"] for failure in failures]),
        ([], ["ImageNotFound"]),
    )
    for image_id, expected in (
        ({"imageTag": "absent"}, "ImageNotFound"),
        ({"imageDigest": ABSENT}, "ImageNotFound"),
        ({"imageDigest": "sha256:x"}, "InvalidImageDigest"),
        ({"imageTag": "-"}, "InvalidImageTag"),
        ({}, "MissingDigestAndTag"),
    ):
        images, failures = get(image_id)
        told = [(failure["imageId"], failure["failureCode"]) for failure in failures]
        states(f"BatchGetImage fails for {image_id}", (images, told), ([], [(image_id, expected)]))


def test_deleting_images(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP)

    def delete(**image_id):
        answer = ecr.batch_delete_image(**APP, imageIds=[image_id])
        deleted = sorted((entry["imageDigest"], str(entry.get("imageTag"))) for entry in answer["imageIds"])
        return deleted, answer["failures"]

    push(ecr, "v1", "v2", "v3")
    (found,) = ecr.describe_images(**APP)["imageDetails"]
    digest = found["imageDigest"]
    states("a tag is deleted alone", delete(imageTag="v1"), ([(digest, "v1")], []))
    states("the other tags stay", listed(ecr), {(digest, "v2"), (digest, "v3")})
    states(
        "a digest with one of its tags deletes the tag",
        delete(imageDigest=digest, imageTag="v2"),
        ([(digest, "v2")], []),
    )
    ecr.delete_repository(**APP, force=True)
    ecr.create_repository(**APP)
    push(ecr, "v3")
    (found,) = ecr.describe_images(**APP)["imageDetails"]
    digest = found["imageDigest"]
    states("the last tag is deleted", delete(imageTag="v3"), ([(digest, "v3")], []))
    states("the image goes with its last tag", ecr.describe_images(**APP)["imageDetails"], [])
    push(ecr, "v1", "v2")
    states("a digest goes with all tags", delete(imageDigest=digest), ([(digest, "v1"), (digest, "v2")], []))
    push(ecr, seed="untagged")
    (found,) = ecr.describe_images(**APP)["imageDetails"]
    digest = found["imageDigest"]
    states("an untagged image is deleted", delete(imageDigest=digest), ([(digest, "None")], []))
    states("nothing is left", listed(ecr), set())
    for image_id, expected, reason in (
        ({"imageTag": "absent"}, "ImageNotFound", "Requested image not found"),
        ({"imageDigest": ABSENT}, "ImageNotFound", "Requested image not found"),
        ({"imageDigest": ABSENT, "imageTag": "v1"}, "ImageNotFound", "Requested image not found"),
        (
            {"imageDigest": "sha256:x"},
            "InvalidImageDigest",
            "Invalid request parameters: image digest should satisfy the regex "
            "'[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
        ),
        ({}, "MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null"),
    ):
        failure = {"imageId": image_id, "failureCode": expected, "failureReason": reason}
        states(f"BatchDeleteImage fails for {image_id}", delete(**image_id), ([], [failure]))
    push(ecr, "first", seed="first")
    push(ecr, "second", seed="second")
    digests = {
        found["imageTags"][0]: found["imageDigest"] for found in ecr.describe_images(**APP)["imageDetails"]
    }
    _, failures = delete(imageDigest=digests["first"], imageTag="second")
    states(
        "a tag of another image is told",
        [failure["failureCode"] for failure in failures],
        ["ImageTagDoesNotMatchDigest"],
    )


def test_tagging_resources(backend):
    states, ecr = backend.states, backend.client
    ecr.create_repository(**APP, tags=[{"Key": "team", "Value": "x"}])

    def tags():
        return {tag["Key"]: tag["Value"] for tag in ecr.list_tags_for_resource(resourceArn=ARN)["tags"]}

    states("a repository is created with tags", tags(), {"team": "x"})
    added = [{"Key": "team", "Value": "y"}, {"Key": "stage", "Value": ""}]
    states("TagResource answers nothing", outcome(ecr.tag_resource, resourceArn=ARN, tags=added), {})
    states("tags are added and replaced", tags(), {"team": "y", "stage": ""})
    answer = outcome(ecr.untag_resource, resourceArn=ARN, tagKeys=["team", "absent"])
    states("UntagResource answers nothing", answer, {})
    states("tags are removed", tags(), {"stage": ""})
    for operation, members in {
        "list_tags_for_resource": {},
        "tag_resource": {"tags": added},
        "untag_resource": {"tagKeys": ["team"]},
    }.items():
        perform = getattr(ecr, operation)
        states(
            f"{operation} needs a repository",
            outcome(perform, resourceArn=ARN.replace("app", "absent"), **members),
            not_found("absent"),
        )
        states(
            f"{operation} needs an ARN",
            outcome(perform, resourceArn="app", **members),
            (BAD_PARAMETER, "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'"),
        )
    for statement, wrong, expected in (
        ("a tag's key has 128 characters at most", {"k" * 129: "x"}, "InvalidTagParameterException"),
        ("a repository has 50 tags at most", {str(n): "x" for n in range(51)}, "TooManyTagsException"),
    ):
        given = [{"Key": key, "Value": value} for key, value in wrong.items()]
        states(statement, code(ecr.tag_resource, resourceArn=ARN, tags=given), expected)


def test_getting_tokens(backend):
    states, ecr = backend.states, backend.client
    (data,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    states("a token is base64 of AWS and a password", (user, bool(password)), ("AWS", True))
    left = (data["expiresAt"] - datetime.now(UTC)).total_seconds()
    states("a token is for 12 hours", round(left / 3600), 12)
    states("the proxyEndpoint can be logged in to", data["proxyEndpoint"], backend.url)
    several = ecr.get_authorization_token(registryIds=[ACCOUNT, "210987654321"])["authorizationData"]
    states("each registry has a token", len({one["authorizationToken"] for one in several}), 2)
