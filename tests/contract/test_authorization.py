"""Authorization tokens: what GetAuthorizationToken hands out, and what it opens."""

import base64
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import connect, refused

ACCOUNTS = ["123456789012", "000000000000", "210987654321"]


@pytest.fixture
def guarded():
    """A server that wants a token on /v2/."""
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, auth="token")) as server:
        yield server


@pytest.fixture
def client(guarded):
    """A client of the server that wants a token."""
    return connect(guarded.url)


def password_of(token):
    user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    assert user == "AWS"
    return password


def status(server, token=None, path="/v2/"):
    request = urllib.request.Request(f"{server.url}{path}")
    if token is not None:
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_token_is_for_twelve_hours_at_the_proxy_endpoint(server, ecr):
    asked = datetime.now(UTC)
    (data,) = ecr.get_authorization_token()["authorizationData"]
    assert data.keys() == {"authorizationToken", "expiresAt", "proxyEndpoint"}
    assert data["proxyEndpoint"] == server.url
    assert abs(data["expiresAt"] - asked - timedelta(hours=12)) < timedelta(seconds=10)
    assert password_of(data["authorizationToken"])


def test_each_registry_that_is_named_gets_a_token(server, ecr):
    answers = ecr.get_authorization_token(registryIds=ACCOUNTS)["authorizationData"]
    assert [data["proxyEndpoint"] for data in answers] == 3 * [server.url]
    assert len({data["authorizationToken"] for data in answers}) == 3


def test_a_tokens_registry_is_where_it_pulls_from(guarded, client):
    client.create_repository(repositoryName="app", registryId=ACCOUNTS[0])
    answers = client.get_authorization_token(registryIds=ACCOUNTS)["authorizationData"]
    found = [status(guarded, data["authorizationToken"], "/v2/app/tags/list") for data in answers]
    assert found == [200, 404, 404]


@pytest.mark.parametrize("ids", [["12345678901"], ["123456789012", "x"]])
def test_ids_have_twelve_digits(ecr, ids):
    assert refused(ecr.get_authorization_token, registryIds=ids) == (
        "InvalidParameterException",
        "Invalid parameter at 'registryIds' failed to satisfy constraint: 'Member must satisfy constraint: "
        "[Member must satisfy regular expression pattern: [0-9]{12}]'",
    )


def test_the_token_opens_the_data_plane_until_it_expires(guarded, client):
    (data,) = client.get_authorization_token()["authorizationData"]
    token = data["authorizationToken"]
    assert status(guarded) == 401
    assert status(guarded, base64.b64encode(b"AWS:made up").decode()) == 401
    assert status(guarded, base64.b64encode(f"root:{password_of(token)}".encode()).decode()) == 401
    assert status(guarded, token) == 200
    guarded.advance_clock(12 * 3600 - 10)
    assert status(guarded, token) == 200
    guarded.advance_clock(20)
    assert status(guarded, token) == 403
    (data,) = client.get_authorization_token()["authorizationData"]
    assert status(guarded, data["authorizationToken"]) == 200


def test_a_page_token_is_no_password(guarded, client):
    for name in ("one", "two"):
        client.create_repository(repositoryName=name)
    page_token = client.describe_repositories(maxResults=1)["nextToken"]
    assert status(guarded, base64.b64encode(f"AWS:{page_token}".encode()).decode()) == 401


def test_the_proxy_endpoint_is_the_public_one():
    public = "{account}.dkr.ecr.{region}.example.test:8443"
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, public_endpoint=public)) as server:
        client = connect(server.url, ACCOUNTS[0], "eu-west-1")
        host = "123456789012.dkr.ecr.eu-west-1.example.test:8443"
        (data,) = client.get_authorization_token()["authorizationData"]
        assert data["proxyEndpoint"] == f"http://{host}"
        created = client.create_repository(repositoryName="app")["repository"]
        assert created["repositoryUri"] == f"{host}/app"
