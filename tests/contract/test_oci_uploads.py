"""Blob uploads over /v2/: every way to send a blob, and every way in which that goes wrong."""

import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator.metadata.store import MetadataUnavailableError
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import sha256
from tests.contract.oci_client import Answer, OciClient, api_client, chunk_range, no_such_repository, sha512

CONTENT = bytes(range(256)) * 40
DIGEST = sha256(CONTENT)
EMPTY = sha256(b"")
UPLOADS = "/v2/app/blobs/uploads/"


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


def assert_created(answer: Answer, repository: str, digest: str) -> None:
    assert answer.status == 201, answer
    assert answer.headers["Location"] == f"/v2/{repository}/blobs/{digest}"
    assert answer.headers["Docker-Content-Digest"] == digest


def assert_progress(answer: Answer, status: int, location: str, size: int) -> None:
    assert answer.status == status, answer
    assert answer.headers["Location"] == location
    assert answer.headers["Range"] == f"0-{max(size - 1, 0)}"
    assert answer.headers["Docker-Upload-UUID"] == location.rpartition("/")[2]


def assert_stored(oci: OciClient, repository: str, content: bytes, digest: str | None = None) -> None:
    answer = oci.get(f"/v2/{repository}/blobs/{digest or sha256(content)}")
    assert (answer.status, answer.body) == (200, content)


def test_a_post_with_a_digest_takes_the_whole_blob(oci: OciClient, repository: str) -> None:
    assert_created(oci.post(f"{UPLOADS}?digest={DIGEST}", CONTENT), repository, DIGEST)
    assert_stored(oci, repository, CONTENT)


def test_a_post_begins_an_upload_that_a_put_with_the_whole_blob_ends(oci: OciClient, repository: str) -> None:
    begun = oci.post(UPLOADS)
    location = begun.headers["Location"]
    assert location.startswith(UPLOADS)
    assert_progress(begun, 202, location, 0)
    assert_created(oci.put(f"{location}?digest={DIGEST}", CONTENT), repository, DIGEST)
    assert_stored(oci, repository, CONTENT)
    assert oci.get(location).error == (404, "BLOB_UPLOAD_UNKNOWN")


def test_the_slash_after_uploads_can_be_left_out(oci: OciClient, repository: str) -> None:
    location = oci.post(UPLOADS.rstrip("/")).headers["Location"]
    assert_progress(oci.get(location), 204, location, 0)


def test_chunks_are_acknowledged_one_by_one(oci: OciClient, repository: str) -> None:
    location = oci.begin_upload(repository)
    size = 0
    for chunk in (CONTENT[:1], CONTENT[1:5000], CONTENT[5000:]):
        answer = oci.patch(location, chunk, chunk_range(size, chunk))
        size += len(chunk)
        assert_progress(answer, 202, location, size)
        assert_progress(oci.get(location), 204, location, size)
    assert_created(oci.put(f"{location}?digest={DIGEST}"), repository, DIGEST)
    assert_stored(oci, repository, CONTENT)


@pytest.mark.parametrize("form", ["{0}-{1}", "bytes {0}-{1}/*", "bytes={0}-{1}", "bytes {0}-{1}/10240"])
def test_a_content_range_can_have_its_unit_and_its_total(oci: OciClient, repository: str, form: str) -> None:
    location = oci.begin_upload(repository)
    first = oci.patch(location, CONTENT[:100], {"Content-Range": form.format(0, 99)})
    assert_progress(first, 202, location, 100)
    second = oci.patch(location, CONTENT[100:], {"Content-Range": form.format(100, len(CONTENT) - 1)})
    assert_progress(second, 202, location, len(CONTENT))
    assert_created(oci.put(f"{location}?digest={DIGEST}"), repository, DIGEST)


def test_the_last_chunk_can_come_with_the_put(oci: OciClient, repository: str) -> None:
    location = oci.begin_upload(repository)
    oci.patch(location, CONTENT[:5000], chunk_range(0, CONTENT[:5000]))
    last = CONTENT[5000:]
    answer = oci.put(f"{location}?digest={DIGEST}", last, chunk_range(5000, last))
    assert_created(answer, repository, DIGEST)
    assert_stored(oci, repository, CONTENT)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_body_can_be_streamed_in_chunked_transfer_encoding(
    oci: OciClient, repository: str, method: str
) -> None:
    pieces = iter([CONTENT[:1], CONTENT[1:7000], CONTENT[7000:]])
    if method == "POST":
        answer = oci.post(f"{UPLOADS}?digest={DIGEST}", pieces)
    elif method == "PUT":
        answer = oci.put(f"{oci.begin_upload(repository)}?digest={DIGEST}", pieces)
    else:
        location = oci.begin_upload(repository)
        assert_progress(oci.patch(location, pieces), 202, location, len(CONTENT))
        answer = oci.put(f"{location}?digest={DIGEST}", iter([]))
    assert_created(answer, repository, DIGEST)
    assert_stored(oci, repository, CONTENT)


def test_a_large_blob_arrives_as_it_was_sent(oci: OciClient, repository: str) -> None:
    content = b"".join(number.to_bytes(4, "big") for number in range(2_000_000))
    location = oci.begin_upload(repository)
    middle = 3_333_333
    assert_progress(oci.patch(location, content[:middle]), 202, location, middle)
    assert_created(
        oci.put(f"{location}?digest={sha256(content)}", content[middle:]), repository, sha256(content)
    )
    assert_stored(oci, repository, content)


def test_an_upload_goes_on_after_a_restart_of_the_server(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), port=0)
    with BackgroundServer(settings) as server:
        api_client(server.url).create_repository(repositoryName="app")
        location = OciClient(server.address).begin_upload("app")
        OciClient(server.address).patch(location, CONTENT[:4000])
    with BackgroundServer(settings) as server:
        oci = OciClient(server.address)
        assert_progress(oci.get(location), 204, location, 4000)
        rest = CONTENT[4000:]
        assert_progress(oci.patch(location, rest, chunk_range(4000, rest)), 202, location, len(CONTENT))
        assert_created(oci.put(f"{location}?digest={DIGEST}"), "app", DIGEST)
        assert_stored(oci, "app", CONTENT)


def test_a_cancelled_upload_is_gone(oci: OciClient, repository: str) -> None:
    location = oci.begin_upload(repository)
    oci.patch(location, CONTENT)
    assert oci.delete(location).status == 204
    assert oci.get(location).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert oci.patch(location, b"x").error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert oci.put(f"{location}?digest={DIGEST}", CONTENT).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert oci.delete(location).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert oci.head(f"/v2/app/blobs/{DIGEST}").status == 404


# Content-Range of a chunk of 1000 bytes that is sent when 2000 have been acknowledged.
REFUSED_RANGES = {
    "a gap": "2001-3000",
    "a chunk sent again": "1000-1999",
    "from the start": "0-999",
    "an overlap": "1999-2998",
    "fewer bytes than were sent": "2000-2998",
    "more bytes than were sent": "2000-3000",
    "a far gap": "999999999999-1000000000998",
}


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("content_range", REFUSED_RANGES.values(), ids=REFUSED_RANGES)
def test_a_chunk_out_of_order_is_refused_with_the_progress_and_leaves_nothing(
    oci: OciClient, repository: str, method: str, content_range: str
) -> None:
    location = oci.begin_upload(repository)
    oci.patch(location, CONTENT[:2000])
    target = location if method == "PATCH" else f"{location}?digest={DIGEST}"
    refused = oci.request(method, target, CONTENT[2000:3000], {"Content-Range": content_range})
    assert refused.error == (416, "BLOB_UPLOAD_INVALID")
    assert_progress(refused, 416, location, 2000)
    assert_progress(oci.get(location), 204, location, 2000)
    rest = CONTENT[2000:]
    assert_created(oci.put(f"{location}?digest={DIGEST}", rest, chunk_range(2000, rest)), repository, DIGEST)
    assert_stored(oci, repository, CONTENT)


@pytest.mark.parametrize("content_range", ["0", "0-", "-99", "99-0", "a-b", "0-99,100-199", "0--99"])
def test_a_content_range_that_is_none_is_refused(oci: OciClient, repository: str, content_range: str) -> None:
    location = oci.begin_upload(repository)
    answer = oci.patch(location, CONTENT[:100], {"Content-Range": content_range})
    assert answer.error == (400, "BLOB_UPLOAD_INVALID")
    assert_progress(oci.get(location), 204, location, 0)


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH and PUT"])
def test_bytes_with_another_digest_become_no_blob(oci: OciClient, repository: str, way: str) -> None:
    wrong = sha256(b"something else")
    if way == "POST":
        answer = oci.post(f"{UPLOADS}?digest={wrong}", CONTENT)
    else:
        location = oci.begin_upload(repository)
        if way == "PATCH and PUT":
            oci.patch(location, CONTENT)
        answer = oci.put(f"{location}?digest={wrong}", None if way == "PATCH and PUT" else CONTENT)
    assert answer.error == (400, "DIGEST_INVALID")
    assert answer.message == "None of the provided layer digests match the calculated layer digest"
    for digest in (wrong, DIGEST):
        assert oci.head(f"/v2/app/blobs/{digest}").status == 404
    assert oci.push_blob(repository, CONTENT) == DIGEST
    assert_stored(oci, repository, CONTENT)


BAD_DIGESTS = {
    "no digest": "latest",
    "nothing": "",
    "no algorithm": "0" * 64,
    "too short": f"sha256:{'0' * 63}",
    "too long": f"sha256:{'0' * 65}",
    "upper case": f"sha256:{'A' * 64}",
    "not hexadecimal": f"sha256:{'g' * 64}",
    "sha256 of the length of sha512": f"sha256:{'0' * 128}",
    "sha512 of the length of sha256": f"sha512:{'0' * 64}",
    "md5": f"md5:{'0' * 32}",
    "sha384": f"sha384:{'0' * 96}",
    "a path": f"sha256:../../{'0' * 58}",
    "a line break": f"sha256:{'0' * 64}%0a",
}


@pytest.mark.parametrize("digest", BAD_DIGESTS.values(), ids=BAD_DIGESTS)
def test_a_digest_that_the_registry_does_not_know_is_refused(
    oci: OciClient, repository: str, digest: str
) -> None:
    assert oci.post(f"{UPLOADS}?digest={digest}", CONTENT).error == (400, "DIGEST_INVALID")
    location = oci.begin_upload(repository)
    oci.patch(location, CONTENT)
    assert oci.put(f"{location}?digest={digest}").error == (400, "DIGEST_INVALID")
    # Refused before anything was done: the upload goes on.
    assert_created(oci.put(f"{location}?digest={DIGEST}"), repository, DIGEST)


def test_a_put_without_a_digest_is_refused_and_takes_no_bytes(oci: OciClient, repository: str) -> None:
    location = oci.begin_upload(repository)
    assert oci.put(location, CONTENT).error == (400, "DIGEST_INVALID")
    assert_progress(oci.get(location), 204, location, 0)


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH and PUT"])
def test_a_blob_can_be_named_by_sha512(oci: OciClient, repository: str, way: str) -> None:
    digest = sha512(CONTENT)
    if way == "POST":
        answer = oci.post(f"{UPLOADS}?digest={digest}", CONTENT)
    else:
        location = oci.begin_upload(repository)
        if way == "PATCH and PUT":
            oci.patch(location, CONTENT)
        answer = oci.put(f"{location}?digest={digest}", None if way == "PATCH and PUT" else CONTENT)
    assert_created(answer, repository, digest)
    assert_stored(oci, repository, CONTENT, digest)
    # It is this repository's under the name that it was pushed with.
    assert oci.head(f"/v2/app/blobs/{DIGEST}").status == 404
    assert oci.post(f"{UPLOADS}?digest={sha512(b'another')}", CONTENT).error == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH and PUT", "streamed"])
def test_a_blob_can_be_empty(oci: OciClient, repository: str, way: str) -> None:
    if way == "POST":
        answer = oci.post(f"{UPLOADS}?digest={EMPTY}", b"")
    else:
        location = oci.begin_upload(repository)
        if way == "PATCH and PUT":
            assert_progress(oci.patch(location, b""), 202, location, 0)
        body = iter([]) if way == "streamed" else b""
        answer = oci.put(f"{location}?digest={EMPTY}", body)
    assert_created(answer, repository, EMPTY)
    assert_stored(oci, repository, b"")
    head = oci.head(f"/v2/app/blobs/{EMPTY}")
    assert (head.status, head.headers["Content-Length"]) == (200, "0")


def test_a_blob_that_is_there_can_be_pushed_again(oci: OciClient, repository: str) -> None:
    oci.push_blob(repository, CONTENT)
    assert_created(oci.post(f"{UPLOADS}?digest={DIGEST}", CONTENT), repository, DIGEST)
    location = oci.begin_upload(repository)
    oci.patch(location, CONTENT)
    assert_created(oci.put(f"{location}?digest={DIGEST}"), repository, DIGEST)
    assert oci.get(location).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert_stored(oci, repository, CONTENT)


def test_an_upload_belongs_to_the_repository_that_it_was_begun_in(
    oci: OciClient, ecr: Any, repository: str
) -> None:
    ecr.create_repository(repositoryName="other")
    location = oci.begin_upload(repository)
    elsewhere = location.replace("/app/", "/other/")
    for answer in (
        oci.get(elsewhere),
        oci.patch(elsewhere, CONTENT),
        oci.put(f"{elsewhere}?digest={DIGEST}", CONTENT),
        oci.delete(elsewhere),
    ):
        assert answer.error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert_progress(oci.get(location), 204, location, 0)


@pytest.mark.parametrize(
    "upload_id", ["5f0c3d0e-0d5c-4f0b-9a37-0d2a4c0b9f11", "1", "x" * 300, "%2e%2e", "%00", "a%20b"]
)
def test_an_upload_that_was_never_begun_is_unknown(oci: OciClient, repository: str, upload_id: str) -> None:
    location = f"{UPLOADS}{upload_id}"
    for answer in (
        oci.get(location),
        oci.patch(location, CONTENT),
        oci.put(f"{location}?digest={DIGEST}", CONTENT),
        oci.delete(location),
    ):
        assert answer.error == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_to_a_repository_that_does_not_exist_is_refused_in_ecrs_words(oci: OciClient) -> None:
    location = f"/v2/none/blobs/uploads/{uuid.uuid4()}"
    for answer in (
        oci.post("/v2/none/blobs/uploads/"),
        oci.post(f"/v2/none/blobs/uploads/?digest={DIGEST}", CONTENT),
        oci.get(location),
        oci.patch(location, CONTENT),
        oci.put(f"{location}?digest={DIGEST}", CONTENT),
        oci.delete(location),
    ):
        assert answer.error == (404, "NAME_UNKNOWN")
        assert answer.message == no_such_repository("none")


@pytest.mark.parametrize("query", ["mount={digest}&from=source", "mount={digest}", "from=source"])
def test_a_mount_falls_back_to_an_upload(oci: OciClient, ecr: Any, repository: str, query: str) -> None:
    ecr.create_repository(repositoryName="source")
    oci.push_blob("source", CONTENT)
    answer = oci.post(f"{UPLOADS}?{query.format(digest=DIGEST)}")
    assert_progress(answer, 202, answer.headers["Location"], 0)
    assert oci.head(f"/v2/app/blobs/{DIGEST}").status == 404
    assert_created(oci.put(f"{answer.headers['Location']}?digest={DIGEST}", CONTENT), repository, DIGEST)


def test_other_methods_on_an_upload_are_refused_with_those_that_there_are(
    oci: OciClient, repository: str
) -> None:
    refused = oci.get(UPLOADS)
    assert refused.error == (405, "UNSUPPORTED")
    assert refused.headers["Allow"] == "POST"
    refused = oci.post(oci.begin_upload(repository))
    assert refused.error == (405, "UNSUPPORTED")
    assert refused.headers["Allow"] == "GET, PATCH, PUT, DELETE"


def test_an_upload_begun_by_the_api_goes_on_over_v2(oci: OciClient, ecr: Any, repository: str) -> None:
    upload_id = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
    ecr.upload_layer_part(
        repositoryName=repository,
        uploadId=upload_id,
        partFirstByte=0,
        partLastByte=2999,
        layerPartBlob=CONTENT[:3000],
    )
    location = f"{UPLOADS}{upload_id}"
    assert_progress(oci.get(location), 204, location, 3000)
    assert oci.patch(location, CONTENT[:10], chunk_range(0, CONTENT[:10])).status == 416
    assert_progress(oci.patch(location, CONTENT[3000:]), 202, location, len(CONTENT))
    assert_created(oci.put(f"{location}?digest={DIGEST}"), repository, DIGEST)
    assert_stored(oci, repository, CONTENT)


def test_an_upload_begun_over_v2_goes_on_by_the_api(oci: OciClient, ecr: Any, repository: str) -> None:
    # A part that is not the last has to have 5 MiB, on whichever plane it came.
    first = CONTENT * (5 * 1024 * 1024 // len(CONTENT) + 1)
    location = oci.begin_upload(repository)
    upload_id = location.rpartition("/")[2]
    assert_progress(oci.patch(location, first), 202, location, len(first))
    part = {"repositoryName": repository, "uploadId": upload_id, "layerPartBlob": CONTENT}
    with pytest.raises(ecr.exceptions.InvalidLayerPartException) as refused:
        ecr.upload_layer_part(partFirstByte=0, partLastByte=len(CONTENT) - 1, **part)
    assert refused.value.response["lastValidByteReceived"] == len(first) - 1
    last_byte = len(first) + len(CONTENT) - 1
    taken = ecr.upload_layer_part(partFirstByte=len(first), partLastByte=last_byte, **part)
    assert taken["lastByteReceived"] == last_byte
    assert_progress(oci.get(location), 204, location, last_byte + 1)
    digest = sha256(first + CONTENT)
    ended = ecr.complete_layer_upload(repositoryName=repository, uploadId=upload_id, layerDigests=[digest])
    assert ended["layerDigest"] == digest
    assert oci.get(location).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert_stored(oci, repository, first + CONTENT)


def test_an_upload_that_goes_on_after_a_refused_completion_leaves_blobs_alone(
    oci: OciClient, ecr: Any, repository: str
) -> None:
    ecr.create_repository(repositoryName="other")
    location = oci.begin_upload(repository)
    upload_id = location.rpartition("/")[2]
    oci.patch(location, CONTENT)
    with pytest.raises(ecr.exceptions.InvalidLayerException):
        ecr.complete_layer_upload(
            repositoryName=repository, uploadId=upload_id, layerDigests=[sha256(b"another")]
        )
    oci.push_blob("other", CONTENT)
    assert_progress(oci.patch(location, b"more"), 202, location, len(CONTENT) + 4)
    assert_stored(oci, "other", CONTENT)
    longer = CONTENT + b"more"
    assert_created(oci.put(f"{location}?digest={sha256(longer)}"), repository, sha256(longer))
    assert_stored(oci, repository, longer)
    assert_stored(oci, "other", CONTENT)


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_upload_goes_on_from_where_it_is_after_a_commit_whose_outcome_is_not_known(
    server: BackgroundServer,
    oci: OciClient,
    repository: str,
    is_committed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    location = oci.begin_upload(repository)
    assert oci.patch(location, CONTENT[:100]).status == 202

    store = type(server._running.emulator.metadata)
    write = store.write_lazily

    async def write_and_lose(self: Any, function: Any, *arguments: Any) -> Any:
        if is_committed:
            await write(self, function, *arguments)
        raise MetadataUnavailableError("the database was lost while it committed")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_lazily", write_and_lose)
        assert oci.patch(location, CONTENT[100:200]).error == (503, "UNAVAILABLE")
    reached = 200 if is_committed else 100
    assert_progress(oci.get(location), 204, location, reached)
    assert oci.patch(location, CONTENT[reached:300], chunk_range(reached, CONTENT[reached:300])).status == 202
    assert_created(oci.put(f"{location}?digest={DIGEST}", CONTENT[300:]), repository, DIGEST)
    assert_stored(oci, repository, CONTENT)


def test_a_client_that_waits_is_told_to_send_its_body(oci: OciClient, repository: str) -> None:
    location = oci.begin_upload(repository)
    content = b"held back until asked for"
    host, _, port = oci.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            f"PUT {location}?digest={sha256(content)} HTTP/1.1\r\nHost: {oci.address}\r\n"
            f"Content-Length: {len(content)}\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(content)
        assert connection.recv(1024).startswith(b"HTTP/1.1 201 ")


def test_what_a_client_expects_besides_is_refused(oci: OciClient, repository: str) -> None:
    answer = oci.post(f"/v2/{repository}/blobs/uploads/", headers={"Expect": "a miracle"})
    assert answer.status == 417
