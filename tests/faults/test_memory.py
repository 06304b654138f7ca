"""Blobs, and other bodies, that are larger than the memory the server may take."""

import contextlib
import hashlib
import http.client
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ecr_emulator.control.endpoint import MAX_LARGE_REQUEST_SIZE
from tests.contract.oci_client import exchange
from tests.faults.conftest import ServerProcess

MIB = 1024 * 1024
SIZE = 2048 * MIB
# Of the blob that is sent at once.
SMALLER_SIZE = 512 * MIB
LIMIT = 150 * MIB
# Seconds between two looks at the server's memory.
INTERVAL = 0.02
# What pieces of the blob have in common, so that making them takes no time.
FILLING = bytes(range(256)) * 4096


def pieces(first: int, end: int) -> Iterator[bytes]:
    """Give the blob from one position to another, in pieces of a MiB that all differ."""
    for position in range(first, end, MIB):
        yield position.to_bytes(8, "big") + FILLING[8:]


def digest_of(chunks: Iterable[bytes]) -> str:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return f"sha256:{hasher.hexdigest()}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder on the disk that is gone when the test is over, whatever it held."""
    # Not /tmp, which may be in memory.
    folder = Path(tempfile.mkdtemp(prefix="ecr-memory-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def watched(server: ServerProcess) -> Iterator[list[int]]:
    """Look at the server's memory again and again, and give what was seen."""
    seen = [server.memory]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(INTERVAL):
            seen.append(server.memory)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def push_in_chunks(connection: http.client.HTTPConnection, digest: str) -> int:
    """Stream one half, send a quarter as a chunk of known length and the rest with the PUT."""
    location = exchange(connection, "POST", "/v2/app/blobs/uploads/").headers["Location"]
    half, quarter = SIZE // 2, SIZE // 4
    answer = exchange(connection, "PATCH", location, pieces(0, half))
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{half - 1}")
    for method, target, first in (
        ("PATCH", location, half),
        ("PUT", f"{location}?digest={digest}", half + quarter),
    ):
        headers = {"Content-Range": f"{first}-{first + quarter - 1}", "Content-Length": str(quarter)}
        answer = exchange(connection, method, target, pieces(first, first + quarter), headers)
    return answer.status


def push_at_once(connection: http.client.HTTPConnection, digest: str) -> int:
    """Send all of the smaller blob with the PUT."""
    location = exchange(connection, "POST", "/v2/app/blobs/uploads/").headers["Location"]
    headers = {"Content-Length": str(SMALLER_SIZE)}
    body = pieces(0, SMALLER_SIZE)
    return exchange(connection, "PUT", f"{location}?digest={digest}", body, headers).status


def pull(connection: http.client.HTTPConnection, digest: str) -> str:
    """Pull a blob and return the digest of what came."""
    connection.request("GET", f"/v2/app/blobs/{digest}")
    response = connection.getresponse()
    assert response.status == 200
    return digest_of(iter(lambda: response.read(MIB), b""))


def test_a_blob_of_2_gib_goes_in_and_out_without_filling_the_memory(folder: Path) -> None:
    digest, smaller_digest = digest_of(pieces(0, SIZE)), digest_of(pieces(0, SMALLER_SIZE))
    with ServerProcess("--data-dir", str(folder)) as server, watched(server) as seen:
        server.api.create_repository(repositoryName="app")
        connection = http.client.HTTPConnection(server.address, timeout=60)
        highest = {}
        with contextlib.closing(connection):
            assert push_in_chunks(connection, digest) == 201
            highest["pushed in chunks"] = max(seen)
            assert push_at_once(connection, smaller_digest) == 201
            highest["pushed at once"] = max(seen)
            assert pull(connection, digest) == digest
            highest["pulled"] = max(seen)
    assert len(seen) > 100
    assert max(seen) < LIMIT, {step: f"{size // MIB} MiB" for step, size in highest.items()}


def refused(server: ServerProcess, method: str, path: str, body: bytes | Iterator[bytes]) -> None:
    """Send what is too much of something; the server may hang up before it has all."""
    target = {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.PutImage"}
    with (
        contextlib.closing(http.client.HTTPConnection(server.address, timeout=60)) as connection,
        contextlib.suppress(ConnectionError),
    ):
        assert 400 <= exchange(connection, method, path, body, target if path == "/" else {}).status < 500


def test_what_is_no_blob_does_not_fill_the_memory() -> None:
    with ServerProcess("--data-dir", ":memory:") as server:
        server.api.create_repository(repositoryName="app")
        for content in (b"[],", b"[", b"9"):
            body = b'{"unknown": [' + content * (MAX_LARGE_REQUEST_SIZE // len(content) - 16) + b"1]}"
            refused(server, "POST", "/", body)
        for method, path in (
            ("POST", "/"),
            ("PUT", "/v2/app/manifests/v1"),
            ("POST", "/_emulator/reset"),
        ):
            refused(server, method, path, pieces(0, 64 * MIB))
        # A request of 32 MiB is in memory as bytes, as text, and where that is one number once more.
        assert server.peak_memory < LIMIT + 3 * MAX_LARGE_REQUEST_SIZE
        assert server.oci.get("/v2/").status == 200
