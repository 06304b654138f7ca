"""ListImageReferrers: filters and pages, and that the referrers API of /v2/ tells the same."""

import json
from urllib.parse import quote

import pytest

from ecr_emulator.oci import referrers

from .conftest import (
    OCI_INDEX,
    OCI_MANIFEST,
    descriptor,
    image_manifest,
    put_image,
    refused,
    sha256,
    upload_layer,
)
from .oci_client import OciClient

SBOM = "application/vnd.example.sbom+json"
SIGNATURE = "application/vnd.example.signature"
ATTESTATION = "application/vnd.example.attestation"
SUBJECT = image_manifest(b"config seed", b"layer seed")
DIGEST = sha256(SUBJECT)


@pytest.fixture
def oci(server):
    return OciClient(server.address)


@pytest.fixture
def artifacts(ecr, repository):
    """The descriptors of an image's artifacts, oldest first."""
    assert put_image(ecr, repository, "v1") == DIGEST
    upload_layer(ecr, repository, b"{}")
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [],
        "subject": descriptor(SUBJECT, OCI_MANIFEST),
    }
    manifests = [
        (artifact(SBOM, annotations={"org.example.kind": "größe"}), SBOM),
        (artifact(SIGNATURE), SIGNATURE),
        (artifact(SIGNATURE, annotations={"org.example.number": "2"}), SIGNATURE),
        (image_manifest(b"{}", subject=descriptor(SUBJECT, OCI_MANIFEST)), None),
        (json.dumps(index).encode(), None),
    ]
    described = []
    for manifest, artifact_type in manifests:
        ecr.put_image(repositoryName=repository, imageManifest=manifest.decode())
        document = json.loads(manifest)
        config = document.get("config", {}).get("mediaType")
        members = {"artifactType": artifact_type or config, "annotations": document.get("annotations")}
        described.append(
            {
                **descriptor(manifest, document["mediaType"]),
                **{name: value for name, value in members.items() if value is not None},
            }
        )
    return described


def artifact(artifact_type, **members):
    named = descriptor(SUBJECT, OCI_MANIFEST)
    return image_manifest(b"{}", artifactType=artifact_type, subject=named, **members)


def listed(client, digest=DIGEST, **given):
    """List referrers in one page."""
    answer = client.list_image_referrers(
        repositoryName="app", subjectId={"imageDigest": digest}, maxResults=50, **given
    )
    assert "nextToken" not in answer
    return answer["referrers"]


def over_v2(oci, digest=DIGEST, artifact_type=None):
    """List referrers over /v2/, following its links, in the form of ListImageReferrers."""
    path = f"/v2/app/referrers/{digest}"
    if artifact_type is not None:
        path += f"?artifactType={quote(artifact_type)}"
    found = []
    while path:
        answer = oci.get(path)
        assert answer.headers["Content-Type"] == OCI_INDEX
        assert answer.headers["OCI-Filters-Applied"] == (artifact_type and "artifactType")
        found += answer.json()["manifests"]
        link = answer.headers["Link"]
        assert link is None or link.endswith('>; rel="next"')
        path = link and link[1 : link.index(">")]
    return [{**entry, "artifactStatus": "ACTIVE"} for entry in found]


def test_both_planes_list_the_artifacts_of_an_image(ecr, oci, artifacts):
    assert listed(ecr) == over_v2(oci) == [{**entry, "artifactStatus": "ACTIVE"} for entry in artifacts]
    for entry in artifacts:
        assert listed(ecr, entry["digest"]) == over_v2(oci, entry["digest"]) == []
    gone = artifacts.pop(1)
    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": gone["digest"]}])
    assert [entry["digest"] for entry in listed(ecr)] == [entry["digest"] for entry in artifacts]
    assert over_v2(oci) == listed(ecr)


def test_an_artifact_that_is_pushed_over_v2_is_listed_before_its_subject_is_there(ecr, oci, repository):
    oci.push_blob(repository, b"{}")
    manifest = artifact(SBOM)
    assert oci.push_manifest(repository, sha256(manifest), manifest).headers["OCI-Subject"] == DIGEST
    assert listed(ecr) == over_v2(oci)
    assert [entry["digest"] for entry in listed(ecr)] == [sha256(manifest)]


@pytest.mark.parametrize(
    ("types", "chosen"),
    [
        ([], [0, 1, 2, 3, 4]),
        ([SBOM], [0]),
        ([SIGNATURE], [1, 2]),
        ([SIGNATURE, SBOM], [0, 1, 2]),
        ([ATTESTATION, SBOM, "x", "y", "z"], [0]),
        ([ATTESTATION], []),
        (["application/vnd.example"], []),
    ],
)
def test_artifacts_are_filtered_by_type(ecr, oci, artifacts, types, chosen):
    digests = [artifacts[number]["digest"] for number in chosen]
    for given in ({"artifactTypes": types}, {"artifactTypes": types, "artifactStatus": "ANY"}):
        assert [entry["digest"] for entry in listed(ecr, filter=given)] == digests
    if len(types) == 1:
        assert over_v2(oci, artifact_type=types[0]) == listed(ecr, filter={"artifactTypes": types})


def test_artifacts_are_filtered_by_status(ecr, oci, artifacts):
    archived, restored = (entry["digest"] for entry in artifacts[:2])
    for digest, storage_class in ((archived, "ARCHIVE"), (restored, "ARCHIVE"), (restored, "STANDARD")):
        ecr.update_image_storage_class(
            repositoryName="app", imageId={"imageDigest": digest}, targetStorageClass=storage_class
        )
    everything = listed(ecr, filter={"artifactStatus": "ANY"})
    statuses = ["ARCHIVED", "ACTIVATING", "ACTIVE", "ACTIVE", "ACTIVE"]
    assert [entry["artifactStatus"] for entry in everything] == statuses
    for status in set(statuses):
        chosen = [entry for entry in everything if entry["artifactStatus"] == status]
        assert listed(ecr, filter={"artifactStatus": status}) == chosen
    assert listed(ecr) == over_v2(oci) == everything[2:]
    assert listed(ecr, filter={"artifactTypes": [SIGNATURE]}) == over_v2(oci, artifact_type=SIGNATURE)


def test_pages_are_the_whole_list_whatever_their_size(ecr, artifacts):
    given = {"repositoryName": "app", "subjectId": {"imageDigest": DIGEST}}
    for size in (1, 2, 5):
        pages = [ecr.list_image_referrers(**given, maxResults=size)]
        while token := pages[-1].get("nextToken"):
            assert len(pages[-1]["referrers"]) == size
            pages.append(ecr.list_image_referrers(**given, maxResults=size, nextToken=token))
        assert [entry for page in pages for entry in page["referrers"]] == listed(ecr)
    token = ecr.list_image_referrers(**given, maxResults=1)["nextToken"]
    for other in (
        {"filter": {"artifactTypes": [SIGNATURE]}},
        {"filter": {"artifactStatus": "ANY"}},
        {"subjectId": {"imageDigest": artifacts[0]["digest"]}},
    ):
        assert refused(ecr.list_image_referrers, **{**given, **other}, nextToken=token) == (
            "InvalidParameterException",
            "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'",
        )


def test_a_page_has_twenty_artifacts_where_no_number_is_given(ecr, artifacts):
    for number in range(20 - len(artifacts) + 1):
        manifest = artifact(ATTESTATION, annotations={"org.example.number": str(number)})
        ecr.put_image(repositoryName="app", imageManifest=manifest.decode())
    given = {"repositoryName": "app", "subjectId": {"imageDigest": DIGEST}}
    first = ecr.list_image_referrers(**given)
    rest = ecr.list_image_referrers(**given, nextToken=first["nextToken"])
    assert (len(first["referrers"]), len(rest["referrers"])) == (20, 1)
    assert "nextToken" not in rest


@pytest.mark.parametrize("size", [1, 2, 4])
def test_links_lead_through_more_artifacts_than_one_index_has(ecr, oci, artifacts, monkeypatch, size):
    monkeypatch.setattr(referrers, "MAX_PAGE", size)
    first = oci.get(f"/v2/app/referrers/{DIGEST}")
    assert len(first.json()["manifests"]) == size
    assert first.headers["Link"]
    assert over_v2(oci) == listed(ecr)
    for artifact_type in (SIGNATURE, SBOM, ATTESTATION):
        assert over_v2(oci, artifact_type=artifact_type) == listed(
            ecr, filter={"artifactTypes": [artifact_type]}
        )
    monkeypatch.setattr(referrers, "MAX_PAGE", len(artifacts))
    assert oci.get(f"/v2/app/referrers/{DIGEST}").headers["Link"] is None


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19, ""])
def test_a_link_that_the_registry_did_not_give_is_refused(oci, repository, last):
    assert oci.get(f"/v2/app/referrers/{DIGEST}?last={last}").error == (405, "UNSUPPORTED")


@pytest.mark.parametrize("digest", ["", "latest", "sha256:0", f"md5:{'0' * 32}"])
def test_a_subject_is_named_by_a_digest(ecr, repository, digest):
    code, message = refused(ecr.list_image_referrers, repositoryName="app", subjectId={"imageDigest": digest})
    assert code == "InvalidParameterException"
    assert "'subjectId.imageDigest'" in message


@pytest.mark.parametrize(
    "given",
    [
        {"maxResults": 51},
        {"filter": {"artifactStatus": "DELETED"}},
        {"filter": {"artifactTypes": ["x"] * 6}},
    ],
)
def test_other_filters_and_sizes_are_refused(ecr, repository, given):
    subject = {"imageDigest": DIGEST}
    code, _ = refused(ecr.list_image_referrers, repositoryName="app", subjectId=subject, **given)
    assert code == "InvalidParameterException"


def test_the_repository_has_to_be_there(ecr):
    assert refused(ecr.list_image_referrers, repositoryName="none", subjectId={"imageDigest": DIGEST}) == (
        "RepositoryNotFoundException",
        "The repository with name 'none' does not exist in the registry with id '000000000000'",
    )


def test_artifacts_are_described_with_their_subject_and_type(ecr, artifacts):
    described = {
        entry["imageDigest"]: entry for entry in ecr.describe_images(repositoryName="app")["imageDetails"]
    }
    assert described.keys() == {DIGEST, *(entry["digest"] for entry in artifacts)}
    assert "subjectManifestDigest" not in described[DIGEST]
    for entry in artifacts:
        detail = described[entry["digest"]]
        assert detail["subjectManifestDigest"] == DIGEST
        assert detail["imageManifestMediaType"] == entry["mediaType"]
        assert detail.get("artifactMediaType") == entry.get("artifactType")
        assert "imageTags" not in detail
        assert "lastRecordedPullTime" not in detail
