"""What a hostile client can try: other files, other headers, other people's data, and too much of everything.

What is forged is also tested beside what it stands for: docs/security.md has the list.
"""

import base64
import contextlib
import gzip
import hmac
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecr_emulator.control.endpoint import MAX_SEPARATORS
from ecr_emulator.core.manifest import MAX_SIZE as MAX_MANIFEST
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import (
    OCI_INDEX,
    OCI_MANIFEST,
    connect,
    descriptor,
    image_manifest,
    put_image,
    refused,
    sha256,
)
from tests.contract.oci_client import OciClient, api_client

SECRET = b"nobody may read this"
TARGET = "AmazonEC2ContainerRegistry_V20150921"
MIB = 1 << 20


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


# ------------------------------------------------------------------------------------- path traversal


@pytest.fixture(scope="module")
def walled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BackgroundServer, Path]]:
    """A server that keeps its state in a folder beside a secret, and that folder's parent."""
    parent = tmp_path_factory.mktemp("parent")
    (parent / "secret").write_bytes(SECRET)
    with BackgroundServer(
        Settings(data_dir=str(parent / "data"), port=0, oci_deletes="on", oci_catalog="on")
    ) as server:
        api_client(server.url).create_repository(repositoryName="app")
        OciClient(server.address).push_image("app", "v1")
        yield server, parent


WAYS_OUT = [
    b"..",
    b"../secret",
    b"../../secret",
    b"../../../../../../../../etc/passwd",
    b"%2e%2e/secret",
    b"%2e%2e%2fsecret",
    b"..%2fsecret",
    b"..%2f..%2f..%2fsecret",
    b"%252e%252e%252fsecret",
    b"..%5csecret",
    b"..%c0%afsecret",
    b"%2fetc%2fpasswd",
    b"/etc/passwd",
    b"%00",
    b"../secret%00",
    b"metadata.sqlite",
    b"../metadata.sqlite",
    b"sha256:../../../secret",
    b"sha256:" + b"..%2f" * 12 + b"test",
    b"\x00",
    b"\xff\xfe",
    b"x" * 5000,
    b"x" * 100_000,
    b"../" * 2000,
]


@pytest.mark.parametrize("way_out", WAYS_OUT, ids=lambda way: repr(way)[:40])
def test_no_path_leads_out_of_the_data_folder(
    walled_server: tuple[BackgroundServer, Path], way_out: bytes
) -> None:
    server, parent = walled_server

    # SQLite's own files come and go.
    def files() -> list[Path]:
        return sorted(path for path in parent.rglob("*") if "sqlite" not in path.name)

    before = files()
    # The management API and the downloads are looked at with the same eyes.
    for prefix in (
        b"/v2/",
        b"/v2/app/",
        b"/v2/app/blobs/",
        b"/v2/app/blobs/uploads/",
        b"/v2/app/manifests/",
        b"/v2/app/referrers/",
        b"/_layers/",
        b"/_emulator/",
        b"/",
    ):
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            status, body = send_path(server, method, prefix + way_out, b"overwritten")
            assert 400 <= status < 500, (method, prefix, status)
            assert SECRET not in body
            assert b"root:" not in body
            assert not body.startswith(b"SQLite")
    for prefix, suffix in (
        (b"/v2/", b"/tags/list"),
        (b"/v2/app/", b"/manifests/v1"),
        (b"/v2/", b"/app/tags/list"),
    ):
        assert 400 <= send_path(server, "GET", prefix + way_out + suffix)[0] < 500
    for digest in (b"sha256:" + way_out, way_out):
        status, _ = send_path(server, "POST", b"/v2/app/blobs/uploads/?digest=" + digest, b"overwritten")
        assert 400 <= status < 500
    assert files() == before
    assert (parent / "secret").read_bytes() == SECRET
    assert OciClient(server.address).get("/v2/app/tags/list").json()["tags"] == ["v1"]


def send_path(server: BackgroundServer, method: str, path: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Send a path as it is, which http.client does not always do."""
    head = b"%s %s HTTP/1.1\r\nHost: registry\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head % (method.encode(), path, len(body)) + body)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.read()


# ------------------------------------------------------------------------------------ header injection


LINE_BREAKS = [b"%0d%0a", b"%0a", b"%0d", b"\r\n", b"\n", b"%E5%98%8D%E5%98%8A", b"%25%30d%250a"]
INJECTED = b"X-Injected: yes"


@pytest.mark.parametrize("line_break", LINE_BREAKS, ids=repr)
def test_what_a_request_says_ends_no_header_of_the_answer(
    server: BackgroundServer, oci: OciClient, repository: str, line_break: bytes
) -> None:
    image = oci.push_image(repository, "v1")
    for number in range(3):
        oci.push_manifest(repository, f"t{number}", image.manifest)
    digest, blob = image.digest.encode(), sha256(image.blobs[0]).encode()
    upload = oci.begin_upload(repository).encode()
    evil = line_break + INJECTED + line_break + line_break + b"body"
    for method, path in (
        (b"GET", b"/v2/app" + evil + b"/tags/list"),
        (b"POST", b"/v2/app" + evil + b"/blobs/uploads/"),
        (b"GET", b"/v2/app/tags/list?n=1" + evil),
        (b"GET", b"/v2/app/tags/list?n=1&last=" + evil),
        (b"GET", b"/v2/app/tags/list?n=1&last=a&x=" + evil),
        (b"GET", b"/v2/app/referrers/" + digest + b"?artifactType=" + evil),
        (b"GET", b"/v2/app/referrers/" + digest + b"?artifactType=a&" + evil + b"=b&last=0"),
        (b"GET", b"/v2/app/referrers/" + digest + evil),
        (b"GET", b"/v2/app/manifests/v1" + evil),
        (b"PUT", b"/v2/app/manifests/v1" + evil),
        (b"PUT", b"/v2/app/manifests/" + digest + b"?tag=v2" + evil),
        (b"GET", b"/v2/app/blobs/" + blob + evil),
        (b"POST", b"/v2/app/blobs/uploads/?digest=" + blob + evil),
        (b"POST", b"/v2/app/blobs/uploads/?from=app&mount=" + blob + evil),
        (b"POST", b"/v2/app/blobs/uploads/?mount=" + blob + b"&from=app" + evil),
        (b"GET", upload + evil),
        (b"PUT", upload + b"?digest=" + blob + evil),
        (b"GET", b"/_layers/" + evil),
        (b"GET", b"/_emulator/" + evil),
        (b"GET", b"/" + evil),
    ):
        body = image.manifest if method == b"PUT" else b""
        head, _ = raw(server, request(method, path, body, content_type=OCI_MANIFEST.encode()))
        assert not is_injected(head), (method, path)


@pytest.mark.parametrize("name", [b"Host", b"Content-Range", b"Content-Type", b"Range", b"X-Amz-Target"])
def test_no_header_of_a_request_becomes_another_of_the_answer(
    server: BackgroundServer, oci: OciClient, repository: str, name: bytes
) -> None:
    for broken in (b"\r" + INJECTED, b"\n" + INJECTED, b"\r\n " + INJECTED, b"\x00" + INJECTED):
        hosts = b"" if name == b"Host" else b"Host: x\r\n"
        head, _ = raw(server, b"POST / HTTP/1.1\r\n%s%s: a%s\r\n\r\n" % (hosts, name, broken))
        assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 404 ")), broken
        assert not is_injected(head)


@pytest.mark.parametrize(
    "member",
    [
        {"mediaType": f"{OCI_MANIFEST}\r\n{INJECTED.decode()}"},
        {"artifactType": f"a/b\r\n{INJECTED.decode()}"},
        {"subject": descriptor(b"x", f"a/b\r\n{INJECTED.decode()}")},
        {"subject": {**descriptor(b"x", "a/b"), "digest": f"{sha256(b'x')}\r\n{INJECTED.decode()}"}},
    ],
    ids=["mediaType", "artifactType", "the subject's media type", "the subject's digest"],
)
def test_what_a_manifest_says_is_no_header(
    server: BackgroundServer, oci: OciClient, repository: str, member: dict[str, Any]
) -> None:
    for blob in (b"config", b"layer"):
        oci.push_blob(repository, blob)
    manifest = image_manifest(b"config", b"layer", **member)
    for content_type in (OCI_MANIFEST.encode(), b""):
        put = request(b"PUT", b"/v2/app/manifests/v1", manifest, content_type=content_type)
        assert not is_injected(raw(server, put)[0])
    for path in ("/v2/app/manifests/v1", f"/v2/app/referrers/{sha256(b'x')}"):
        assert not is_injected(raw(server, request(b"GET", path.encode()))[0])


def request(method: bytes, path: bytes, body: bytes = b"", content_type: bytes = b"") -> bytes:
    """Write a request as it goes over the wire."""
    typed = b"Content-Type: %s\r\n" % content_type if content_type else b""
    head = b"%s %s HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
    return head % (method, path, typed, len(body)) + body


def raw(server: BackgroundServer, sent: bytes) -> tuple[bytes, bytes]:
    """Send bytes, and return the head of the answer and all that follows it until the server hangs up."""
    received = bytearray()
    # It may do so before it has read all.
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(sent)
        while data := connection.recv(1 << 16):
            received += data
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    return head, rest


def is_injected(head: bytes) -> bool:
    return any(line.lower().startswith(b"x-injected") for line in head.replace(b"\r", b"\n").split(b"\n"))


# ---------------------------------------------------------------------------------- request smuggling


INNER = b"POST /v2/app/blobs/uploads/?inner HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
# What two servers one behind the other could read as requests of different lengths (RFC 9112, 6.1 and 11.2).
AMBIGUOUS = {
    "a length and chunks": (b"Content-Length: 5\r\nTransfer-Encoding: chunked", LAST_CHUNK),
    "chunks and a length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5", LAST_CHUNK),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 5", b""),
    "a list of lengths": (b"Content-Length: 0, 5", b""),
    "a length with a sign": (b"Content-Length: +0", b""),
    "a negative length": (b"Content-Length: -1", b""),
    "a hexadecimal length": (b"Content-Length: 0x0", b""),
    "another encoding": (b"Transfer-Encoding: xchunked", LAST_CHUNK),
    "chunks that are not the last encoding": (b"Transfer-Encoding: chunked, identity", LAST_CHUNK),
    "two encodings": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", LAST_CHUNK),
    "a space before the colon": (b"Transfer-Encoding : chunked", LAST_CHUNK),
    "a folded header": (b"X: a\r\n Transfer-Encoding: chunked", b""),
    "a folded value": (b"Transfer-Encoding:\r\n chunked", LAST_CHUNK),
    "a vertical tab": (b"Transfer-Encoding: \x0bchunked", LAST_CHUNK),
    "a line that ends with CR": (b"X: a\rTransfer-Encoding: chunked", b""),
    "a line that ends with LF": (b"X: a\nContent-Length: 0", b""),
    "NUL": (b"X: a\x00b\r\nContent-Length: 0", b""),
    "a size of chunk with 0x": (b"Transfer-Encoding: chunked", b"0x0\r\n\r\n"),
    "a size of chunk past 64 bits": (b"Transfer-Encoding: chunked", b"1" + b"0" * 16 + b"\r\n\r\n"),
    "a chunk that is longer than its size": (b"Transfer-Encoding: chunked", b"1\r\nab\r\n" + LAST_CHUNK),
    "a chunk size that ends with LF": (b"Transfer-Encoding: chunked", b"0\n\n"),
    "two hosts": (b"Host: y\r\nContent-Length: 0", b""),
}


@pytest.mark.parametrize(("headers", "body"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_request_of_ambiguous_length_ends_its_connection(
    server: BackgroundServer, repository: str, headers: bytes, body: bytes
) -> None:
    head = b"POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n"
    answer, rest = raw(server, head + body + INNER)
    # At most the outer one is answered otherwise: where the server finds out only while it reads the body.
    answers = [line for line in (answer + rest).split(b"\r\n") if line.startswith(b"HTTP/1.")]
    assert b" 400 " in answers[-1], answers
    assert sum(b" 202 " in line for line in answers) <= (headers == b"Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "headers", [b"Content-Length: %d", b"Transfer-Encoding: chunked"], ids=["length", "chunks"]
)
@pytest.mark.parametrize("path", [b"/v2/", b"/v2/none/tags/list", b"/v2/app/manifests/v1", b"/nothing"])
def test_a_body_that_nobody_reads_is_no_request(
    server: BackgroundServer, repository: str, headers: bytes, path: bytes
) -> None:
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER)
    body, headers = (INNER, headers % len(INNER)) if b"%" in headers else (chunk, headers)
    head = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n\r\n"
    answer, rest = raw(server, head + body)
    assert (answer + rest).count(b"HTTP/1.") == 1
    assert b" 202 " not in answer


# ------------------------------------------------------------------------------------ too much of all


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X" * 100_000 + b": a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(1000)) + b"\r\n",
    ],
    ids=["path", "value", "name", "number"],
)
def test_the_head_of_a_request_is_bounded(server: BackgroundServer, sent: bytes) -> None:
    assert raw(server, sent)[0].startswith(b"HTTP/1.0 400 ")


def test_a_request_may_have_as_many_values_as_it_needs(server: BackgroundServer) -> None:
    target = {"X-Amz-Target": f"{TARGET}.DescribeRepositories"}
    for separators, status in ((MAX_SEPARATORS, 200), (MAX_SEPARATORS + 1, 400)):
        # One brace, one bracket, and commas.
        body = b'{"unknown": [' + b"1," * (separators - 2) + b"1]}"
        assert OciClient(server.address).post("/", body, target).status == status


def test_the_largest_manifest_is_taken_by_the_api(ecr: Any, oci: OciClient, repository: str) -> None:
    child = oci.push_image(repository, "child")
    entry = json.dumps(descriptor(child.manifest, OCI_MANIFEST))
    start = f'{{"schemaVersion": 2, "mediaType": "{OCI_INDEX}", "manifests": ['
    count = (MAX_MANIFEST - len(start) - 2) // (len(entry) + 1)
    manifest = (start + ",".join([entry] * count) + "]}").ljust(MAX_MANIFEST)
    put = ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag="index")["image"]
    assert put["imageId"]["imageDigest"] == sha256(manifest.encode())


# -------------------------------------------------------------------------------------- decompression


def test_no_body_is_decompressed(server: BackgroundServer, oci: OciClient, repository: str) -> None:
    """Layer bombs that reach a scan are in test_scanning.py and tests/unit/test_inventory.py."""
    bomb = gzip.compress(bytes(64 * MIB))
    for encoding in ("gzip", "deflate", "br", "zstd"):
        headers = {"Content-Encoding": encoding}
        location = oci.begin_upload(repository)
        assert oci.patch(location, bomb, headers).headers["Range"] == f"0-{len(bomb) - 1}"
        assert oci.put(f"{location}?digest={sha256(bomb)}", b"").status == 201
        assert oci.get(f"/v2/app/blobs/{sha256(bomb)}").body == bomb
        manifest = gzip.compress(image_manifest(b"config", b"layer"))
        put = oci.put("/v2/app/manifests/v1", manifest, {**headers, "Content-Type": OCI_MANIFEST})
        assert 400 <= put.status < 500
        target = {"X-Amz-Target": f"{TARGET}.DescribeRepositories"}
        answer = oci.post("/", gzip.compress(b"{}"), {**headers, **target})
        assert (answer.status, answer.json()["__type"]) == (400, "SerializationException")


ALICE, BOB = "111122223333", "444455556666"
CREDENTIALS = f"""
[ALICE]
arn = "arn:aws:iam::{ALICE}:root"
secret = "testing"

[BOB]
arn = "arn:aws:iam::{BOB}:root"
secret = "testing"
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundServer]:
    file = tmp_path_factory.mktemp("credentials") / "credentials.toml"
    file.write_text(CREDENTIALS)
    with BackgroundServer(
        Settings(data_dir=MEMORY, port=0, auth="strict", credentials=str(file))
    ) as background:
        yield background


@pytest.fixture
def people(strict: BackgroundServer) -> tuple[Any, OciClient, Any, OciClient]:
    """Alice's and Bob's clients of both planes; each has the repository app, hers has an image."""
    strict.reset()
    clients = []
    for name in ("ALICE", "BOB"):
        api = connect(strict.url, name)
        api.create_repository(repositoryName="app")
        api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
        (granted,) = api.get_authorization_token()["authorizationData"]
        clients += [api, v2(strict, granted["authorizationToken"])]
    return clients[0], clients[1], clients[2], clients[3]


# -------------------------------------------------------------------------------- what is forged


def test_what_was_given_for_one_purpose_is_good_for_no_other(
    strict: BackgroundServer, people: tuple[Any, OciClient, Any, OciClient]
) -> None:
    api, oci, _, _ = people
    api.create_repository(repositoryName="second")
    put_image(api, "app", "v1")
    (granted,) = api.get_authorization_token()["authorizationData"]
    url = api.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(b"layer seed"))
    given = {
        "page": api.describe_repositories(maxResults=1)["nextToken"],
        "download": url["downloadUrl"].rpartition("/_layers/")[2],
        "password": base64.b64decode(granted["authorizationToken"]).decode().removeprefix("AWS:"),
    }
    for purpose, text in given.items():
        assert oci.get(f"/_layers/{text}").status == (200 if purpose == "download" else 403)
        token = base64.b64encode(f"AWS:{text}".encode()).decode()
        assert v2(strict, token).get("/v2/").status == (200 if purpose == "password" else 401)
        if purpose == "page":
            assert len(api.describe_repositories(nextToken=text)["repositories"]) == 1
        else:
            code, _ = refused(api.describe_repositories, nextToken=text)
            assert code == "InvalidParameterException"


@pytest.mark.parametrize("given", ["page", "download", "token"])
def test_no_bit_of_what_was_given_can_be_changed(
    server: BackgroundServer, ecr: Any, oci: OciClient, given: str
) -> None:
    """All bits, by property: tests/unit/test_seals.py and tests/unit/test_tokens.py."""
    for name in ("aa", "bb"):
        ecr.create_repository(repositoryName=name)
    put_image(ecr, "aa", "v1")
    check: Callable[[str], bool]
    if given == "page":
        text = ecr.describe_repositories(maxResults=1)["nextToken"]

        def check(forged: str) -> bool:
            try:
                return bool(ecr.describe_repositories(nextToken=forged))
            except ClientError:
                return False

    elif given == "download":
        layer = sha256(b"layer seed")
        url = ecr.get_download_url_for_layer(repositoryName="aa", layerDigest=layer)["downloadUrl"]
        text = url.rpartition("/_layers/")[2]

        def check(forged: str) -> bool:
            return oci.get(f"/_layers/{forged}").status == 200

    else:
        (granted,) = ecr.get_authorization_token()["authorizationData"]
        text = base64.b64decode(granted["authorizationToken"]).decode()
        with_upload = oci.begin_upload("aa")
        ecr_other = connect(server.url, "210987654321")
        ecr_other.create_repository(repositoryName="cc")

        def check(forged: str) -> bool:
            # With repositories in two registries, nobody gets anywhere without a token.
            token = base64.b64encode(forged.encode()).decode()
            return v2(server, token).get(with_upload).status == 204

    assert check(text)
    for position in range(4 if given == "token" else 0, len(text) - 1, 7):
        changed = chr(ord(text[position]) ^ 1)
        if changed.isalnum():
            assert not check(text[:position] + changed + text[position + 1 :]), position


def v2(server: BackgroundServer, token: str, **headers: str) -> OciClient:
    return OciClient(server.address, Authorization=f"Basic {token}", **headers)


# ---------------------------------------------------------------------------------- other people's data


def shown(answer: Any, *hidden: str) -> Any:
    """What an answer tells: without what names the thing that was asked for."""
    headers = {key: value for key, value in answer.headers.items() if key not in ("Date", "Content-Length")}
    text = json.dumps([answer.status, headers, answer.body.decode()])
    for each in hidden:
        text = text.replace(each, "…")
    return text


def test_bytes_of_one_account_are_nowhere_in_another(people: tuple[Any, OciClient, Any, OciClient]) -> None:
    _, alice, bob_api, bob = people
    image = alice.push_image("app", "v1")
    artifact = image_manifest(*image.blobs, subject=descriptor(image.manifest, OCI_MANIFEST))
    assert alice.push_manifest("app", sha256(artifact), artifact).status == 201
    upload = alice.begin_upload("app").rpartition("/")[2]
    alice.patch(f"/v2/app/blobs/uploads/{upload}", b"half")
    blob = sha256(image.blobs[1])
    # What Alice has is to Bob as what nobody has.
    absent, nobodys = sha256(b"absent"), "00000000-0000-4000-8000-000000000000"
    for method, path in (
        ("GET", "/v2/app/blobs/{digest}"),
        ("HEAD", "/v2/app/blobs/{digest}"),
        ("GET", "/v2/app/manifests/{image}"),
        ("HEAD", "/v2/app/manifests/{image}"),
        ("GET", "/v2/app/referrers/{image}"),
        ("GET", "/v2/app/blobs/uploads/{upload}"),
        ("PATCH", "/v2/app/blobs/uploads/{upload}"),
        ("PUT", "/v2/app/blobs/uploads/{upload}?digest={digest}"),
        ("DELETE", "/v2/app/blobs/uploads/{upload}"),
    ):
        hers = bob.request(method, path.format(digest=blob, image=image.digest, upload=upload), b"")
        none = bob.request(method, path.format(digest=absent, image=absent, upload=nobodys), b"")
        assert shown(hers, blob, image.digest, upload) == shown(none, absent, nobodys), (method, path)
    for source in ("app", f"{ALICE}/app", f"{ALICE}.dkr.ecr.us-east-1.amazonaws.com/app"):
        mounted = bob.post(f"/v2/app/blobs/uploads/?mount={blob}&from={source}")
        assert mounted.status == 202
    layers = bob_api.batch_check_layer_availability(repositoryName="app", layerDigests=[blob])["layers"]
    assert layers[0]["layerAvailability"] == "UNAVAILABLE"
    assert refused(bob_api.get_download_url_for_layer, repositoryName="app", layerDigest=blob)[0] == (
        "LayersNotFoundException"
    )
    found = bob_api.batch_get_image(repositoryName="app", imageIds=[{"imageDigest": image.digest}])
    assert (found["images"], found["failures"][0]["failureCode"]) == ([], "ImageNotFound")
    part = {"partFirstByte": 4, "partLastByte": 7, "layerPartBlob": b"more"}
    for operation, members in (
        (bob_api.upload_layer_part, part),
        (bob_api.complete_layer_upload, {"layerDigests": [sha256(b"half")]}),
    ):
        code, _ = refused(operation, repositoryName="app", uploadId=upload, **members)
        assert code == "UploadNotFoundException"
    # A manifest brings no layers along.
    assert bob.push_manifest("app", "v1", image.manifest).error == (404, "MANIFEST_BLOB_UNKNOWN")
    assert refused(bob_api.put_image, repositoryName="app", imageManifest=image.manifest.decode())[0] == (
        "LayersNotFoundException"
    )
    assert alice.get(f"/v2/app/blobs/uploads/{upload}").headers["Range"] == "0-3"


def test_a_push_does_not_tell_what_others_have(people: tuple[Any, OciClient, Any, OciClient]) -> None:
    _, alice, bob_api, bob = people
    image = alice.push_image("app", "v1")
    content = image.blobs[1]
    location = bob.begin_upload("app")
    # Layers are stored once, but a push needs their bytes all the same.
    assert bob.put(f"{location}?digest={sha256(content)}").error == (400, "DIGEST_INVALID")
    upload = bob_api.initiate_layer_upload(repositoryName="app")["uploadId"]
    bob_api.upload_layer_part(
        repositoryName="app",
        uploadId=upload,
        partFirstByte=0,
        partLastByte=len(content) - 1,
        layerPartBlob=content,
    )
    completed = bob_api.complete_layer_upload(
        repositoryName="app", uploadId=upload, layerDigests=[sha256(content)]
    )
    assert completed["layerDigest"] == sha256(content)


def test_another_accounts_registry_tells_strangers_nothing(
    strict: BackgroundServer, people: tuple[Any, OciClient, Any, OciClient]
) -> None:
    _, alice, bob_api, bob = people
    image = alice.push_image("app", "v1")
    blob = sha256(image.blobs[1])
    upload = alice.begin_upload("app").rpartition("/")[2]
    host = {"Host": f"{ALICE}.dkr.ecr.us-east-1.amazonaws.com"}
    for method, path in (
        ("GET", "/v2/{name}/blobs/{blob}"),
        ("HEAD", "/v2/{name}/blobs/{blob}"),
        ("GET", "/v2/{name}/manifests/v1"),
        ("GET", "/v2/{name}/tags/list"),
        ("GET", "/v2/{name}/referrers/{image}"),
        ("POST", "/v2/{name}/blobs/uploads/"),
        ("POST", "/v2/{name}/blobs/uploads/?mount={blob}&from=app"),
        ("GET", "/v2/{name}/blobs/uploads/{upload}"),
        ("PATCH", "/v2/{name}/blobs/uploads/{upload}"),
        ("PUT", "/v2/{name}/manifests/v2"),
    ):
        names = {"blob": blob, "image": image.digest, "upload": upload}
        there = bob.request(method, path.format(name="app", **names), None, host)
        assert there.status == 403, (method, path)
        absent = bob.request(method, path.format(name="none", **names), None, host)
        assert shown(there, "repository/app") == shown(absent, "repository/none")
    for operation, members in (
        (bob_api.batch_check_layer_availability, {"layerDigests": [blob]}),
        (bob_api.get_download_url_for_layer, {"layerDigest": blob}),
        (bob_api.batch_get_image, {"imageIds": [{"imageTag": "v1"}]}),
        (bob_api.initiate_layer_upload, {}),
    ):
        messages = set()
        for name in ("app", "none"):
            code, message = refused(operation, registryId=ALICE, repositoryName=name, **members)
            assert code == "AccessDeniedException"
            messages.add(message.replace(f"repository/{name}", "repository/…"))
        assert len(messages) == 1


# -------------------------------------------------------------------------------------- constant time


def test_what_nobody_may_guess_is_compared_in_constant_time(
    strict: BackgroundServer,
    people: tuple[Any, OciClient, Any, OciClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice_api, alice, _, _ = people
    image = alice.push_image("app", "v1")
    compared: list[bool] = []
    compare = hmac.compare_digest

    def spy(one: Any, other: Any) -> bool:
        compared.append(compare(one, other))
        return compared[-1]

    monkeypatch.setattr(hmac, "compare_digest", spy)

    def outcomes(what: Callable[[], Any]) -> list[bool]:
        compared.clear()
        what()
        return list(compared)

    blob = sha256(image.blobs[1])
    stranger = connect(strict.url, "ALICE")
    stranger.meta.events.register(
        "before-send.ecr.*", lambda request, **_: spoil(request.headers, "Authorization")
    )
    # The session token, which there is none of, and the signature.
    assert outcomes(alice_api.describe_repositories) == [True, True]
    assert outcomes(lambda: refused(stranger.describe_repositories)) == [True, False]
    assert outcomes(lambda: alice.get("/v2/")) == [True]
    url = alice_api.get_download_url_for_layer(repositoryName="app", layerDigest=blob)["downloadUrl"]
    path = "/_layers/" + url.rpartition("/_layers/")[2]
    assert outcomes(lambda: alice.get(path)) == [True]
    assert outcomes(lambda: alice.get(path[:-2] + ("AA" if not path.endswith("AA") else "BB"))) == [False]
    alice_api.create_repository(repositoryName="second")
    page = alice_api.describe_repositories(maxResults=1)["nextToken"]
    assert outcomes(lambda: alice_api.describe_repositories(nextToken=page)) == [True, True, True]


def spoil(headers: Any, name: str) -> None:
    """Change the last character of a header."""
    text = headers[name]
    text = text.decode() if isinstance(text, bytes) else text
    del headers[name]
    headers[name] = text[:-1] + ("0" if text[-1] != "0" else "1")
