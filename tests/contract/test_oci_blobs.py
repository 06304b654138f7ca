"""Blobs over /v2/: reading them whole and in part, whose they are, and removing them."""

from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import sha256, upload_layer
from tests.contract.oci_client import OciClient, api_client, no_such_repository

CONTENT = bytes(range(200)) * 5
DIGEST = sha256(CONTENT)
BLOB = f"/v2/app/blobs/{DIGEST}"


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


@pytest.fixture
def blob(oci: OciClient, repository: str) -> str:
    oci.push_blob(repository, CONTENT)
    return BLOB


@pytest.fixture(scope="module")
def deleting_server() -> Iterator[BackgroundServer]:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, oci_deletes="on")) as server:
        yield server


@pytest.fixture
def deleting(deleting_server: BackgroundServer) -> OciClient:
    """A client of a server that offers deletes, with the repositories app and other."""
    deleting_server.reset()
    for name in ("app", "other"):
        api_client(deleting_server.url).create_repository(repositoryName=name)
    return OciClient(deleting_server.address)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_told_with_its_size_and_digest(oci: OciClient, blob: str, method: str) -> None:
    answer = oci.request(method, blob)
    assert answer.status == 200
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Docker-Content-Digest"] == DIGEST
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer.body == (CONTENT if method == "GET" else b"")


RANGES = {
    "first byte": ("bytes=0-0", 0, 0),
    "beginning": ("bytes=0-99", 0, 99),
    "middle": ("bytes=300-699", 300, 699),
    "last byte": ("bytes=999-999", 999, 999),
    "to the end": ("bytes=900-", 900, 999),
    "whole": ("bytes=0-", 0, 999),
    "suffix": ("bytes=-10", 990, 999),
    "past the end": ("bytes=990-5000", 990, 999),
    "suffix longer than the blob": ("bytes=-5000", 0, 999),
}


@pytest.mark.parametrize(("asked", "first", "last"), RANGES.values(), ids=RANGES)
def test_a_range_of_a_blob_can_be_had(oci: OciClient, blob: str, asked: str, first: int, last: int) -> None:
    answer = oci.get(blob, {"Range": asked})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.headers["Docker-Content-Digest"] == DIGEST
    assert answer.body == CONTENT[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=1000-1001", "bytes=99999999999-"])
def test_a_range_past_the_end_is_not_satisfiable(oci: OciClient, blob: str, asked: str) -> None:
    answer = oci.get(blob, {"Range": asked})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_a_download_that_broke_off_goes_on_by_a_range(oci: OciClient, blob: str) -> None:
    connection = oci.connect()
    connection.request("GET", blob)
    got = connection.getresponse().read(123)
    connection.close()
    rest = oci.get(blob, {"Range": f"bytes={len(got)}-"})
    assert rest.status == 206
    assert got + rest.body == CONTENT


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_that_was_never_pushed_is_unknown(oci: OciClient, repository: str, method: str) -> None:
    answer = oci.request(method, BLOB)
    assert answer.status == 404
    if method == "GET":
        assert answer.error == (404, "BLOB_UNKNOWN")
        assert DIGEST in answer.message


@pytest.mark.parametrize(
    "digest",
    [
        "latest",
        "sha256:",
        f"sha256:{'0' * 63}",
        f"md5:{'0' * 32}",
        f"sha384:{'0' * 96}",
        f"SHA256:{'0' * 64}",
    ],
)
def test_a_blob_is_named_by_a_digest_alone(oci: OciClient, repository: str, digest: str) -> None:
    assert oci.get(f"/v2/app/blobs/{digest}").error == (400, "DIGEST_INVALID")


def test_a_blob_of_a_repository_that_does_not_exist_is_refused_in_ecrs_words(oci: OciClient) -> None:
    answer = oci.get(f"/v2/none/blobs/{DIGEST}")
    assert answer.error == (404, "NAME_UNKNOWN")
    assert answer.message == no_such_repository("none")


def test_a_blob_is_not_visible_in_another_repository_until_it_is_pushed_there(
    oci: OciClient, ecr: Any, blob: str
) -> None:
    ecr.create_repository(repositoryName="other")
    elsewhere = f"/v2/other/blobs/{DIGEST}"
    checked = ecr.batch_check_layer_availability(repositoryName="other", layerDigests=[DIGEST])
    assert checked["layers"][0]["layerAvailability"] == "UNAVAILABLE"
    assert oci.get(elsewhere).error == (404, "BLOB_UNKNOWN")
    assert oci.head(elsewhere).status == 404
    oci.push_blob("other", CONTENT)
    assert oci.get(elsewhere).body == CONTENT
    # Each repository has it by itself.
    ecr.delete_repository(repositoryName="app")
    assert oci.get(blob).error == (404, "NAME_UNKNOWN")
    assert oci.get(elsewhere).body == CONTENT


def test_a_blob_is_gone_with_its_repository(oci: OciClient, ecr: Any, blob: str) -> None:
    ecr.delete_repository(repositoryName="app", force=True)
    ecr.create_repository(repositoryName="app")
    assert oci.get(blob).error == (404, "BLOB_UNKNOWN")


def test_a_layer_pushed_over_v2_is_available_by_the_api(oci: OciClient, ecr: Any, blob: str) -> None:
    missing = sha256(b"never pushed")
    checked = ecr.batch_check_layer_availability(repositoryName="app", layerDigests=[DIGEST, missing])
    by_digest = {layer["layerDigest"]: layer for layer in checked["layers"]}
    assert by_digest[DIGEST]["layerAvailability"] == "AVAILABLE"
    assert by_digest[DIGEST]["layerSize"] == len(CONTENT)
    assert by_digest[missing]["layerAvailability"] == "UNAVAILABLE"


def test_a_layer_uploaded_by_the_api_is_a_blob_over_v2(oci: OciClient, ecr: Any, repository: str) -> None:
    assert upload_layer(ecr, repository, CONTENT) == DIGEST
    assert oci.head(BLOB).headers["Content-Length"] == str(len(CONTENT))
    assert oci.get(BLOB).body == CONTENT


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_other_methods_on_a_blob_are_refused_with_those_that_there_are(
    oci: OciClient, blob: str, method: str
) -> None:
    answer = oci.request(method, blob, b"x")
    assert answer.error == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD, DELETE"
    assert oci.get(blob).body == CONTENT


def test_a_blob_is_not_deleted_unless_the_setting_allows_it(oci: OciClient, blob: str) -> None:
    assert oci.delete(blob).error == (405, "UNSUPPORTED")
    assert oci.get(blob).body == CONTENT


def test_a_blob_is_deleted_from_its_repository_alone(deleting: OciClient) -> None:
    for name in ("app", "other"):
        deleting.push_blob(name, CONTENT)
    assert deleting.delete(BLOB).status == 202
    assert deleting.get(BLOB).error == (404, "BLOB_UNKNOWN")
    assert deleting.delete(BLOB).error == (404, "BLOB_UNKNOWN")
    assert deleting.get(f"/v2/other/blobs/{DIGEST}").body == CONTENT
    deleting.push_blob("app", CONTENT)
    assert deleting.get(BLOB).body == CONTENT


def test_a_blob_of_an_image_stays_until_the_image_is_gone(deleting: OciClient) -> None:
    image = deleting.push_image("app", "v1")
    layer = f"/v2/app/blobs/{sha256(image.blobs[1])}"
    assert deleting.delete(layer).error == (405, "UNSUPPORTED")
    assert deleting.get(layer).body == image.blobs[1]
    assert deleting.delete(f"/v2/app/manifests/{image.digest}").status == 202
    assert deleting.delete(layer).status == 202
    assert deleting.get(layer).error == (404, "BLOB_UNKNOWN")


def test_a_delete_names_a_digest_of_a_repository_that_exists(deleting: OciClient) -> None:
    assert deleting.delete("/v2/app/blobs/latest").error == (400, "DIGEST_INVALID")
    assert deleting.delete(f"/v2/none/blobs/{DIGEST}").error == (404, "NAME_UNKNOWN")
