"""What a server believes the proxy before it, and what it doesn't."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import connect, put_image, sha256, upload_layer
from tests.contract.oci_client import OciClient
from tests.contract.stores import basic

HTTPS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
# Nobody reads or changes anything but by TLS and from these addresses.
POLICY = {
    "Statement": [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "ecr:Get*",
            "Condition": condition,
        }
        for condition in (
            {"Bool": {"aws:SecureTransport": "false"}},
            {"NotIpAddress": {"aws:SourceIp": "198.51.100.0/24"}},
        )
    ]
}


def through_proxy(server: BackgroundServer, headers: dict[str, str]) -> Any:
    """Make a client whose requests have headers, as if a proxy had set them."""
    client = connect(server.url)
    client.meta.events.register("before-send.ecr", lambda request, **_: request.headers.update(headers))
    return client


def records(server: BackgroundServer, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        OciClient(server.address).get(f"/_emulator/audit?eventName={name}").json()["Records"]
    )
    return found


@pytest.fixture(scope="module")
def ecr_server():
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, auth="token", behind_proxy="on")) as server:
        yield server


def scheme_of(client: Any) -> str:
    (data,) = client.get_authorization_token()["authorizationData"]
    return str(data["proxyEndpoint"].partition(":")[0])


def test_urls_begin_with_the_clients_scheme(server: BackgroundServer) -> None:
    client = through_proxy(server, HTTPS)
    assert scheme_of(client) == "https"
    client.create_repository(repositoryName="app")
    put_image(client, "app")
    layer = sha256(b"layer seed")
    url = client.get_download_url_for_layer(repositoryName="app", layerDigest=layer)["downloadUrl"]
    assert url.startswith(f"https://{server.address}/")
    challenge = OciClient(server.address).get("/v2/", HTTPS)
    assert challenge.status == 401
    assert f'realm="https://{server.address}/"' in challenge.headers["WWW-Authenticate"]


def test_conditions_and_records_are_about_the_client(server: BackgroundServer) -> None:
    client = through_proxy(server, HTTPS)
    client.create_repository(repositoryName="app")
    client.set_repository_policy(repositoryName="app", policyText=json.dumps(POLICY))
    client.get_repository_policy(repositoryName="app")
    assert records(server, "GetRepositoryPolicy")[-1]["sourceIPAddress"] == "198.51.100.7"
    for changed in ({"X-Forwarded-Proto": "http"}, {"X-Forwarded-For": "203.0.113.1"}):
        with pytest.raises(ClientError, match="AccessDenied"):
            through_proxy(server, HTTPS | changed).get_repository_policy(repositoryName="app")
    # A layer is asked for on the other plane.
    digest, token = sha256(b"layer"), basic(client)
    upload_layer(client, "app", b"layer")
    answers = [
        OciClient(server.address, Authorization=token).get(f"/v2/app/blobs/{digest}", headers).status
        for headers in (HTTPS, {"X-Forwarded-Proto": "http"})
    ]
    assert answers == [200, 403]


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("203.0.113.1, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, 2001:DB8::1", "2001:db8::1"),
        ("198.51.100.7, unknown", "127.0.0.1"),
        ("198.51.100.7,", "127.0.0.1"),
        ("_hidden", "127.0.0.1"),
    ],
)
def test_the_address_is_the_last_that_is_named(server: BackgroundServer, value: str, address: str) -> None:
    through_proxy(server, {"X-Forwarded-For": value}).describe_registry()
    assert records(server, "DescribeRegistry")[-1]["sourceIPAddress"] == address


@pytest.mark.parametrize("value", ["", "ftp", "https, http", "http://"])
def test_a_scheme_that_none_is_or_that_an_earlier_proxy_names_is_passed_over(
    server: BackgroundServer, value: str
) -> None:
    assert scheme_of(through_proxy(server, {"X-Forwarded-Proto": value})) == "http"


def test_a_server_behind_no_proxy_believes_nothing() -> None:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0)) as server:
        client = through_proxy(server, HTTPS)
        assert scheme_of(client) == "http"
        assert records(server, "GetAuthorizationToken")[-1]["sourceIPAddress"] == "127.0.0.1"
