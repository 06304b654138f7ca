"""Clients that send a byte now and then, to hold connections: they are cut off, and hold nobody up."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import OCI_MANIFEST, sha256
from tests.faults.conftest import ServerProcess, begin_request, upload_files

# Seconds without progress after which a client is cut off, and within which that has to have come about.
TIMEOUT = 2
PATIENCE = 8
KIB = b"x" * 1024
CONTENT = KIB * 16


@pytest.fixture
def server(data_dir: Path) -> Iterator[ServerProcess]:
    flags = ["--data-dir", str(data_dir), "--body-timeout", str(TIMEOUT), "--idle-timeout", str(TIMEOUT)]
    with ServerProcess(*flags) as process:
        process.api.create_repository(repositoryName="app")
        yield process


def drip(connection: socket.socket, text: bytes) -> bytes:
    """Send a byte every half a second until the server answers or hangs up; return what it said."""
    connection.settimeout(0.5)
    deadline = time.monotonic() + PATIENCE
    for byte in text:
        with contextlib.suppress(TimeoutError, ConnectionError):
            return connection.recv(10_000)
        assert time.monotonic() < deadline, "the client is not cut off"
        try:
            connection.sendall(bytes([byte]))
        except ConnectionError:
            return b""
    pytest.fail("the client is not cut off")


def status(answer: bytes) -> bytes:
    return answer.split(b" ")[1]


def test_an_upload_is_not_advanced_by_a_body_that_drips_in(server: ServerProcess, data_dir: Path) -> None:
    location = server.oci.begin_upload("app")
    assert server.oci.patch(location, CONTENT).status == 202
    with begin_request(server.address, "PATCH", location, 100_000, KIB) as connection:
        assert status(drip(connection, CONTENT)) == b"408"
    answer = server.oci.get(location)
    assert (answer.status, answer.headers["Range"]) == (204, f"0-{len(CONTENT) - 1}")
    assert (data_dir / "uploads" / upload_files(data_dir)[0]).stat().st_size == len(CONTENT)
    # Another request goes on from there.
    digest = sha256(CONTENT + b"end")
    assert server.oci.put(f"{location}?digest={digest}", b"end").status == 201
    assert server.oci.get(f"/v2/app/blobs/{digest}").body == CONTENT + b"end"


def test_an_upload_of_one_request_leaves_nothing(server: ServerProcess, data_dir: Path) -> None:
    path = f"/v2/app/blobs/uploads/?digest={sha256(CONTENT)}"
    with begin_request(server.address, "POST", path, len(CONTENT), b"x") as connection:
        assert status(drip(connection, CONTENT)) == b"408"
    assert upload_files(data_dir) == []


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PUT", "/v2/app/manifests/v1", f"Content-Type: {OCI_MANIFEST}"),
        ("POST", "/", "X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"),
        ("POST", "/_emulator/clock", "Accept: */*"),
    ],
)
def test_every_other_body_has_to_come_in_time_too(
    server: ServerProcess, method: str, path: str, headers: str
) -> None:
    host, _, port = server.address.rpartition(":")
    head = f"{method} {path} HTTP/1.1\r\nHost: {server.address}\r\n{headers}\r\nContent-Length: 5000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + b"{")
        assert status(drip(connection, CONTENT)) == b"408"
    assert "Traceback" not in server.log


def test_a_head_that_drips_in_ends_the_connection(server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\n")
        assert drip(connection, b"Host: " + KIB) == b""


def test_a_slow_body_that_goes_on_is_taken(server: ServerProcess) -> None:
    digest = sha256(KIB * 10)
    location = server.oci.begin_upload("app")
    path = f"{location}?digest={digest}"
    with begin_request(server.address, "PUT", path, len(KIB) * 10, b"") as connection:
        for _ in range(10):
            time.sleep(TIMEOUT / 4)
            connection.sendall(KIB)
        assert status(connection.recv(10_000)) == b"201"


def test_slow_clients_hold_nobody_up(server: ServerProcess) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            location = server.oci.begin_upload("app")
            stack.enter_context(begin_request(server.address, "PATCH", location, 100_000, b"x"))
        began = time.monotonic()
        image = server.oci.push_image("app", "v1")
        assert json.loads(server.oci.get("/v2/app/tags/list").body)["tags"] == ["v1"]
        assert server.oci.get("/v2/app/manifests/v1").body == image.manifest
        assert time.monotonic() - began < TIMEOUT
