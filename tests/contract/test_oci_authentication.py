"""Who may use /v2/, and which registry a request is about."""

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_MANIFEST, put_image, sha256
from tests.contract.oci_client import Answer, OciClient, api_client, exchange, no_such_repository

ACCOUNT, REGION = "123456789012", "eu-west-1"
HOST = {"Host": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"}
HOUR = 3600
CONTENT = b"content of a layer " * 5000
DIGEST = sha256(CONTENT)
EXPIRED = "Your authorization token has expired. Reauthenticate and try again."


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


@pytest.fixture(scope="module")
def token_server() -> Iterator[BackgroundServer]:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, auth="token")) as server:
        yield server


@pytest.fixture
def guarded(token_server: BackgroundServer) -> OciClient:
    """An anonymous client of a server that wants tokens, with the repository app."""
    token_server.reset()
    api_client(token_server.url).create_repository(repositoryName="app")
    return OciClient(token_server.address)


def token(server: BackgroundServer, account: str = "testing", region: str = "us-east-1") -> str:
    (entry,) = api_client(server.url, account, region).get_authorization_token()["authorizationData"]
    return str(entry["authorizationToken"])


def basic(encoded: str) -> dict[str, str]:
    return {"Authorization": f"Basic {encoded}"}


def assert_challenged(answer: Answer, host: str) -> None:
    assert answer.error == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == f'Basic realm="http://{host}/",service="ecr.amazonaws.com"'


def test_without_auth_everybody_is_let_in(oci: OciClient, server: BackgroundServer) -> None:
    for path in ("/v2/", "/v2"):
        for headers in (
            {},
            basic(token(server)),
            basic("bm9ib2R5Om5vdGhpbmc="),
            {"Authorization": "Bearer x"},
        ):
            answer = oci.get(path, headers)
            assert (answer.status, answer.json()) == (200, {})
            assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
        assert oci.head(path).status == 200


def test_an_anonymous_client_is_led_to_the_only_registry_with_repositories(
    oci: OciClient, server: BackgroundServer
) -> None:
    client = api_client(server.url, ACCOUNT, REGION)
    client.create_repository(repositoryName="app")
    image = oci.push_image("app", "v1")
    assert oci.get("/v2/app/manifests/v1").body == image.manifest
    assert client.describe_images(repositoryName="app")["imageDetails"][0]["imageTags"] == ["v1"]
    assert oci.get("/v2/none/tags/list").message == no_such_repository("none", ACCOUNT)


@pytest.mark.parametrize(("account", "region"), [(ACCOUNT, "us-east-1"), ("testing", REGION)])
def test_an_anonymous_client_has_to_log_in_once_several_registries_have_repositories(
    oci: OciClient, server: BackgroundServer, ecr: Any, repository: str, account: str, region: str
) -> None:
    image = oci.push_image(repository, "v1")
    other = api_client(server.url, account, region)
    other.create_repository(repositoryName="app")
    for path in ("/v2/", "/v2/app/manifests/v1", f"/v2/app/blobs/{image.digest}", "/v2/none/tags/list"):
        assert_challenged(oci.get(path), server.address)
    assert oci.head("/v2/app/manifests/v1").status == 401
    assert_challenged(oci.post("/v2/app/blobs/uploads/"), server.address)
    assert_challenged(oci.get("/v2/", basic("bm9ib2R5Om5vdGhpbmc=")), server.address)
    assert oci.get("/v2/app/manifests/v1", basic(token(server))).body == image.manifest
    assert oci.get("/v2/app/manifests/v1", basic(token(server, account, region))).error == (
        404,
        "MANIFEST_UNKNOWN",
    )
    # One registry is left, and it is clear again who is meant.
    other.delete_repository(repositoryName="app")
    assert oci.get("/v2/app/manifests/v1").body == image.manifest


HOSTS = {
    "amazonaws.com": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com",
    "with a port": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com:4510",
    "localhost": f"{ACCOUNT}.dkr.ecr.{REGION}.localhost:4510",
    "another domain": f"{ACCOUNT}.dkr.ecr.{REGION}.ecr.internal.example.com",
    "upper case": f"{ACCOUNT}.DKR.ECR.{REGION.upper()}.AMAZONAWS.COM",
    "FIPS": f"{ACCOUNT}.dkr.ecr-fips.{REGION}.amazonaws.com",
    "dual stack": f"{ACCOUNT}.dkr-ecr.{REGION}.on.aws",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("way", ["Host", "ns"])
def test_the_registry_is_named_by_host_or_by_ns(
    oci: OciClient, server: BackgroundServer, ecr: Any, repository: str, host: str, way: str
) -> None:
    oci.push_image(repository, "here", seed="here")
    put_image(api_client_with_app(server), "app", "there", seed="there")
    headers = {"Host": host} if way == "Host" else {}
    query = "" if way == "Host" else f"?ns={host}"
    assert oci.get(f"/v2/app/tags/list{query}", headers).json()["tags"] == ["there"]
    assert oci.get(f"/v2/app/manifests/there{query}", headers).status == 200
    assert oci.get(f"/v2/app/manifests/here{query}", headers).error == (404, "MANIFEST_UNKNOWN")


def api_client_with_app(server: BackgroundServer) -> Any:
    client = api_client(server.url, ACCOUNT, REGION)
    client.create_repository(repositoryName="app")
    return client


@pytest.mark.parametrize("host", ["docker.io", "12345.dkr.ecr.eu-west-1.amazonaws.com", "dkr.ecr", ""])
def test_any_other_host_names_no_registry(oci: OciClient, repository: str, host: str) -> None:
    oci.push_image(repository, "v1")
    assert oci.get("/v2/app/tags/list", {"Host": host}).json()["tags"] == ["v1"]
    assert oci.get(f"/v2/app/tags/list?ns={host}").json()["tags"] == ["v1"]


def test_the_host_wins_over_ns_and_over_the_token(
    oci: OciClient, server: BackgroundServer, ecr: Any, repository: str
) -> None:
    put_image(ecr, repository, "here", seed="here")
    put_image(api_client_with_app(server), "app", "there", seed="there")
    path = "/v2/app/tags/list?ns=000000000000.dkr.ecr.us-east-1.amazonaws.com"
    assert oci.get(path).json()["tags"] == ["here"]
    assert oci.get(path, HOST).json()["tags"] == ["there"]
    assert oci.get(path, {**HOST, **basic(token(server))}).json()["tags"] == ["there"]
    assert oci.get("/v2/app/tags/list", basic(token(server))).json()["tags"] == ["here"]
    assert oci.get("/v2/app/tags/list", basic(token(server, ACCOUNT, REGION))).json()["tags"] == ["there"]


# Accounts and regions of two registries.
REGISTRIES = {
    "two accounts": ((ACCOUNT, REGION), ("210987654321", REGION)),
    "two regions": ((ACCOUNT, REGION), (ACCOUNT, "ap-southeast-2")),
}


@pytest.mark.parametrize(("first", "second"), REGISTRIES.values(), ids=REGISTRIES)
def test_the_same_name_in_two_registries_is_two_repositories_on_both_planes(
    server: BackgroundServer, first: tuple[str, str], second: tuple[str, str]
) -> None:
    registries = {}
    for account, region in (first, second):
        client = api_client(server.url, account, region)
        created = client.create_repository(repositoryName="app")["repository"]
        assert created["registryId"] == account
        assert created["repositoryArn"] == f"arn:aws:ecr:{region}:{account}:repository/app"
        registries[account, region] = (
            client,
            OciClient(server.address, Host=f"{account}.dkr.ecr.{region}.amazonaws.com"),
        )
    client, oci = registries[first]
    other_client, other_oci = registries[second]
    image = oci.push_image("app", "v1", seed="first")
    location = oci.begin_upload("app")
    for content in image.blobs:
        assert other_oci.get(f"/v2/app/blobs/{sha256(content)}").error == (404, "BLOB_UNKNOWN")
    checked = other_client.batch_check_layer_availability(
        repositoryName="app", layerDigests=[sha256(content) for content in image.blobs]
    )
    assert {layer["layerAvailability"] for layer in checked["layers"]} == {"UNAVAILABLE"}
    assert other_oci.get("/v2/app/manifests/v1").error == (404, "MANIFEST_UNKNOWN")
    assert other_oci.get(location).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert other_oci.push_manifest("app", "v1", image.manifest).error == (404, "MANIFEST_BLOB_UNKNOWN")
    assert other_client.list_images(repositoryName="app")["imageIds"] == []
    other_digest = put_image(other_client, "app", "v1", seed="second")
    assert oci.head("/v2/app/manifests/v1").headers["Docker-Content-Digest"] == image.digest
    assert other_oci.head("/v2/app/manifests/v1").headers["Docker-Content-Digest"] == other_digest
    client.delete_repository(repositoryName="app", force=True)
    assert oci.get("/v2/app/manifests/v1").error == (404, "NAME_UNKNOWN")
    assert other_oci.head("/v2/app/manifests/v1").status == 200


def test_with_auth_a_client_without_token_is_told_to_log_in(
    guarded: OciClient, token_server: BackgroundServer
) -> None:
    for method, path in (
        ("GET", "/v2/"),
        ("GET", "/v2"),
        ("GET", "/v2/app/tags/list"),
        ("GET", "/v2/app/manifests/v1"),
        ("PUT", "/v2/app/manifests/v1"),
        ("DELETE", "/v2/app/manifests/v1"),
        ("GET", f"/v2/app/blobs/{DIGEST}"),
        ("POST", "/v2/app/blobs/uploads/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/none/tags/list"),
        ("GET", "/v2/nothing/of/the/kind"),
    ):
        assert_challenged(guarded.request(method, path), token_server.address)
        assert guarded.request(method, path, None, basic(token(token_server))).status != 401
    # The challenge names the host by which the client came.
    assert_challenged(guarded.get("/v2/", HOST), HOST["Host"])


def test_a_token_lets_its_holder_push_and_pull(guarded: OciClient, token_server: BackgroundServer) -> None:
    oci = OciClient(token_server.address, **basic(token(token_server)))
    assert oci.get("/v2/").status == 200
    image = oci.push_image("app", "v1")
    assert oci.get("/v2/app/manifests/v1").body == image.manifest
    assert_challenged(guarded.get("/v2/app/manifests/v1"), token_server.address)


def changed(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


def bad_credentials(good: str) -> dict[str, str]:
    password = base64.b64decode(good).decode().removeprefix("AWS:")

    def encoded(text: str) -> str:
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    return {
        "nothing": "",
        "scheme alone": "Basic",
        "no base64": "Basic %%%%",
        "base64 of no text": f"Basic {base64.b64encode(bytes([255, 254])).decode()}",
        "no colon": encoded("AWS"),
        "empty password": encoded("AWS:"),
        "garbage": encoded("AWS:garbage"),
        "another user": encoded(f"root:{password}"),
        "user in small letters": encoded(f"aws:{password}"),
        "tampered value": encoded(f"AWS:{changed(password, 3)}"),
        "tampered signature": encoded(f"AWS:{changed(password, len(password) - 8)}"),
        "cut short": encoded(f"AWS:{password[:-1]}"),
        "followed by more": encoded(f"AWS:{password}x"),
        "not ASCII": "Basic é",
        "bearer": f"Bearer {password}",
        "token without encoding": f"Basic AWS:{password}",
    }


def test_with_auth_bad_credentials_are_like_none(guarded: OciClient, token_server: BackgroundServer) -> None:
    good = token(token_server)
    assert guarded.get("/v2/", basic(good)).status == 200
    for name, header in bad_credentials(good).items():
        answer = guarded.get("/v2/", {"Authorization": header})
        assert answer.status == 401, name
        assert_challenged(answer, token_server.address)


def test_a_seal_for_another_purpose_is_no_token(guarded: OciClient, token_server: BackgroundServer) -> None:
    client = api_client(token_server.url)
    client.create_repository(repositoryName="second")
    page_token = client.describe_repositories(maxResults=1)["nextToken"]
    encoded = base64.b64encode(f"AWS:{page_token}".encode()).decode()
    assert_challenged(guarded.get("/v2/", basic(encoded)), token_server.address)


def test_a_token_expires_after_twelve_hours(guarded: OciClient, token_server: BackgroundServer) -> None:
    old = basic(token(token_server))
    token_server.advance_clock(12 * HOUR - 60)
    assert guarded.get("/v2/", old).status == 200
    location = OciClient(token_server.address, **old).begin_upload("app")
    token_server.advance_clock(120)
    for answer in (
        guarded.get("/v2/", old),
        guarded.get("/v2/app/tags/list", old),
        guarded.put(f"{location}?digest={DIGEST}", CONTENT, old),
    ):
        assert answer.error == (403, "DENIED")
        assert answer.message == EXPIRED
    new = basic(token(token_server))
    assert guarded.get("/v2/", new).status == 200
    assert guarded.put(f"{location}?digest={DIGEST}", CONTENT, new).status == 201


def test_a_token_expires_though_its_answers_are_remembered(
    guarded: OciClient, token_server: BackgroundServer
) -> None:
    old = basic(token(token_server))
    OciClient(token_server.address, **old).push_image("app", "v1")
    for _ in range(3):
        assert guarded.head("/v2/app/manifests/v1", old).status == 200
        assert guarded.get("/v2/app/manifests/v1", old).status == 200
    token_server.advance_clock(12 * HOUR + 1)
    assert guarded.head("/v2/app/manifests/v1", old).status == 403
    assert guarded.get("/v2/app/manifests/v1", old).status == 403


def test_a_token_ends_with_a_reset(guarded: OciClient, token_server: BackgroundServer) -> None:
    old = basic(token(token_server))
    token_server.reset()
    assert_challenged(guarded.get("/v2/", old), token_server.address)
    assert guarded.get("/v2/", basic(token(token_server))).status == 200


def test_a_token_is_for_its_registry(guarded: OciClient, token_server: BackgroundServer) -> None:
    put_image(api_client_with_app(token_server), "app", "there")
    there = basic(token(token_server, ACCOUNT, REGION))
    assert guarded.get("/v2/app/tags/list", there).json()["tags"] == ["there"]
    assert guarded.get("/v2/app/tags/list", {**HOST, **there}).json()["tags"] == ["there"]
    here = basic(token(token_server))
    assert guarded.get("/v2/app/tags/list", here).json()["tags"] == []
    assert guarded.get("/v2/app/tags/list", {**HOST, **here}).error == (403, "DENIED")
    assert guarded.get(f"/v2/app/tags/list?ns={HOST['Host']}", here).error == (403, "DENIED")


def test_the_host_does_not_let_anybody_in(guarded: OciClient, token_server: BackgroundServer) -> None:
    api_client_with_app(token_server)
    assert_challenged(guarded.get("/v2/app/tags/list", HOST), HOST["Host"])


@pytest.mark.parametrize("same_connection", [True, False], ids=["same connection", "new connection"])
@pytest.mark.parametrize("size", [len(CONTENT), 8 * 1024 * 1024])
def test_an_upload_outlives_a_401_to_its_whole_body(
    guarded: OciClient, token_server: BackgroundServer, same_connection: bool, size: int
) -> None:
    content = (CONTENT * (size // len(CONTENT) + 1))[:size]
    authorized = basic(token(token_server))
    location = OciClient(token_server.address, **authorized).begin_upload("app")
    path = f"{location}?digest={sha256(content)}"
    with contextlib.closing(guarded.connect()) as first, contextlib.closing(guarded.connect()) as second:
        first.connect()
        socket = first.sock
        assert_challenged(exchange(first, "PUT", path, content), token_server.address)
        assert_challenged(exchange(first, "PATCH", location, content), token_server.address)
        progress = guarded.get(location, authorized)
        assert (progress.status, progress.headers["Range"]) == (204, "0-0")
        answer = exchange(first if same_connection else second, "PUT", path, content, authorized)
        assert answer.status == 201
        if same_connection:
            assert first.sock is socket
    assert guarded.get(f"/v2/app/blobs/{sha256(content)}", authorized).body == content


def test_a_401_to_a_manifest_or_a_whole_blob_changes_nothing(
    guarded: OciClient, token_server: BackgroundServer
) -> None:
    oci = OciClient(token_server.address, **basic(token(token_server)))
    image = oci.push_image("app", "v1")
    newer = oci.push_image("app", seed="newer")
    post = f"/v2/app/blobs/uploads/?digest={DIGEST}"
    assert_challenged(guarded.post(post, CONTENT), token_server.address)
    assert oci.head(f"/v2/app/blobs/{DIGEST}").status == 404
    assert oci.post(post, CONTENT).status == 201
    answer = guarded.put("/v2/app/manifests/v1", newer.manifest, {"Content-Type": OCI_MANIFEST})
    assert_challenged(answer, token_server.address)
    assert oci.get("/v2/app/manifests/v1").body == image.manifest
