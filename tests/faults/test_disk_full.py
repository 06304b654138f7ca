"""A disk that fills up: pushes fail with an error, nothing is half there, and room makes all well again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import put_image, sha256
from tests.contract.oci_client import Answer, OciClient, PushedImage
from tests.faults.conftest import ServerProcess, keys, upload_files

MIB = 1024 * 1024
SIZE = 8 * MIB
TOO_LARGE = os.urandom(12 * MIB)
SMALL = os.urandom(2 * MIB)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.fail(
            f"this test has to be run as root, to mount a small disk: {mounted.stderr}", pytrace=False
        )
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(params=["plain", "encrypted"])
def server(request: pytest.FixtureRequest, disk: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on the small disk, with the repository app."""
    more = keys(tmp_path) if request.param == "encrypted" else ()
    with ServerProcess("--data-dir", str(disk / "data"), *more) as process:
        process.api.create_repository(repositoryName="app")
        yield process


@pytest.fixture
def image(server: ServerProcess) -> PushedImage:
    """An image that was pushed before the disk filled up."""
    return server.oci.push_image("app", "v1")


def fill(disk: Path) -> Path:
    """Leave not a byte on the disk and return the file that takes it up."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


def free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def assert_failed(answer: Answer) -> None:
    assert answer.error == (500, "UNKNOWN")
    assert answer.message


def assert_intact(oci: OciClient, tag: str, image: PushedImage) -> None:
    answer = oci.head(f"/v2/app/manifests/{tag}")
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, image.digest)
    for content in image.blobs:
        assert oci.get(f"/v2/app/blobs/{sha256(content)}").body == content


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH"])
def test_a_blob_past_the_room_fails_and_its_room_is_free_again(
    server: ServerProcess, disk: Path, image: PushedImage, way: str
) -> None:
    oci, digest = server.oci, sha256(TOO_LARGE)
    location = oci.begin_upload("app")
    oci.patch(location, SMALL)
    before = free(disk)
    if way == "POST":
        assert_failed(oci.post(f"/v2/app/blobs/uploads/?digest={digest}", TOO_LARGE))
    elif way == "PUT":
        assert_failed(oci.put(f"{location}?digest={digest}", TOO_LARGE))
    else:
        assert_failed(oci.patch(location, TOO_LARGE))
    assert oci.head(f"/v2/app/blobs/{digest}").status == 404
    assert upload_files(disk / "data") == [location.rpartition("/")[2]]
    assert free(disk) > before - MIB
    assert_intact(oci, "v1", image)
    # What was acknowledged before is still there, and goes on.
    assert oci.get(location).headers["Range"] == f"0-{len(SMALL) - 1}"
    assert oci.put(f"{location}?digest={sha256(SMALL + b'x')}", b"x").status == 201
    assert oci.get(f"/v2/app/blobs/{sha256(SMALL + b'x')}").body == SMALL + b"x"
    newer = oci.push_image("app", "v2", seed="newer")
    assert_intact(oci, "v2", newer)


def test_a_full_disk_leaves_nothing_half_there_and_everything_readable(
    server: ServerProcess, disk: Path, image: PushedImage
) -> None:
    oci = server.oci
    pulled = oci.get("/v2/app/manifests/v1")
    assert pulled.body == image.manifest
    location = oci.begin_upload("app")
    oci.patch(location, b"acknowledged")
    ballast = fill(disk)

    # The log of the metadata may have a page to spare for one of them, but not for all.
    statuses = set()
    for number in range(200):
        content = f"blob {number} ".encode() * 1000
        answer = oci.post(f"/v2/app/blobs/uploads/?digest={sha256(content)}", content)
        assert answer.status in (201, 500)
        statuses.add(answer.status)
        blob = oci.get(f"/v2/app/blobs/{sha256(content)}")
        assert blob.status == (200 if answer.status == 201 else 404)
        assert answer.status == 500 or blob.body == content
    assert 500 in statuses
    assert_failed(oci.patch(location, SMALL))
    with pytest.raises(ClientError) as failed:
        put_image(server.api, "app", "by-api", seed="api")
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert failed.value.response["Error"]["Code"] == "ServerException"
    assert oci.get("/v2/").status == 200
    assert oci.get("/v2/app/tags/list").json()["tags"] == ["v1"]
    assert oci.get("/v2/app/manifests/v1").body == image.manifest
    assert_intact(oci, "v1", image)
    assert [
        entry["imageTags"] for entry in server.api.describe_images(repositoryName="app")["imageDetails"]
    ] == [["v1"]]

    ballast.unlink()
    assert oci.get(location).headers["Range"] == "0-11"
    assert oci.put(f"{location}?digest={sha256(b'acknowledged')}").status == 201
    assert_intact(oci, "v2", oci.push_image("app", "v2", seed="newer"))
    put_image(server.api, "app", "by-api", seed="api")
    assert oci.get("/v2/app/tags/list").json()["tags"] == ["by-api", "v1", "v2"]


def test_a_server_that_was_stopped_by_a_full_disk_starts_again_with_what_it_had(
    server: ServerProcess, disk: Path, image: PushedImage
) -> None:
    assert_failed(server.oci.post(f"/v2/app/blobs/uploads/?digest={sha256(TOO_LARGE)}", TOO_LARGE))
    ballast = fill(disk)
    server.kill()
    ballast.unlink()
    server.start()
    assert upload_files(disk / "data") == []
    assert_intact(server.oci, "v1", image)
    assert server.oci.push_image("app", "v2", seed="newer").digest
