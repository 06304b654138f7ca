"""The referrers API: artifacts that name an image as their subject."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    descriptor,
    image_manifest,
    sha256,
)
from tests.contract.oci_client import OciClient, PushedImage, api_client, no_such_repository, sha512

SBOM = "application/vnd.example.sbom+json"
SIGNATURE = "application/vnd.example.signature"
EMPTY_JSON = b"{}"


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


@pytest.fixture
def subject(oci: OciClient, repository: str) -> PushedImage:
    """An image that is not yet referred to."""
    oci.push_blob(repository, EMPTY_JSON)
    return oci.push_image(repository, "v1")


@pytest.fixture(scope="module")
def deleting_server() -> Iterator[BackgroundServer]:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, oci_deletes="on")) as server:
        yield server


def push(oci: OciClient, manifest: bytes, media_type: str = OCI_MANIFEST) -> dict[str, Any]:
    """Push a manifest by its digest and return its descriptor."""
    answer = oci.push_manifest("app", sha256(manifest), manifest, media_type)
    assert answer.status == 201, answer
    return descriptor(manifest, media_type)


def artifact(subject: PushedImage, artifact_type: str, **members: Any) -> bytes:
    named = descriptor(subject.manifest, OCI_MANIFEST)
    return image_manifest(EMPTY_JSON, artifactType=artifact_type, subject=named, **members)


def referrers(oci: OciClient, digest: str, query: str = "") -> list[dict[str, Any]]:
    answer = oci.get(f"/v2/app/referrers/{digest}{query}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.headers["OCI-Filters-Applied"] == ("artifactType" if "artifactType" in query else None)
    index = answer.json()
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == OCI_INDEX
    return list(index["manifests"])


def by_digest(descriptors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(descriptors, key=lambda entry: str(entry["digest"]))


def test_the_artifacts_of_an_image_are_listed_as_descriptors(oci: OciClient, subject: PushedImage) -> None:
    assert referrers(oci, subject.digest) == []
    annotations = {"org.example.kind": "größe"}
    sbom = push(oci, artifact(subject, SBOM, annotations=annotations))
    assert referrers(oci, subject.digest) == [{**sbom, "artifactType": SBOM, "annotations": annotations}]
    signature = push(oci, artifact(subject, SIGNATURE))
    assert by_digest(referrers(oci, subject.digest)) == by_digest(
        [
            {**sbom, "artifactType": SBOM, "annotations": annotations},
            {**signature, "artifactType": SIGNATURE},
        ]
    )
    # Those of the artifact are its own.
    assert referrers(oci, str(sbom["digest"])) == []


def test_the_list_is_filtered_by_artifact_type(oci: OciClient, subject: PushedImage) -> None:
    sbom = push(oci, artifact(subject, SBOM))
    push(oci, artifact(subject, SIGNATURE))
    found = referrers(oci, subject.digest, f"?artifactType={SBOM.replace('+', '%2B')}")
    assert found == [{**sbom, "artifactType": SBOM}]
    assert referrers(oci, subject.digest, "?artifactType=application/none") == []
    assert referrers(oci, subject.digest, "?artifactType=application/vnd.example") == []


def test_an_image_without_artifact_type_goes_by_its_configs(oci: OciClient, subject: PushedImage) -> None:
    named = descriptor(subject.manifest, OCI_MANIFEST)
    document = json.loads(image_manifest(EMPTY_JSON, subject=named))
    document["config"]["mediaType"] = SIGNATURE
    pushed = push(oci, json.dumps(document).encode())
    assert referrers(oci, subject.digest) == [{**pushed, "artifactType": SIGNATURE}]
    assert referrers(oci, subject.digest, f"?artifactType={SIGNATURE}") == [
        {**pushed, "artifactType": SIGNATURE}
    ]


@pytest.mark.parametrize("artifact_type", [SBOM, None])
def test_an_index_can_refer_to_an_image(
    oci: OciClient, subject: PushedImage, artifact_type: str | None
) -> None:
    typed = {"artifactType": artifact_type} if artifact_type else {}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [],
            "subject": descriptor(subject.manifest, OCI_MANIFEST),
            **typed,
        }
    ).encode()
    pushed = push(oci, index, OCI_INDEX)
    assert referrers(oci, subject.digest) == [{**pushed, **typed}]
    assert referrers(oci, subject.digest, f"?artifactType={SBOM.replace('+', '%2B')}") == (
        [{**pushed, **typed}] if artifact_type else []
    )


def test_an_artifact_can_come_before_its_subject(oci: OciClient, subject: PushedImage) -> None:
    late = PushedImage(image_manifest(EMPTY_JSON, annotations={"org.example.late": "yes"}), (EMPTY_JSON,))
    pushed = push(oci, artifact(late, SBOM))
    assert referrers(oci, late.digest) == [{**pushed, "artifactType": SBOM}]
    push(oci, late.manifest)
    assert referrers(oci, late.digest) == [{**pushed, "artifactType": SBOM}]


def test_a_digest_that_nothing_refers_to_has_an_empty_list(oci: OciClient, subject: PushedImage) -> None:
    for digest in (sha256(b"never pushed"), sha512(b"never pushed")):
        assert referrers(oci, digest) == []


def test_a_docker_image_can_be_referred_to(oci: OciClient, repository: str) -> None:
    oci.push_blob(repository, EMPTY_JSON)
    image = oci.push_image(repository, "v1", media_type=DOCKER_MANIFEST)
    named = descriptor(image.manifest, DOCKER_MANIFEST)
    pushed = push(oci, image_manifest(EMPTY_JSON, artifactType=SBOM, subject=named))
    assert referrers(oci, image.digest) == [{**pushed, "artifactType": SBOM}]


def test_an_artifact_pushed_by_the_api_is_a_referrer(oci: OciClient, ecr: Any, subject: PushedImage) -> None:
    manifest = artifact(subject, SBOM)
    ecr.put_image(repositoryName="app", imageManifest=manifest.decode())
    assert referrers(oci, subject.digest) == [{**descriptor(manifest, OCI_MANIFEST), "artifactType": SBOM}]
    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": sha256(manifest)}])
    assert referrers(oci, subject.digest) == []


def test_referrers_belong_to_their_repository(oci: OciClient, ecr: Any, subject: PushedImage) -> None:
    ecr.create_repository(repositoryName="other")
    push(oci, artifact(subject, SBOM))
    assert oci.get(f"/v2/other/referrers/{subject.digest}").json()["manifests"] == []


def test_a_deleted_artifact_refers_no_more(deleting_server: BackgroundServer) -> None:
    deleting_server.reset()
    api_client(deleting_server.url).create_repository(repositoryName="app")
    oci = OciClient(deleting_server.address)
    oci.push_blob("app", EMPTY_JSON)
    image = oci.push_image("app", "v1")
    pushed = push(oci, artifact(image, SBOM))
    assert oci.delete(f"/v2/app/manifests/{pushed['digest']}").status == 202
    assert referrers(oci, image.digest) == []


def test_a_subject_is_named_by_a_digest_of_a_repository_that_exists(oci: OciClient, repository: str) -> None:
    for reference in ("latest", "sha256:0", f"md5:{'0' * 32}"):
        assert oci.get(f"/v2/app/referrers/{reference}").error == (400, "DIGEST_INVALID")
    answer = oci.get(f"/v2/none/referrers/{sha256(b'x')}")
    assert answer.error == (404, "NAME_UNKNOWN")
    assert answer.message == no_such_repository("none")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_referrers_are_only_read(oci: OciClient, repository: str, method: str) -> None:
    answer = oci.request(method, f"/v2/app/referrers/{sha256(b'x')}")
    assert answer.error == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET"
