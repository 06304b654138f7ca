"""TLS on both planes, by clients that trust the server's CA and nobody else."""

import base64
import http.client
import json
import logging
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError

from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from ecr_emulator.tls import certificates
from tests.contract.conftest import image_manifest, sha256, upload_layer

# What is refused, or spoken, before anything is stored: the same whatever the stores are.
pytestmark = pytest.mark.local


@pytest.fixture(scope="session")
def ecr_server():
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, tls="on")) as server:
        yield server


def trusting(ca_file):
    return ssl.create_default_context(cafile=ca_file)


def connect(server, host="127.0.0.1", context=None):
    """Connect to the server under a name that need not resolve, and check that its certificate has it."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return (context or trusting(server.ca_file)).wrap_socket(plain, server_hostname=host)


def connect_to_api(server):
    return boto3.client(
        "ecr",
        endpoint_url=server.url,
        verify=str(server.ca_file),
        region_name="eu-west-1",
        aws_access_key_id="123456789012",
        aws_secret_access_key="testing",
    )


def request(server, method, path, body=None, headers=None):
    connection = http.client.HTTPSConnection(server.address, context=trusting(server.ca_file), timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_what_is_pushed_on_one_plane_is_there_on_the_other(server, ecr, repository):
    config, layer = b"{}", bytes(range(256)) * 20_000
    for blob in (config, layer):
        status, headers, _ = request(server, "POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202
        path = f"{headers['Location']}?digest={sha256(blob)}"
        assert request(server, "PUT", path, blob)[0] == 201
    manifest = image_manifest(config, layer)
    media_type = {"Content-Type": json.loads(manifest)["mediaType"]}
    assert request(server, "PUT", f"/v2/{repository}/manifests/v1", manifest, media_type)[0] == 201

    [image] = ecr.describe_images(repositoryName=repository)["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (sha256(manifest), ["v1"])
    status, _, body = request(server, "GET", f"/v2/{repository}/blobs/{sha256(layer)}")
    assert (status, body) == (200, layer)


def test_what_is_uploaded_by_the_api_is_pulled(server, ecr, repository):
    content = b"by the API" * 100_000
    digest = upload_layer(ecr, repository, content)
    assert request(server, "GET", f"/v2/{repository}/blobs/{digest}")[2] == content


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "::1", "localhost", socket.gethostname().lower()),
        *("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com"),
        *("123456789012.dkr-ecr.eu-west-1.on.aws", "ecr.us-east-1.api.aws"),
        *("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",),
    ],
)
def test_the_certificate_is_valid_for(server, host):
    with connect(server, host) as connection:
        assert connection.selected_alpn_protocol() is None
        connection.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host",
    ["example.com", "dkr.ecr.eu-west-1.amazonaws.com", "a.b.dkr.ecr.eu-west-1.amazonaws.com", "192.0.2.1"],
)
def test_the_certificate_is_not_valid_for(server, host):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        connect(server, host)


def test_nobody_trusts_the_certificate_unasked(server):
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, context=ssl.create_default_context())
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("AWS_CA_BUNDLE")
        config = Config(retries={"total_max_attempts": 1})
        client = boto3.client("ecr", endpoint_url=server.url, config=config)
        with pytest.raises(SSLError):
            client.describe_repositories()


def test_http_1_1_is_chosen_where_newer_is_offered(server):
    context = trusting(server.ca_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connect(server, context=context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_in_use_are_spoken(server, version):
    context = trusting(server.ca_file)
    context.minimum_version = context.maximum_version = version
    with connect(server, context=context) as connection:
        assert connection.version() == version.name.replace("v1_", "v1.")


def test_plain_http_gets_no_answer_and_the_server_goes_on(server):
    connection = http.client.HTTPConnection(server.address, timeout=10)
    connection.request("GET", "/v2/")
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        connection.getresponse()
    connection.close()
    assert request(server, "GET", "/_emulator/ready")[0] == 200


def test_everything_that_names_a_scheme_names_https(server, ecr, repository):
    assert server.url == f"https://127.0.0.1:{server.port}"
    [data] = ecr.get_authorization_token()["authorizationData"]
    assert data["proxyEndpoint"] == server.url
    [described] = ecr.describe_repositories()["repositories"]
    assert described["repositoryUri"] == f"127.0.0.1:{server.port}/{repository}"


def test_a_download_url_leads_back_over_tls(server, ecr, repository):
    config, layer = b"{}", b"a layer"
    upload_layer(ecr, repository, config)
    digest = upload_layer(ecr, repository, layer)
    ecr.put_image(repositoryName=repository, imageManifest=image_manifest(config, layer).decode())
    url = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)["downloadUrl"]
    assert url.startswith(f"{server.url}/")
    with urllib.request.urlopen(url, context=trusting(server.ca_file)) as response:
        assert response.read() == layer


def test_a_client_is_asked_to_log_in_at_an_https_realm():
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, tls="on", auth="token")) as server:
        status, headers, _ = request(server, "GET", "/v2/")
        assert status == 401
        assert headers["WWW-Authenticate"].startswith(f'Basic realm="{server.url}/"')
        [data] = connect_to_api(server).get_authorization_token()["authorizationData"]
        assert base64.b64decode(data["authorizationToken"]).startswith(b"AWS:")
        login = {"Authorization": f"Basic {data['authorizationToken']}"}
        assert request(server, "GET", "/v2/", headers=login)[0] == 200


def test_the_public_endpoints_host_is_one_of_the_names():
    settings = Settings(data_dir=MEMORY, port=0, tls="on", public_endpoint="{account}.{region}.ecr.test:443")
    with BackgroundServer(settings) as server:
        connect(server, "123456789012.eu-west-1.ecr.test").close()
        with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
            connect(server, "eu-west-1.ecr.test")


def test_the_ca_is_given_to_those_who_ask(server):
    status, headers, body = request(server, "GET", "/_emulator/tls/ca.pem")
    assert (status, headers["Content-Type"]) == (200, "application/x-pem-file")
    assert body == server.ca_file.read_bytes()
    assert b"PRIVATE" not in body
    context = ssl.create_default_context(cadata=body.decode())
    connect(server, context=context).close()
    assert request(server, "POST", "/_emulator/tls/ca.pem")[0] == 405


def test_a_server_without_tls_has_no_ca():
    with BackgroundServer() as server:
        assert (server.url[:7], server.ca_file) == ("http://", None)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"{server.url}/_emulator/tls/ca.pem")
        assert raised.value.code == 404
        raised.value.close()


def test_those_who_trust_the_ca_do_so_after_a_restart_a_reset_and_a_change_of_names(tmp_path):
    with BackgroundServer(Settings(data_dir=str(tmp_path), port=0, tls="on")) as server:
        trusted = trusting(server.ca_file)
        assert server.ca_file == tmp_path / "tls" / "ca.pem"
        server.reset()
        connect(server, context=trusted).close()
    settings = Settings(data_dir=str(tmp_path), port=0, tls="on", public_endpoint="registry.test")
    with BackgroundServer(settings) as server:
        connect(server, "registry.test", trusted).close()


def test_the_clock_of_the_emulator_does_not_end_the_certificate(server):
    server.advance_clock(20 * 365 * 24 * 3600)
    connect(server).close()
    server.reset()


def test_a_client_that_stays_connected_does_not_hold_up_the_end():
    server = BackgroundServer(Settings(data_dir=MEMORY, port=0, tls="on")).start()
    with connect(server) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        server.stop()
    assert time.monotonic() - began < 5


def test_a_slow_client_gets_all_of_an_answer_that_the_end_came_upon():
    content = bytes(range(256)) * (1 << 14)
    server = BackgroundServer(Settings(data_dir=MEMORY, port=0, tls="on")).start()
    client = connect_to_api(server)
    client.create_repository(repositoryName="app")
    digest = upload_layer(client, "app", content)
    with socket.socket() as plain:
        # As little as possible in the buffers of the system.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        plain.connect(("127.0.0.1", server.port))
        with trusting(server.ca_file).wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(f"GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            end = threading.Thread(target=server.stop)
            end.start()
            assert b"".join(slowly(response)) == content
    end.join()


def slowly(response):
    """Read a response with a pause after each part."""
    while part := response.read(1 << 14):
        yield part
        time.sleep(0.005)


@pytest.fixture
def given(tmp_path):
    """Settings with a certificate of a CA that the server does not know, for registry.test."""
    now = datetime.now(UTC)
    authority = certificates.new_authority(now)
    signed = certificates.new_server(authority, {"registry.test"}, now)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "certificate.pem").write_bytes(signed.certificate_pem)
    (tmp_path / "key.pem").write_bytes(signed.key_pem)
    return Settings(
        data_dir=str(tmp_path / "data"),
        port=0,
        tls="on",
        tls_certificate=str(tmp_path / "certificate.pem"),
        tls_key=str(tmp_path / "key.pem"),
    )


def test_a_given_certificate_is_shown_and_no_ca_made(given, tmp_path):
    with BackgroundServer(given) as server:
        connect(server, "registry.test", trusting(tmp_path / "ca.pem")).close()
        assert server.url.startswith("https://")
        assert server.ca_file is None
        server.reset()
        with pytest.raises(urllib.error.HTTPError) as raised:
            server.manage("tls/ca.pem", {})
        raised.value.close()
    assert not (tmp_path / "data" / "tls").exists()


def test_a_certificate_that_can_not_be_used_keeps_the_server_from_starting(given, tmp_path):
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(StartError, match="can't use the certificate"):
        BackgroundServer(given).start()
    made = tmp_path / "data" / "tls"
    made.mkdir(parents=True)
    (made / "ca.pem").write_text("no certificate")
    with pytest.raises(StartError, match="can't use the certificates in"):
        BackgroundServer(Settings(data_dir=str(tmp_path / "data"), port=0, tls="on")).start()


@pytest.mark.parametrize(
    ("host", "auth", "warns"),
    [
        ("0.0.0.0", "off", True),
        ("0.0.0.0", "token", False),
        ("127.0.0.1", "off", False),
        ("localhost", "off", False),
    ],
)
def test_a_server_open_to_strangers_says_so(caplog, host, auth, warns):
    with (
        caplog.at_level(logging.WARNING, "ecr_emulator"),
        BackgroundServer(Settings(data_dir=MEMORY, port=0, host=host, auth=auth)),
    ):
        said = [record.getMessage() for record in caplog.records if "auth is off" in record.getMessage()]
    assert said == (
        ["auth is off: whoever reaches 0.0.0.0 can read, push and delete everything"] if warns else []
    )
