"""What /_emulator/ offers, what a reset and the clock do to everything else, and download URLs."""

import http.client
import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from ecr_emulator import __version__
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import put_image, sha256
from tests.contract.oci_client import Answer, OciClient, api_client

ACCOUNT, REGION = "123456789012", "eu-west-1"
HOUR = 3600
LAYER = b"layer seed"


@pytest.fixture
def http_client(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


def post(client: OciClient, path: str, body: Any) -> Answer:
    return client.post(f"/_emulator/{path}", body if isinstance(body, bytes) else json.dumps(body).encode())


def now(client: OciClient) -> float:
    return float(client.get("/_emulator/clock").json()["epoch"])


def test_health_and_readiness_are_told_with_the_version(http_client: OciClient) -> None:
    for path, status in (("health", "ok"), ("ready", "ready")):
        answer = http_client.get(f"/_emulator/{path}")
        assert (answer.status, answer.json()) == (200, {"status": status, "version": __version__})
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", __version__)


@pytest.mark.parametrize("path", ["", "nothing", "health/", "clock/now", "../v2/", "reset%00"])
def test_any_other_path_is_not_found(http_client: OciClient, path: str) -> None:
    assert http_client.get(f"/_emulator/{path}").status == 404
    assert post(http_client, path, {}).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "health", "GET"),
        ("DELETE", "ready", "GET"),
        ("GET", "reset", "POST"),
        ("PUT", "clock", "GET, POST"),
    ],
)
def test_another_method_is_refused_with_those_that_there_are(
    http_client: OciClient, method: str, path: str, allowed: str
) -> None:
    answer = http_client.request(method, f"/_emulator/{path}")
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


def test_the_clock_shows_real_time_in_two_forms(http_client: OciClient) -> None:
    answer = http_client.get("/_emulator/clock").json()
    assert answer["epoch"] == pytest.approx(time.time(), abs=5)
    assert answer["now"].endswith("Z")
    assert datetime.fromisoformat(answer["now"]).timestamp() == pytest.approx(answer["epoch"], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "epoch"),
    [
        (1_900_000_000, 1_900_000_000),
        (1_900_000_000.25, 1_900_000_000.25),
        (0, 0),
        ("2030-03-17T17:46:40Z", 1_900_000_000),
        ("2030-03-17T19:46:40+02:00", 1_900_000_000),
        ("2030-03-17T17:46:40", 1_900_000_000),
        ("2030-03-17", 1_899_936_000),
        ("9999-12-31T00:00:00Z", 253_402_214_400),
    ],
)
def test_the_clock_is_set_and_goes_on(
    http_client: OciClient, ecr: Any, given: float | str, epoch: float
) -> None:
    answer = post(http_client, "clock", {"now": given})
    assert answer.status == 200
    assert answer.json()["epoch"] == pytest.approx(epoch, abs=5)
    created = ecr.create_repository(repositoryName="app")["repository"]["createdAt"]
    assert epoch <= created.timestamp() <= epoch + 5
    first = now(http_client)
    time.sleep(0.01)
    assert first < now(http_client) < first + 5


def test_the_clock_is_advanced_and_put_back(http_client: OciClient) -> None:
    before = now(http_client)
    assert post(http_client, "clock", {"advance": HOUR}).json()["epoch"] == pytest.approx(
        before + HOUR, abs=5
    )
    post(http_client, "clock", {"advance": 0.5 * HOUR})
    assert now(http_client) == pytest.approx(before + 1.5 * HOUR, abs=5)
    post(http_client, "clock", {"advance": -HOUR})
    assert now(http_client) == pytest.approx(before + 0.5 * HOUR, abs=5)
    assert post(http_client, "clock", {"reset": True}).json()["epoch"] == pytest.approx(time.time(), abs=5)


BAD_CLOCKS = {
    "nothing": {},
    "no JSON": b"{",
    "no UTF-8": b"\xff",
    "a list": [],
    "null": None,
    "two at once": {"now": 1, "advance": 1},
    "unknown": {"time": 1},
    "now as no time": {"now": "tomorrow"},
    "now as nothing": {"now": ""},
    "now as null": {"now": None},
    "now as a truth": {"now": True},
    "now as a list": {"now": [1]},
    "now as no number": b'{"now": NaN}',
    "now without end": b'{"now": Infinity}',
    "now too late": {"now": 10**12},
    "now far too late": {"now": 10**400},
    "now too early": {"now": -(10**12)},
    "now before the year 1": {"now": -100_000_000_000},
    "now as a time before the year 1": {"now": "0001-01-01T00:00:00+23:59"},
    "now as a time after the year 9999": {"now": "9999-12-31T23:59:59-23:59"},
    "advance as text": {"advance": "60"},
    "advance as a truth": {"advance": True},
    "advance as null": {"advance": None},
    "advance past the year 9999": {"advance": 252_000_000_000},
    "advance to before the year 1": {"advance": -100_000_000_000},
    "reset as false": {"reset": False},
    "reset as null": {"reset": None},
    "nested too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BAD_CLOCKS.values(), ids=BAD_CLOCKS)
def test_a_clock_is_not_set_by_what_makes_no_time(http_client: OciClient, body: Any) -> None:
    before = now(http_client)
    answer = post(http_client, "clock", body)
    assert answer.status == 400
    assert answer.json()["error"]
    assert now(http_client) == pytest.approx(before, abs=5)


def test_a_clock_at_its_end_can_be_put_back(http_client: OciClient) -> None:
    assert post(http_client, "clock", {"now": "9999-12-31T00:00:00Z"}).status == 200
    assert post(http_client, "clock", {"advance": 2 * 24 * HOUR}).status == 400
    assert now(http_client) == pytest.approx(253_402_214_400, abs=5)
    assert post(http_client, "clock", {"reset": True}).status == 200
    assert now(http_client) == pytest.approx(time.time(), abs=5)


@pytest.fixture
def registries(server: BackgroundServer) -> dict[tuple[str, str], Any]:
    """Clients of four registries, each of which has the repository app with an image."""
    clients = {
        (account, region): api_client(server.url, account, region)
        for account in (ACCOUNT, "000000000000")
        for region in (REGION, "us-east-1")
    }
    for client in clients.values():
        client.create_repository(repositoryName="app")
        put_image(client, "app", "v1")
    return clients


RESETS = {
    "one account": {"account": ACCOUNT},
    "one region": {"region": REGION},
    "one account in one region": {"account": ACCOUNT, "region": REGION},
    "an account with nothing": {"account": "999999999999"},
    "a region with nothing": {"region": "eu-north-1"},
}


@pytest.mark.parametrize("body", RESETS.values(), ids=RESETS)
def test_a_reset_can_be_of_an_account_or_a_region(
    http_client: OciClient, registries: dict[tuple[str, str], Any], body: dict[str, str]
) -> None:
    (issued,) = registries[ACCOUNT, REGION].get_authorization_token()["authorizationData"]
    login = {"Authorization": f"Basic {issued['authorizationToken']}"}
    post(http_client, "clock", {"advance": HOUR})
    gone = {
        (account, region)
        for account, region in registries
        if body.get("account", account) == account and body.get("region", region) == region
    }
    answer = post(http_client, "reset", body)
    assert (answer.status, answer.json()) == (200, {"repositories": len(gone)})
    for registry, client in registries.items():
        found = client.describe_repositories()["repositories"]
        assert [repository["repositoryName"] for repository in found] == ([] if registry in gone else ["app"])
        if registry not in gone:
            account, region = registry
            oci = OciClient(http_client.address, Host=f"{account}.dkr.ecr.{region}.amazonaws.com")
            assert oci.get("/v2/app/manifests/v1").status == 200
            assert oci.get(f"/v2/app/blobs/{sha256(LAYER)}").body == LAYER
    # Only a reset of everything touches the clock and what was handed out.
    assert now(http_client) == pytest.approx(time.time() + HOUR, abs=5)
    assert http_client.get("/v2/").status == 401
    assert http_client.get("/v2/", login).status == 200


def test_a_reset_without_a_body_is_of_everything(
    http_client: OciClient, registries: dict[tuple[str, str], Any]
) -> None:
    post(http_client, "clock", {"advance": HOUR})
    location = OciClient(http_client.address, Host=f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com").begin_upload(
        "app"
    )
    assert http_client.post("/_emulator/reset").json() == {"repositories": len(registries)}
    for client in registries.values():
        assert client.describe_repositories()["repositories"] == []
    assert now(http_client) == pytest.approx(time.time(), abs=5)
    # What was there does not show through what is new under its name.
    client = registries[ACCOUNT, REGION]
    client.create_repository(repositoryName="app")
    assert http_client.get(location).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert http_client.get(f"/v2/app/blobs/{sha256(LAYER)}").error == (404, "BLOB_UNKNOWN")
    assert client.list_images(repositoryName="app")["imageIds"] == []
    put_image(client, "app", "v1")
    assert http_client.get(f"/v2/app/blobs/{sha256(LAYER)}").body == LAYER


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        [],
        {"account": "1"},
        {"account": 123456789012},
        {"region": 1},
        {"repository": "app"},
        {"clock": True},
    ],
    ids=str,
)
def test_a_reset_of_nothing_sensible_is_refused(
    http_client: OciClient, ecr: Any, repository: str, body: Any
) -> None:
    answer = post(http_client, "reset", body)
    assert answer.status == 400
    assert answer.json()["error"]
    assert ecr.describe_repositories()["repositories"][0]["repositoryName"] == repository


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ecr_scanning": "on"},
        {"ecr_scanning": 1},
        {"ecr_scanning": True, "account": "1"},
        {"ecr_scanning": True, "region": 1},
        {"ecr_scanning": True, "ec2_scanning": True},
    ],
)
def test_a_policy_of_an_organization_that_says_nothing_sensible_is_refused(
    http_client: OciClient, body: Any
) -> None:
    answer = post(http_client, "organization-policy", body)
    assert (answer.status, list(answer.json())) == (400, ["error"])


def test_a_reset_ends_page_tokens(http_client: OciClient, ecr: Any) -> None:
    for name in ("first", "second"):
        ecr.create_repository(repositoryName=name)
    token = ecr.describe_repositories(maxResults=1)["nextToken"]
    assert ecr.describe_repositories(maxResults=1, nextToken=token)["repositories"]
    post(http_client, "reset", {})
    with pytest.raises(ecr.exceptions.InvalidParameterException):
        ecr.describe_repositories(maxResults=1, nextToken=token)


def download_path(client: Any, content: bytes = LAYER) -> str:
    """Return the path of a download URL, as its host is the server's."""
    answer = client.get_download_url_for_layer(repositoryName="app", layerDigest=sha256(content))
    assert answer["layerDigest"] == sha256(content)
    url = urllib.parse.urlsplit(answer["downloadUrl"])
    assert url.netloc == urllib.parse.urlsplit(client.meta.endpoint_url).netloc
    assert url.scheme == "http"
    return f"{url.path}?{url.query}" if url.query else url.path


@pytest.fixture
def download(ecr: Any, repository: str) -> str:
    """The path of a download URL of the layer of an image."""
    put_image(ecr, repository, "v1")
    return download_path(ecr)


def test_a_download_url_gives_the_layer_whole_or_in_part(http_client: OciClient, download: str) -> None:
    answer = http_client.get(download)
    assert (answer.status, answer.body) == (200, LAYER)
    head = http_client.head(download)
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(LAYER)), b"")
    part = http_client.get(download, {"Range": "bytes=2-4"})
    assert (part.status, part.body) == (206, LAYER[2:5])
    assert part.headers["Content-Range"] == f"bytes 2-4/{len(LAYER)}"
    assert http_client.get(download, {"Range": "bytes=-3"}).body == LAYER[-3:]
    assert http_client.get(download, {"Range": "bytes=1000-"}).status == 416


@pytest.fixture(scope="module")
def token_server() -> Iterator[BackgroundServer]:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, auth="token")) as server:
        yield server


def test_a_download_url_needs_no_credentials_where_v2_does(token_server: BackgroundServer) -> None:
    client = api_client(token_server.url, ACCOUNT, REGION)
    client.create_repository(repositoryName="app")
    put_image(client, "app", "v1")
    anonymous = OciClient(token_server.address)
    assert anonymous.get(f"/v2/app/blobs/{sha256(LAYER)}").status == 401
    assert anonymous.get(download_path(client)).body == LAYER
    # Nor do wrong ones harm.
    assert anonymous.get(download_path(client), {"Authorization": "Basic x"}).body == LAYER


def test_a_download_url_expires_after_an_hour(
    http_client: OciClient, server: BackgroundServer, ecr: Any, download: str
) -> None:
    server.advance_clock(HOUR - 30)
    assert http_client.get(download).status == 200
    server.advance_clock(60)
    answer = http_client.get(download)
    assert answer.status == 403
    assert answer.headers["Content-Type"].startswith("application/xml")
    assert b"<Message>Request has expired</Message>" in answer.body
    assert http_client.head(download).status == 403
    assert http_client.get(download_path(ecr)).body == LAYER


def test_a_forged_download_url_is_refused(http_client: OciClient, ecr: Any, download: str) -> None:
    sealed = download.rpartition("/")[2]
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    ecr.create_repository(repositoryName="second")
    page_token = ecr.describe_repositories(maxResults=1)["nextToken"]
    for forged in (
        "",
        "x",
        sealed[:-1],
        sealed[: len(sealed) // 2],
        ("A" if sealed[0] != "A" else "B") + sealed[1:],
        sealed[:-8] + ("A" if sealed[-8] != "A" else "B") + sealed[-7:],
        token,
        page_token,
        "../v2/app/manifests/v1",
        "%00",
        "%C3%A9",
        f"{sealed}/{sealed}",
    ):
        answer = http_client.get(f"/_layers/{forged}")
        assert answer.status == 403, forged
        assert b"SignatureDoesNotMatch" in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_download_url_is_only_read(http_client: OciClient, download: str, method: str) -> None:
    assert http_client.request(method, download, b"x").status == 405
    assert http_client.get(download).body == LAYER


def test_a_download_url_ends_with_the_repository(http_client: OciClient, ecr: Any, download: str) -> None:
    ecr.delete_repository(repositoryName="app", force=True)
    answer = http_client.get(download)
    assert answer.status == 404
    assert b"NoSuchKey" in answer.body


def test_a_download_url_ends_with_a_reset(http_client: OciClient, ecr: Any, download: str) -> None:
    post(http_client, "reset", {})
    ecr.create_repository(repositoryName="app")
    put_image(ecr, "app", "v1")
    assert http_client.get(download).status == 403
    assert http_client.get(download_path(ecr)).body == LAYER


def test_a_download_that_broke_off_goes_on(http_client: OciClient, download: str) -> None:
    connection = http.client.HTTPConnection(http_client.address, timeout=30)
    connection.request("GET", download)
    got = connection.getresponse().read(4)
    connection.close()
    assert got + http_client.get(download, {"Range": "bytes=4-"}).body == LAYER


def test_a_download_url_is_of_its_own_registry(
    http_client: OciClient, registries: dict[tuple[str, str], Any]
) -> None:
    client = registries[ACCOUNT, REGION]
    path = download_path(client)
    assert http_client.get(path).body == LAYER
    client.delete_repository(repositoryName="app", force=True)
    assert http_client.get(path).status == 404
    assert http_client.get(download_path(registries["000000000000", "us-east-1"])).body == LAYER
