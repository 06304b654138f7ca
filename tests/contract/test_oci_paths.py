"""Paths of /v2/: repository names that look like parts of the API, and names that are none."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_MANIFEST, descriptor, image_manifest, sha256
from tests.contract.oci_client import OciClient, api_client, chunk_range

WORDS = ["tags", "blobs", "manifests", "uploads", "referrers"]
NAMES = [
    *WORDS,
    *(f"{word}/app" for word in WORDS),
    *(f"app/{word}" for word in WORDS),
    *(f"app/{word}/x" for word in WORDS),
    *(f"{word}/{word}/{word}" for word in WORDS),
    "blobs/uploads",
    "app/blobs/uploads",
    "app/blobs/uploads/x",
    "app/tags/list",
    "tags/list",
    "list",
    "v2/list",
    "manifests/latest",
    "app/manifests/latest/blobs/uploads/tags/list/referrers/x",
    "a.b/c-d/e_f/g__h/1--2",
    "a" * 256,
    "/".join(["ab"] * 85),
]
SECRET = b"nobody may read this"


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:60])
def test_every_route_works_whatever_words_the_name_has(oci: OciClient, ecr: Any, name: str) -> None:
    ecr.create_repository(repositoryName=name)
    base = f"/v2/{name}"
    config, layer = b"{}", f"layer of {name}".encode()

    assert oci.post(f"{base}/blobs/uploads/?digest={sha256(config)}", config).status == 201
    location = oci.post(f"{base}/blobs/uploads").headers["Location"]
    assert location.startswith(f"{base}/blobs/uploads/")
    assert oci.patch(location, layer[:3], chunk_range(0, layer[:3])).headers["Location"] == location
    assert oci.get(location).headers["Range"] == "0-2"
    put = oci.put(f"{location}?digest={sha256(layer)}", layer[3:])
    assert (put.status, put.headers["Location"]) == (201, f"{base}/blobs/{sha256(layer)}")
    assert oci.get(put.headers["Location"]).body == layer
    assert oci.head(put.headers["Location"]).status == 200
    assert oci.delete(put.headers["Location"]).error == (405, "UNSUPPORTED")
    cancelled = oci.begin_upload(name)
    assert oci.delete(cancelled).status == 204

    manifest = image_manifest(config, layer)
    for reference in ("latest", "list", "uploads", sha256(manifest)):
        pushed = oci.push_manifest(name, reference, manifest)
        assert (pushed.status, pushed.headers["Location"]) == (201, f"{base}/manifests/{sha256(manifest)}")
        assert oci.get(f"{base}/manifests/{reference}").body == manifest
        assert oci.head(f"{base}/manifests/{reference}").status == 200
        assert oci.delete(f"{base}/manifests/{reference}").error == (405, "UNSUPPORTED")
    assert oci.get(f"{base}/tags/list").json() == {"name": name, "tags": ["latest", "list", "uploads"]}
    page = oci.get(f"{base}/tags/list?n=1")
    assert page.headers["Link"] == f'<{base}/tags/list?n=1&last=latest>; rel="next"'

    artifact = image_manifest(config, artifactType="a/b", subject=descriptor(manifest, OCI_MANIFEST))
    assert oci.push_manifest(name, sha256(artifact), artifact).status == 201
    (referrer,) = oci.get(f"{base}/referrers/{sha256(manifest)}").json()["manifests"]
    assert referrer["digest"] == sha256(artifact)

    (detail,) = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": "latest"}])["imageDetails"]
    assert detail["imageDigest"] == sha256(manifest)


BAD_NAMES = {
    "one letter": "a",
    "upper case": "App",
    "a space": "a%20b",
    "two slashes": "a//b",
    "a slash at the end": "app/",
    "a dot at the end": "app.",
    "a hyphen first": "-app",
    "three underscores": "a___b",
    "not ASCII": "caf%C3%A9",
    "257 characters": "a" * 257,
    "a dot": "app/.",
    "two dots": "app/..",
    "two dots encoded": "app/%2e%2e",
    "a slash and two dots encoded": "app%2f..",
    "two dots in between": "x/../app",
    "a backslash": "a%5Cb",
    "NUL": "app%00",
    "a quote": "app'",
    "an underscore first": "_catalog",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_name_that_is_none_is_refused_on_every_route(oci: OciClient, repository: str, name: str) -> None:
    base = f"/v2/{name}"
    digest = sha256(b"x")
    for method, path in (
        ("GET", f"{base}/tags/list"),
        ("GET", f"{base}/manifests/v1"),
        ("PUT", f"{base}/manifests/v1"),
        ("DELETE", f"{base}/manifests/v1"),
        ("GET", f"{base}/blobs/{digest}"),
        ("POST", f"{base}/blobs/uploads/"),
        ("PATCH", f"{base}/blobs/uploads/1"),
        ("GET", f"{base}/referrers/{digest}"),
    ):
        assert oci.request(method, path).error == (400, "NAME_INVALID"), path


def test_a_line_break_is_part_of_no_name(oci: OciClient, repository: str) -> None:
    for name in ("app%0A", "app%0D%0Ax", "%0Aapp"):
        answer = oci.get(f"/v2/{name}/tags/list")
        assert answer.status in (400, 404)
        assert answer.error[1] in ("NAME_INVALID", "NAME_UNKNOWN")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/app",
        "/v2/app/",
        "/v2/app/tags",
        "/v2/app/tags/list/",
        "/v2/app/tags/lists",
        "/v2/app/manifests",
        "/v2/app/manifests/",
        "/v2/app/manifests/v1/x",
        "/v2/app/blobs",
        "/v2/app/blobs/",
        "/v2/app/blobs/uploads/1/2",
        "/v2/app/referrers/",
        "/v2/tags/list",
        "/v2/_catalog/",
        "/v2//",
        "/v2//tags/list",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_path_that_is_none_of_the_api_is_unknown(
    oci: OciClient, repository: str, method: str, path: str
) -> None:
    answer = oci.request(method, path)
    assert answer.status == 404
    assert answer.error[1] in ("NAME_UNKNOWN", "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_root_answers_with_and_without_a_slash(oci: OciClient, path: str) -> None:
    answer = oci.get(path)
    assert (answer.status, answer.json()) == (200, {})
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    head = oci.head(path)
    assert (head.status, head.body) == (200, b"")
    refused = oci.post(path)
    assert refused.error == (405, "UNSUPPORTED")
    assert refused.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/v1/app/tags/list", "/v22/", "/V2/", "/", "/v2.", "//v2/"])
def test_any_other_path_is_not_of_the_data_plane(oci: OciClient, path: str) -> None:
    answer = oci.get(path)
    assert answer.status == 404
    assert "Docker-Distribution-API-Version" not in answer.headers


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


def send(server: BackgroundServer, method: str, path: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Send a path as it is, which http.client does not always do."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(
            method.encode()
            + b" "
            + path
            + b" HTTP/1.1\r\nHost: registry\r\nConnection: close\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.read()


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
            status, body = send(server, method, prefix + way_out, b"overwritten")
            assert 400 <= status < 500, (method, prefix, status)
            assert SECRET not in body
            assert b"root:" not in body
            assert not body.startswith(b"SQLite")
    for prefix, suffix in (
        (b"/v2/", b"/tags/list"),
        (b"/v2/app/", b"/manifests/v1"),
        (b"/v2/", b"/app/tags/list"),
    ):
        assert 400 <= send(server, "GET", prefix + way_out + suffix)[0] < 500
    for digest in (b"sha256:" + way_out, way_out):
        status, _ = send(server, "POST", b"/v2/app/blobs/uploads/?digest=" + digest, b"overwritten")
        assert 400 <= status < 500
    assert files() == before
    assert (parent / "secret").read_bytes() == SECRET
    assert OciClient(server.address).get("/v2/app/tags/list").json()["tags"] == ["v1"]
