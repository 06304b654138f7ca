"""Layers: uploading them in parts, asking whether they are there, and downloading them."""

import hashlib
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from ecr_emulator.core import layers

from .conftest import OCI_CONFIG, OCI_LAYER, put_image, refused, sha256, upload_layer

ACCOUNT = "000000000000"
UNKNOWN_UPLOAD = "00000000-0000-0000-0000-000000000000"
MIB = 1 << 20


def begin(ecr, repository):
    return ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]


def send(ecr, repository, upload_id, content, first=0, last=None):
    return ecr.upload_layer_part(
        repositoryName=repository,
        uploadId=upload_id,
        partFirstByte=first,
        partLastByte=first + len(content) - 1 if last is None else last,
        layerPartBlob=content,
    )


def complete(ecr, repository, upload_id, *digests):
    return ecr.complete_layer_upload(repositoryName=repository, uploadId=upload_id, layerDigests=digests)


def check(ecr, repository, *digests):
    return ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=digests)


def without_metadata(answer):
    return {member: value for member, value in answer.items() if member != "ResponseMetadata"}


def status_and_body(url):
    try:
        with urllib.request.urlopen(url) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_layer_is_uploaded_in_three_calls(ecr, repository):
    begun = without_metadata(ecr.initiate_layer_upload(repositoryName=repository, registryId=ACCOUNT))
    upload_id = begun.pop("uploadId")
    assert begun == {"partSize": 10485760}
    of_upload = {"registryId": ACCOUNT, "repositoryName": repository, "uploadId": upload_id}
    sent = ecr.upload_layer_part(**of_upload, partFirstByte=0, partLastByte=4, layerPartBlob=b"layer")
    assert without_metadata(sent) == {**of_upload, "lastByteReceived": 4}
    digest = sha256(b"layer")
    completed = ecr.complete_layer_upload(**of_upload, layerDigests=[digest])
    assert without_metadata(completed) == {**of_upload, "layerDigest": digest}
    assert without_metadata(check(ecr, repository, digest)) == {
        "layers": [{"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": 5}],
        "failures": [],
    }


def test_parts_follow_each_other(ecr, repository):
    upload_id = begin(ecr, repository)
    parts = [b"a" * (5 * MIB), b"b" * (20 * MIB), b"c"]
    first = 0
    for part in parts:
        assert send(ecr, repository, upload_id, part, first)["lastByteReceived"] == first + len(part) - 1
        first += len(part)
    digest = sha256(b"".join(parts))
    assert complete(ecr, repository, upload_id, digest)["layerDigest"] == digest
    assert check(ecr, repository, digest)["layers"][0]["layerSize"] == 25 * MIB + 1


@pytest.mark.parametrize(
    ("first", "last"),
    [(6, 9), (4, 7), (0, 3), (5, 9), (5, 7)],
    ids=["gap", "overlap", "again", "long", "short"],
)
def test_a_part_that_does_not_continue_the_upload_is_refused(ecr, repository, first, last):
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, b"01234")
    with pytest.raises(ClientError) as raised:
        send(ecr, repository, upload_id, b"5678", first, last)
    response = raised.value.response
    assert response["Error"]["Code"] == "InvalidLayerPartException"
    assert upload_id in response["Error"]["Message"]
    details = ("registryId", "repositoryName", "uploadId", "lastValidByteReceived")
    assert [response[member] for member in details] == [ACCOUNT, repository, upload_id, 4]
    # The upload goes on from where it was.
    assert send(ecr, repository, upload_id, b"5", 5)["lastByteReceived"] == 5
    digest = sha256(b"012345")
    code, _ = refused(
        ecr.complete_layer_upload, repositoryName=repository, uploadId=upload_id, layerDigests=[digest]
    )
    assert code == "LayerPartTooSmallException"


def test_a_part_can_not_end_before_it_begins(ecr, repository):
    upload_id = begin(ecr, repository)
    with pytest.raises(ecr.exceptions.InvalidParameterException, match="'partLastByte'"):
        send(ecr, repository, upload_id, b"01234", 5, 4)


def test_parts_but_the_last_have_a_least_size(ecr, repository):
    upload_id = begin(ecr, repository)
    content = b"x" * (5 * MIB - 1)
    send(ecr, repository, upload_id, content)
    send(ecr, repository, upload_id, b"y", len(content))
    digest = sha256(content + b"y")
    with pytest.raises(ecr.exceptions.LayerPartTooSmallException):
        complete(ecr, repository, upload_id, digest)
    assert check(ecr, repository, digest)["layers"][0]["layerAvailability"] == "UNAVAILABLE"


def test_a_layer_has_a_greatest_number_of_parts(ecr, repository, monkeypatch):
    monkeypatch.setattr(layers, "MAX_PARTS", 2)
    upload_id = begin(ecr, repository)
    for first in range(2):
        send(ecr, repository, upload_id, b"x", first)
    with pytest.raises(ecr.exceptions.LimitExceededException):
        send(ecr, repository, upload_id, b"x", 2)


def test_a_layer_has_a_greatest_size(ecr, repository, monkeypatch):
    monkeypatch.setattr(layers, "MAX_SIZE", 5)
    upload_id = begin(ecr, repository)
    with pytest.raises(ecr.exceptions.LimitExceededException):
        send(ecr, repository, upload_id, b"123456")
    assert send(ecr, repository, upload_id, b"12345")["lastByteReceived"] == 4


def test_an_upload_belongs_to_its_repository(ecr, repository):
    ecr.create_repository(repositoryName="other")
    upload_id = begin(ecr, repository)
    for name, unknown in (("other", upload_id), (repository, UNKNOWN_UPLOAD)):
        of_upload = {"repositoryName": name, "uploadId": unknown}
        part = {"partFirstByte": 0, "partLastByte": 0, "layerPartBlob": b"x"}
        for operation, members in (
            (ecr.upload_layer_part, part),
            (ecr.complete_layer_upload, {"layerDigests": [sha256(b"x")]}),
        ):
            code, message = refused(operation, **of_upload, **members)
            assert code == "UploadNotFoundException"
            assert unknown in message
    assert send(ecr, repository, upload_id.upper(), b"x")["lastByteReceived"] == 0


def test_an_upload_ends_when_it_is_completed(ecr, repository):
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, b"x")
    complete(ecr, repository, upload_id, sha256(b"x"))
    with pytest.raises(ecr.exceptions.UploadNotFoundException):
        complete(ecr, repository, upload_id, sha256(b"x"))
    with pytest.raises(ecr.exceptions.UploadNotFoundException):
        send(ecr, repository, upload_id, b"x", 1)


def test_an_upload_without_parts_is_empty(ecr, repository):
    upload_id = begin(ecr, repository)
    code, message = refused(
        ecr.complete_layer_upload,
        repositoryName=repository,
        uploadId=upload_id,
        layerDigests=[sha256(b"")],
    )
    assert code == "EmptyUploadException"
    assert upload_id in message


@pytest.mark.parametrize(
    "digests",
    [
        [sha256(b"other")],
        [sha256(b"layer"), sha256(b"other")],
        ["sha256:" + "0" * 64],
        ["md5:" + "0" * 32],
        ["sha256:0"],
    ],
)
def test_bytes_of_another_digest_are_refused(ecr, repository, digests):
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, b"layer")
    with pytest.raises(ecr.exceptions.InvalidLayerException):
        complete(ecr, repository, upload_id, *digests)
    good = sha256(b"layer")
    assert check(ecr, repository, good)["layers"][0]["layerAvailability"] == "UNAVAILABLE"
    # The upload is still there.
    assert complete(ecr, repository, upload_id, good)["layerDigest"] == good


def test_a_layer_can_be_named_by_several_digests(ecr, repository):
    sha512 = f"sha512:{hashlib.sha512(b'layer').hexdigest()}"
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, b"layer")
    assert complete(ecr, repository, upload_id, sha256(b"layer"), sha512)["layerDigest"] == sha256(b"layer")


def test_a_layer_that_is_there_already_ends_the_upload(ecr, repository):
    digest = upload_layer(ecr, repository, b"layer")
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, b"layer")
    code, message = refused(
        ecr.complete_layer_upload, repositoryName=repository, uploadId=upload_id, layerDigests=[digest]
    )
    assert code == "LayerAlreadyExistsException"
    assert digest in message
    with pytest.raises(ecr.exceptions.UploadNotFoundException):
        complete(ecr, repository, upload_id, digest)
    assert check(ecr, repository, digest)["layers"][0]["layerAvailability"] == "AVAILABLE"


def test_layers_are_of_one_repository(ecr, repository):
    ecr.create_repository(repositoryName="other")
    mine, theirs = upload_layer(ecr, repository, b"mine"), upload_layer(ecr, "other", b"theirs")
    assert check(ecr, repository, mine, theirs, mine)["layers"] == [
        {"layerDigest": mine, "layerAvailability": "AVAILABLE", "layerSize": 4},
        {"layerDigest": theirs, "layerAvailability": "UNAVAILABLE"},
    ]
    # The same bytes are stored for another repository without an error.
    assert upload_layer(ecr, "other", b"mine") == mine
    ecr.delete_repository(repositoryName=repository)
    assert check(ecr, "other", mine)["layers"][0]["layerAvailability"] == "AVAILABLE"


def test_the_media_type_of_a_layer_is_that_of_its_image(ecr, repository):
    put_image(ecr, repository, "v1", seed="s")
    described = check(ecr, repository, sha256(b"config s"), sha256(b"layer s"))["layers"]
    assert [layer["mediaType"] for layer in described] == [OCI_CONFIG, OCI_LAYER]


def test_digests_that_are_none_fail_one_by_one(ecr, repository):
    digest = upload_layer(ecr, repository, b"layer")
    checked = check(ecr, repository, "", "sha256:xyz", digest, "")
    assert [layer["layerDigest"] for layer in checked["layers"]] == [digest]
    assert checked["failures"] == [
        {
            "layerDigest": "",
            "failureCode": "MissingLayerDigest",
            "failureReason": "Invalid request parameters: layer digest cannot be empty",
        },
        {
            "layerDigest": "sha256:xyz",
            "failureCode": "InvalidLayerDigest",
            "failureReason": "Invalid request parameters: layer digest should satisfy the regex "
            "'[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
        },
    ]


def test_a_download_url_works_without_credentials_for_an_hour(server, ecr, repository):
    put_image(ecr, repository, "v1", seed="s")
    digest = sha256(b"layer s")
    answer = ecr.get_download_url_for_layer(repositoryName=repository, registryId=ACCOUNT, layerDigest=digest)
    assert answer["layerDigest"] == digest
    url = answer["downloadUrl"]
    assert status_and_body(url) == (200, b"layer s")
    server.advance_clock(3590)
    assert status_and_body(url) == (200, b"layer s")
    server.advance_clock(20)
    status, body = status_and_body(url)
    assert status == 403
    assert b"expired" in body


def test_a_download_url_can_not_be_made_up(ecr, repository):
    put_image(ecr, repository, "v1", seed="s")
    url = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=sha256(b"layer s"))[
        "downloadUrl"
    ]
    assert status_and_body(url[:-4])[0] == 403
    assert status_and_body(url.replace("/_layers/", "/_layers/x"))[0] == 403


def test_only_layers_of_images_can_be_downloaded(ecr, repository):
    put_image(ecr, repository, "v1", seed="s")
    loose = upload_layer(ecr, repository, b"loose")
    get_url = ecr.get_download_url_for_layer
    assert refused(get_url, repositoryName=repository, layerDigest=loose)[0] == "LayerInaccessibleException"
    code, message = refused(get_url, repositoryName=repository, layerDigest=sha256(b"absent"))
    assert code == "LayersNotFoundException"
    assert sha256(b"absent") in message
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "v1"}])
    code, _ = refused(get_url, repositoryName=repository, layerDigest=sha256(b"layer s"))
    assert code == "LayerInaccessibleException"


def test_both_planes_append_to_one_upload(server, ecr, repository):
    upload_id = begin(ecr, repository)
    send(ecr, repository, upload_id, b"x" * (5 * MIB))
    request = urllib.request.Request(
        f"{server.url}/v2/{repository}/blobs/uploads/{upload_id}",
        data=b"tail",
        method="PATCH",
        headers={"Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 202
    digest = sha256(b"x" * (5 * MIB) + b"tail")
    assert complete(ecr, repository, upload_id, digest)["layerDigest"] == digest
    with urllib.request.urlopen(f"{server.url}/v2/{repository}/blobs/{digest}") as response:
        assert response.read()[-5:] == b"xtail"
