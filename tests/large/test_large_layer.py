"""A layer of 5 GiB: more than 32 bits can count, and many times what the server's memory may be."""

import contextlib
import hashlib
import http.client
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import OCI_LAYER, image_manifest
from tests.contract.oci_client import exchange
from tests.faults.conftest import ServerProcess
from tests.faults.test_memory import LIMIT, MIB, pieces, watched

SIZE = 5 * 1024 * MIB


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder on the disk that is gone when the test is over, whatever it held."""
    folder = Path(tempfile.mkdtemp(prefix="ecr-large-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.timeout(600)
def test_a_layer_of_5_gib(folder: Path) -> None:
    hasher = hashlib.sha256()

    def body() -> Iterator[bytes]:
        for piece in pieces(0, SIZE):
            hasher.update(piece)
            yield piece

    flags = ["--data-dir", str(folder), "--engines", "off", "--garbage-grace", "0"]
    with ServerProcess(*flags) as server, watched(server) as seen:
        server.api.create_repository(repositoryName="app")
        connection = http.client.HTTPConnection(server.address, timeout=300)
        with contextlib.closing(connection):
            location = exchange(connection, "POST", "/v2/app/blobs/uploads/").headers["Location"]
            answer = exchange(connection, "PATCH", location, body())
            assert (answer.status, answer.headers["Range"]) == (202, f"0-{SIZE - 1}")
            digest = f"sha256:{hasher.hexdigest()}"
            assert exchange(connection, "PUT", f"{location}?digest={digest}").status == 201

            path = f"/v2/app/blobs/{digest}"
            assert exchange(connection, "HEAD", path).headers["Content-Length"] == str(SIZE)
            first = SIZE - MIB
            tail = exchange(connection, "GET", path, headers={"Range": f"bytes={first}-"})
            assert (tail.status, tail.headers["Content-Range"]) == (206, f"bytes {first}-{SIZE - 1}/{SIZE}")
            assert tail.body == next(pieces(first, SIZE))
        checked = server.api.batch_check_layer_availability(repositoryName="app", layerDigests=[digest])
        assert checked["layers"][0]["layerSize"] == SIZE

        config = b"{}"
        server.oci.push_blob("app", config)
        layer = {"mediaType": OCI_LAYER, "digest": digest, "size": SIZE}
        manifest = json.dumps({**json.loads(image_manifest(config)), "layers": [layer]}).encode()
        assert server.oci.push_manifest("app", "v1", manifest).status == 201
        (image,) = server.api.describe_images(repositoryName="app")["imageDetails"]
        assert image["imageSizeInBytes"] == SIZE + len(config)

        server.api.batch_delete_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
        assert server.oci.get("/_emulator/garbage").json()["bytes"] == SIZE + len(config)
        assert server.manage("run/garbage", {}) == {"done": 4}
        assert not any(path.is_file() for path in (folder / "blobs").rglob("*"))
        assert max(seen) < LIMIT
