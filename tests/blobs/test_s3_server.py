"""A server whose layers are in S3."""

from __future__ import annotations

import contextlib
import http.client
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from ecr_emulator.blobs.bucket import S3Location
from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.blobs.faulty import FaultyS3
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import connect, image_manifest, put_image, sha256
from tests.contract.oci_client import Answer, OciClient
from tests.s3 import BUCKET, s3_client

CONTENT = bytes(range(200)) * 5


@contextlib.contextmanager
def serving(blobs_url: str) -> Iterator[BackgroundServer]:
    """Run a server with the repository app, whose event loop nothing may block."""
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, blobs_url=blobs_url)) as server:
        connect(server.url).create_repository(repositoryName="app")
        with unblocked_loop():
            yield server


@pytest.fixture
def streaming(s3_url: str) -> Iterator[OciClient]:
    """A client of a server that hands blobs out itself."""
    with serving(f"{s3_url}&redirect=off") as server:
        yield OciClient(server.address)


def follow(answer: Answer, headers: dict[str, str] | None = None) -> Answer:
    """Go where an answer sends its client, without any credentials."""
    assert answer.status == 307
    return fetch(answer.headers["Location"], headers)


def fetch(url: str, headers: dict[str, str] | None = None) -> Answer:
    parts = urlsplit(url)
    return OciClient(parts.netloc).get(f"{parts.path}?{parts.query}", headers)


def test_pulls_are_sent_to_s3_as_ecr_does(s3_url: str) -> None:
    with serving(s3_url) as server:
        oci, api = OciClient(server.address), connect(server.url)
        blob = f"/v2/app/blobs/{oci.push_blob('app', CONTENT)}"
        assert follow(oci.get(blob)).body == CONTENT
        part = follow(oci.get(blob, {"Range": "bytes=10-19"}), {"Range": "bytes=10-19"})
        assert (part.status, part.body) == (206, CONTENT[10:20])
        head = oci.head(blob)
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
        manifest = image_manifest(CONTENT, CONTENT)
        assert oci.push_manifest("app", "v1", manifest).status == 201
        url = api.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(CONTENT))["downloadUrl"]
        assert url.startswith(f"{S3Location.parse(s3_url).endpoint}/")
        assert fetch(url).body == CONTENT


def test_a_blob_is_streamed_whole_and_in_ranges(streaming: OciClient) -> None:
    digest = streaming.push_blob("app", CONTENT)
    blob = f"/v2/app/blobs/{digest}"
    for method in ("GET", "HEAD"):
        answer = streaming.request(method, blob)
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(CONTENT)))
        assert (answer.headers["Docker-Content-Digest"], answer.headers["Accept-Ranges"]) == (digest, "bytes")
        assert answer.body == (CONTENT if method == "GET" else b"")
    for asked, first, last in (
        ("0-0", 0, 0),
        ("10-19", 10, 19),
        ("990-", 990, 999),
        ("-5", 995, 999),
        ("-5000", 0, 999),
        ("990-5000", 990, 999),
    ):
        answer = streaming.get(blob, {"Range": f"bytes={asked}"})
        assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes {first}-{last}/1000"), asked
        assert answer.body == CONTENT[first : last + 1]
    for asked in ("1000-", "5-4", "x"):
        answer = streaming.get(blob, {"Range": f"bytes={asked}"})
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */1000"), asked
    tag = streaming.head(blob).headers["ETag"]
    assert streaming.get(blob, {"Range": "bytes=0-1", "If-Range": tag}).status == 206
    assert streaming.get(blob, {"Range": "bytes=0-1", "If-Range": tag[:-1] + 'x"'}).body == CONTENT


def test_a_chunked_push_is_put_together(streaming: OciClient) -> None:
    location = streaming.begin_upload("app")
    for start in range(0, len(CONTENT), 400):
        chunk = CONTENT[start : start + 400]
        span = {"Content-Range": f"{start}-{start + len(chunk) - 1}"}
        assert streaming.patch(location, chunk, span).status == 202
    assert streaming.put(f"{location}?digest={sha256(CONTENT)}").status == 201
    assert streaming.get(f"/v2/app/blobs/{sha256(CONTENT)}").body == CONTENT


def test_garbage_is_collected_from_s3(s3_url: str) -> None:
    with serving(f"{s3_url}&redirect=off") as server:
        api, oci = connect(server.url), OciClient(server.address)
        put_image(api, "app", tag="v1")
        api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
        assert oci.patch(oci.begin_upload("app"), CONTENT).status == 202
        server.advance_clock(2 * 86400)
        assert oci.post("/_emulator/run/garbage").json()["done"] > 0
    assert list(objects(s3_url)) == []


def objects(s3_url: str) -> Iterator[str]:
    location = S3Location.parse(s3_url)
    assert location.endpoint is not None
    listing = s3_client(location.endpoint).list_objects_v2(Bucket=location.bucket, Prefix=location.prefix)
    for listed in listing.get("Contents", []):
        yield listed["Key"]


@pytest.fixture
def faulty(s3_url: str) -> Iterator[FaultyS3]:
    """The S3 service behind a proxy."""
    endpoint = S3Location.parse(s3_url).endpoint
    assert endpoint is not None
    with FaultyS3(endpoint).in_a_thread() as proxy:
        yield proxy


def test_a_push_is_done_although_s3_then_fails_to_remove_what_it_leaves(
    s3_url: str, faulty: FaultyS3, no_patience: None
) -> None:
    with serving(f"{faulty.behind(s3_url)}&redirect=off") as server:
        oci = OciClient(server.address)
        begun, cancelled = oci.begin_upload("app"), oci.begin_upload("app")
        for location in (begun, cancelled):
            assert oci.patch(location, CONTENT[:500]).status == 202
        faulty.fail("slow down", None, "POST", "?delete")
        assert oci.put(f"{begun}?digest={sha256(CONTENT)}", CONTENT[500:]).status == 201
        assert oci.delete(cancelled).status == 204
        assert faulty.failures > 0
        faulty.heal()
        assert oci.get(f"/v2/app/blobs/{sha256(CONTENT)}").body == CONTENT


def test_clients_are_told_to_come_again_while_s3_fails(
    s3_url: str, faulty: FaultyS3, no_patience: None, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(f"{faulty.behind(s3_url)}&redirect=off") as server:
        api, oci = connect(server.url), OciClient(server.address)
        digest = oci.push_blob("app", CONTENT)
        location = oci.begin_upload("app")
        upload_id = location.rpartition("/")[2]
        faulty.fail("slow down")
        for answer in (oci.get(f"/v2/app/blobs/{digest}"), oci.patch(location, b"more")):
            assert answer.error == (503, "UNAVAILABLE")
            assert answer.headers["Retry-After"] == "1"
        part = {"partFirstByte": 0, "partLastByte": 3, "layerPartBlob": b"more"}
        with pytest.raises(ClientError, match=r"ServerException.*A store does not answer"):
            api.upload_layer_part(repositoryName="app", uploadId=upload_id, **part)
        assert oci.get("/_emulator/ready").status == 503
        assert oci.get("/_emulator/health").status == 200
        faulty.heal()
        assert oci.get("/_emulator/ready").status == 200
        api.upload_layer_part(repositoryName="app", uploadId=upload_id, **part)
        assert oci.put(f"{location}?digest={sha256(b'more')}").status == 201
        assert oci.get(f"/v2/app/blobs/{digest}").body == CONTENT
    assert "Traceback" not in caplog.text


def test_a_client_sees_that_a_blob_breaks_off(
    s3_url: str, faulty: FaultyS3, no_patience: None, caplog: pytest.LogCaptureFixture
) -> None:
    content = CONTENT * 5000
    with serving(f"{faulty.behind(s3_url)}&redirect=off") as server:
        oci = OciClient(server.address)
        digest = oci.push_blob("app", content)
        faulty.fail("cut the answer", 1, "GET", "/blobs/")
        faulty.fail("error", None, "GET", "/blobs/")
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            oci.get(f"/v2/app/blobs/{digest}")
        faulty.heal()
        assert oci.get(f"/v2/app/blobs/{digest}").body == content
    assert "Traceback" not in caplog.text


def test_a_server_that_can_not_have_its_bucket_does_not_start(s3_url: str) -> None:
    settings = Settings(data_dir=MEMORY, port=0, blobs_url=s3_url.replace(BUCKET, "no-such-bucket"))
    with pytest.raises(StartError, match=r"can't use blobs_url: .*NoSuchBucket"), BackgroundServer(settings):
        pass


def test_a_client_of_s3_that_is_not_installed_is_told(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ecr_emulator.blobs.s3", None)
    settings = Settings(data_dir=MEMORY, port=0, blobs_url=s3_url)
    with pytest.raises(StartError, match=r"pip install 'ecr-emulator\[scaled\]'"), BackgroundServer(settings):
        pass
