"""Paths of /v2/: repository names that look like parts of the API, and names that are none."""

from typing import Any

import pytest

from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_MANIFEST, descriptor, image_manifest, sha256
from tests.contract.oci_client import OciClient, chunk_range

# What is refused, or spoken, before anything is stored: the same whatever the stores are.
pytestmark = pytest.mark.local

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
