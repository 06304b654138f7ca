"""Clients that go away, that are slow, and that want the same thing at once."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.conftest import sha256
from tests.contract.oci_client import Answer, OciClient, chunk_range
from tests.faults.conftest import ServerProcess, begin_request, eventually, upload_files

MIB = 1024 * 1024
CONTENT = random.Random(1).randbytes(6 * MIB)
DIGEST = sha256(CONTENT)
ACKNOWLEDGED = 2 * MIB
SLOW_CLIENTS = 40


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess("--data-dir", str(tmp_path_factory.mktemp("data"))) as process:
        yield process


@pytest.fixture
def server(running: ServerProcess) -> ServerProcess:
    """A server that has nothing but the repository app."""
    running.manage("reset", {})
    running.api.create_repository(repositoryName="app")
    return running


@pytest.fixture
def data_dir(running: ServerProcess) -> Path:
    return Path(running.arguments[1])


def hang_up(connection: socket.socket, how: str) -> None:
    if how == "reset":
        # Lingering for no time sends RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def begun_upload(oci: OciClient) -> str:
    """Begin an upload with ACKNOWLEDGED bytes and return its location."""
    location = oci.begin_upload("app")
    assert oci.patch(location, CONTENT[:ACKNOWLEDGED]).status == 202
    return location


def at_once(*calls: Callable[[], Answer]) -> list[Answer]:
    """Make calls that begin at the same moment, each in a thread."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Answer]) -> Answer:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("sent", [0, 1, 3 * MIB], ids=["head", "a byte", "half"])
def test_a_part_that_breaks_off_leaves_nothing(
    server: ServerProcess, data_dir: Path, how: str, method: str, sent: int
) -> None:
    location = begun_upload(server.oci)
    path = location if method == "PATCH" else f"{location}?digest={DIGEST}"
    rest = CONTENT[ACKNOWLEDGED:]
    file = data_dir / "uploads" / location.rpartition("/")[2]
    connection = begin_request(server.address, method, path, len(rest), rest[:sent])
    if sent > MIB:
        eventually(lambda: file.stat().st_size > ACKNOWLEDGED)
    hang_up(connection, how)
    eventually(lambda: file.stat().st_size == ACKNOWLEDGED)
    assert server.oci.get(location).headers["Range"] == f"0-{ACKNOWLEDGED - 1}"
    assert server.oci.head(f"/v2/app/blobs/{DIGEST}").status == 404
    assert server.oci.patch(location, rest, chunk_range(ACKNOWLEDGED, rest)).status == 202
    assert server.oci.put(f"{location}?digest={DIGEST}").status == 201
    assert server.oci.get(f"/v2/app/blobs/{DIGEST}").body == CONTENT


def test_a_streamed_part_without_its_last_chunk_leaves_nothing(server: ServerProcess, data_dir: Path) -> None:
    location = begun_upload(server.oci)
    file = data_dir / "uploads" / location.rpartition("/")[2]
    host, _, port = server.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{3 * MIB:x}\r\n"
    connection.sendall(head.encode() + CONTENT[ACKNOWLEDGED : ACKNOWLEDGED + 3 * MIB] + b"\r\n")
    eventually(lambda: file.stat().st_size > ACKNOWLEDGED)
    connection.close()
    eventually(lambda: file.stat().st_size == ACKNOWLEDGED)
    assert server.oci.get(location).headers["Range"] == f"0-{ACKNOWLEDGED - 1}"
    assert server.oci.put(f"{location}?digest={DIGEST}", CONTENT[ACKNOWLEDGED:]).status == 201


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_whole_blob_that_breaks_off_leaves_no_upload(
    server: ServerProcess, data_dir: Path, how: str
) -> None:
    path = f"/v2/app/blobs/uploads/?digest={DIGEST}"
    connection = begin_request(server.address, "POST", path, len(CONTENT), CONTENT[: 3 * MIB])
    eventually(lambda: upload_files(data_dir) != [])
    hang_up(connection, how)
    eventually(lambda: upload_files(data_dir) == [])
    assert server.oci.head(f"/v2/app/blobs/{DIGEST}").status == 404
    assert server.oci.post(path, CONTENT).status == 201
    assert server.oci.get(f"/v2/app/blobs/{DIGEST}").body == CONTENT


def test_a_manifest_that_breaks_off_is_not_stored(server: ServerProcess) -> None:
    image = server.oci.push_image("app", "v1")
    newer = server.oci.push_image("app", seed="newer")
    connection = begin_request(
        server.address, "PUT", "/v2/app/manifests/v1", len(newer.manifest), newer.manifest[:-1]
    )
    connection.close()
    time.sleep(0.1)
    assert server.oci.get("/v2/app/manifests/v1").body == image.manifest


def test_a_download_that_breaks_off_harms_nobody(server: ServerProcess) -> None:
    logged = len(server.lines)
    server.oci.push_blob("app", CONTENT)
    for _ in range(20):
        connection = begin_request(server.address, "GET", f"/v2/app/blobs/{DIGEST}", 0, b"")
        assert connection.recv(1000)
        hang_up(connection, "reset")
    assert server.oci.get(f"/v2/app/blobs/{DIGEST}").body == CONTENT
    assert "Traceback" not in "\n".join(server.lines[logged:])


def test_a_client_that_went_away_is_no_error_in_the_log(server: ServerProcess, data_dir: Path) -> None:
    logged = len(server.lines)
    location = begun_upload(server.oci)
    file = data_dir / "uploads" / location.rpartition("/")[2]
    for how in ("reset", "close"):
        connection = begin_request(server.address, "PATCH", location, 5 * MIB, CONTENT[: 3 * MIB])
        eventually(lambda: file.stat().st_size > ACKNOWLEDGED)
        hang_up(connection, how)
        eventually(lambda: file.stat().st_size == ACKNOWLEDGED)
    eventually(lambda: sum(" status=499 " in line for line in server.lines[logged:]) == 2)
    log = "\n".join(server.lines[logged:])
    assert "Traceback" not in log
    assert " error " not in log


def test_slow_clients_do_not_hold_up_fast_ones(server: ServerProcess) -> None:
    server.oci.push_blob("app", CONTENT)
    content = b"trickles"
    with contextlib.ExitStack() as stack:
        uploads = []
        for _ in range(SLOW_CLIENTS):
            location = server.oci.begin_upload("app")
            path = f"{location}?digest={sha256(content)}"
            connection = begin_request(server.address, "PUT", path, len(content), content[:3])
            stack.callback(connection.close)
            uploads.append(connection)
        downloads = []
        for _ in range(SLOW_CLIENTS):
            connection = begin_request(server.address, "GET", f"/v2/app/blobs/{DIGEST}", 0, b"")
            stack.callback(connection.close)
            downloads.append(connection)

        # As many as hold up every thread that the server may have: the others go on all the same.
        started = time.monotonic()
        for number in range(10):
            image = server.oci.push_image("app", f"v{number}", seed=str(number))
            assert server.oci.get(f"/v2/app/manifests/v{number}").body == image.manifest
            assert server.oci.get(f"/v2/app/blobs/{DIGEST}").body == CONTENT
        assert time.monotonic() - started < 10

        for connection in uploads:
            connection.sendall(content[3:])
            assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
        for connection in downloads:
            received = 0
            while received < len(CONTENT):
                data = connection.recv(MIB)
                assert data
                received += len(data)
    assert server.oci.get(f"/v2/app/blobs/{sha256(content)}").body == content


def test_a_request_that_is_never_sent_whole_does_not_hold_up_others(server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for number in range(SLOW_CLIENTS):
            connection = socket.create_connection((host, int(port)), timeout=30)
            stack.callback(connection.close)
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: y\r\n"[: number + 1])
        assert server.oci.push_image("app", "v1").digest
        assert [entry["imageTag"] for entry in server.api.list_images(repositoryName="app")["imageIds"]] == [
            "v1"
        ]


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH and PUT"])
def test_clients_that_push_the_same_blob_at_once_both_succeed(server: ServerProcess, way: str) -> None:
    server.api.create_repository(repositoryName="other")

    def push(repository: str) -> Callable[[], Answer]:
        if way == "POST":
            return lambda: server.oci.post(f"/v2/{repository}/blobs/uploads/?digest={DIGEST}", CONTENT)
        location = server.oci.begin_upload(repository)
        if way == "PUT":
            return lambda: server.oci.put(f"{location}?digest={DIGEST}", CONTENT)
        server.oci.patch(location, CONTENT)
        return lambda: server.oci.put(f"{location}?digest={DIGEST}")

    answers = at_once(*(push(repository) for repository in ("app", "app", "app", "other", "other")))
    assert [answer.status for answer in answers] == [201] * 5
    for repository in ("app", "other"):
        assert server.oci.get(f"/v2/{repository}/blobs/{DIGEST}").body == CONTENT


def test_clients_that_push_the_same_image_at_once_all_succeed(server: ServerProcess) -> None:
    image = server.oci.push_image("app")
    answers = at_once(*[lambda: server.oci.push_manifest("app", "v1", image.manifest)] * 6)
    assert [answer.status for answer in answers] == [201] * 6
    (detail,) = server.api.describe_images(repositoryName="app")["imageDetails"]
    assert (detail["imageDigest"], detail["imageTags"]) == (image.digest, ["v1"])


def test_one_of_the_images_that_want_an_immutable_tag_at_once_gets_it(server: ServerProcess) -> None:
    server.api.put_image_tag_mutability(repositoryName="app", imageTagMutability="IMMUTABLE")
    images = [server.oci.push_image("app", seed=str(number)) for number in range(6)]
    answers = at_once(
        *(
            lambda manifest=image.manifest: server.oci.push_manifest("app", "v1", manifest)  # type: ignore[misc]
            for image in images
        )
    )
    assert sorted(answer.status for answer in answers) == [201, 400, 400, 400, 400, 400]
    (winner,) = [image for image, answer in zip(images, answers, strict=True) if answer.status == 201]
    assert server.oci.get("/v2/app/manifests/v1").body == winner.manifest


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_chunks_for_the_same_place_exactly_one_is_taken(server: ServerProcess, attempt: int) -> None:
    location = server.oci.begin_upload("app")
    chunks = [bytes([number]) * (3 * MIB) for number in (1, 2)]
    answers = at_once(
        *(
            lambda chunk=chunk: server.oci.patch(location, chunk, chunk_range(0, chunk))  # type: ignore[misc]
            for chunk in chunks
        )
    )
    assert sorted(answer.status for answer in answers) == [202, 416]
    for answer in answers:
        assert answer.headers["Range"] == f"0-{3 * MIB - 1}"
    (taken,) = [chunk for chunk, answer in zip(chunks, answers, strict=True) if answer.status == 202]
    assert server.oci.put(f"{location}?digest={sha256(taken)}").status == 201
    assert server.oci.get(f"/v2/app/blobs/{sha256(taken)}").body == taken


def test_a_part_is_refused_while_another_is_under_way(server: ServerProcess, data_dir: Path) -> None:
    location = begun_upload(server.oci)
    file = data_dir / "uploads" / location.rpartition("/")[2]
    rest = CONTENT[ACKNOWLEDGED:]
    with begin_request(server.address, "PATCH", location, len(rest), rest[: 3 * MIB]) as first:
        # Only what is being written holds the upload: until then, another part may come first.
        eventually(lambda: file.stat().st_size > ACKNOWLEDGED)
        ranged = chunk_range(ACKNOWLEDGED, b"intruder")
        for refused in at_once(
            lambda: server.oci.patch(location, b"intruder", ranged),
            lambda: server.oci.patch(location, b"intruder"),
            lambda: server.oci.put(f"{location}?digest={DIGEST}", b"intruder", ranged),
            lambda: server.oci.put(f"{location}?digest={DIGEST}", b"intruder"),
        ):
            assert refused.error == (416, "BLOB_UPLOAD_INVALID")
            assert refused.headers["Range"] == f"0-{ACKNOWLEDGED - 1}"
        first.sendall(rest[3 * MIB :])
        assert first.recv(1000).startswith(b"HTTP/1.1 202 ")
    assert server.oci.put(f"{location}?digest={DIGEST}").status == 201
    assert server.oci.get(f"/v2/app/blobs/{DIGEST}").body == CONTENT
