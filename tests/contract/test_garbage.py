"""What garbage collection removes, what it leaves, and when."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.blobs.base import Published, published_at
from ecr_emulator.blobs.filesystem import FilesystemBlobs, FileUpload
from ecr_emulator.blobs.s3 import S3Blobs, S3Upload
from ecr_emulator.core import garbage as collector
from ecr_emulator.engines import garbage
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer, background
from tests.contract.conftest import connect, image_manifest, put_image, sha256, upload_layer
from tests.contract.oci_client import OciClient

HOUR = 3600
DAY = 24 * HOUR
SETTINGS = Settings(data_dir=MEMORY, port=0, engines="off")
CLEAN = {"uploads": 0, "layers": 0, "blobs": 0, "bytes": 0}
LAYER = b"a layer that no image uses"
WRITERS: dict[type, Any] = {FilesystemBlobs: FileUpload, S3Blobs: S3Upload}


@pytest.fixture(scope="module")
def own_server() -> Iterator[BackgroundServer]:
    """A server that collects only when it is told to."""
    with BackgroundServer(SETTINGS) as server:
        yield server


@pytest.fixture
def server(own_server: BackgroundServer) -> BackgroundServer:
    own_server.reset()
    own_server.manage("run/garbage", {})
    return own_server


@pytest.fixture
def ecr(server: BackgroundServer) -> Any:
    return connect(server.url)


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


def collect(server: BackgroundServer) -> int:
    """Collect garbage, which has to be as much as was foretold."""
    found = OciClient(server.address).get("/_emulator/garbage").json()
    done = server.manage("run/garbage", {})["done"]
    assert done == found["uploads"] + found["layers"] + found["blobs"]
    assert OciClient(server.address).get("/_emulator/garbage").json() == CLEAN
    return int(done)


def availability(ecr: Any, repository: str, content: bytes) -> str:
    checked = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[sha256(content)])
    return str(checked["layers"][0]["layerAvailability"])


def test_a_layer_without_an_image_goes_after_a_day(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    upload_layer(ecr, repository, LAYER)
    server.advance_clock(DAY - 1)
    assert collect(server) == 0
    server.advance_clock(1)
    assert oci.get("/_emulator/garbage").json() == {
        "uploads": 0,
        "layers": 1,
        "blobs": 1,
        "bytes": len(LAYER),
    }
    assert collect(server) == 2
    assert oci.get(f"/v2/{repository}/blobs/{sha256(LAYER)}").error == (404, "BLOB_UNKNOWN")
    assert availability(ecr, repository, LAYER) == "UNAVAILABLE"
    upload_layer(ecr, repository, LAYER)
    assert oci.get(f"/v2/{repository}/blobs/{sha256(LAYER)}").body == LAYER


@pytest.mark.parametrize("how", ["HEAD", "BatchCheckLayerAvailability", "upload"])
def test_a_layer_that_a_push_was_told_of_is_kept_for_its_image(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str, how: str
) -> None:
    config = b"{}"
    for content in (config, LAYER):
        upload_layer(ecr, repository, content)
    server.advance_clock(DAY - 1)
    for content in (config, LAYER):
        if how == "HEAD":
            assert oci.head(f"/v2/{repository}/blobs/{sha256(content)}").status == 200
        elif how == "upload":
            oci.push_blob(repository, content)
        else:
            assert availability(ecr, repository, content) == "AVAILABLE"
    server.advance_clock(DAY - 1)
    assert collect(server) == 0
    manifest = image_manifest(config, LAYER).decode()
    ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag="v1")
    server.advance_clock(10 * DAY)
    assert collect(server) == 0
    assert oci.get(f"/v2/{repository}/blobs/{sha256(LAYER)}").body == LAYER


def test_a_pull_does_not_keep_a_layer(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    upload_layer(ecr, repository, LAYER)
    server.advance_clock(DAY)
    assert oci.get(f"/v2/{repository}/blobs/{sha256(LAYER)}").status == 200
    assert collect(server) == 2


def test_layers_go_with_their_last_image_and_blobs_with_their_last_layer(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    ecr.create_repository(repositoryName="other")
    digests = {name: put_image(ecr, name, "v1") for name in (repository, "other")}
    server.advance_clock(DAY)
    assert collect(server) == 0
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digests[repository]}])
    # Config and layer of the one repository, but no blob: the other has them.
    assert collect(server) == 2
    blob = sha256(b"layer seed")
    assert oci.get(f"/v2/{repository}/blobs/{blob}").status == 404
    assert oci.get(f"/v2/other/blobs/{blob}").body == b"layer seed"
    ecr.batch_delete_image(repositoryName="other", imageIds=[{"imageDigest": digests["other"]}])
    assert collect(server) == 4


def test_layers_of_an_archived_image_stay(server: BackgroundServer, ecr: Any, repository: str) -> None:
    digest = put_image(ecr, repository, "v1")
    ecr.update_image_storage_class(
        repositoryName=repository, imageId={"imageDigest": digest}, targetStorageClass="ARCHIVE"
    )
    server.advance_clock(10 * DAY)
    assert collect(server) == 0


def test_blobs_of_a_repository_that_was_deleted_go_at_once(
    server: BackgroundServer, ecr: Any, repository: str
) -> None:
    put_image(ecr, repository, "v1")
    ecr.delete_repository(repositoryName=repository, force=True)
    assert collect(server) == 2


def test_an_upload_that_nobody_goes_on_with_ends_after_a_day(
    server: BackgroundServer, oci: OciClient, repository: str
) -> None:
    left, continued, untouched = (oci.begin_upload(repository) for _ in range(3))
    for location in (left, continued):
        assert oci.patch(location, b"first").status == 202
    server.advance_clock(DAY / 2)
    assert oci.patch(continued, b" and second").status == 202
    server.advance_clock(DAY / 2)
    assert collect(server) == 2
    for location in (left, untouched):
        assert oci.get(location).error == (404, "BLOB_UPLOAD_UNKNOWN")
    digest = sha256(b"first and second")
    assert oci.put(f"{continued}?digest={digest}").status == 201
    assert oci.get(f"/v2/{repository}/blobs/{digest}").body == b"first and second"


def test_the_grace_is_a_setting() -> None:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, engines="off", garbage_grace=60)) as server:
        ecr = connect(server.url)
        ecr.create_repository(repositoryName="app")
        upload_layer(ecr, "app", LAYER)
        server.advance_clock(59)
        assert collect(server) == 0
        server.advance_clock(1)
        assert collect(server) == 2


def test_garbage_is_collected_once_an_hour_by_the_clock() -> None:
    async def scenario() -> None:
        async with background.running(SETTINGS) as server:
            emulator, oci = server.emulator, OciClient(f"{server.host}:{server.port}")
            api = connect(server.url)

            def make_garbage() -> None:
                api.create_repository(repositoryName="app")
                oci.push_blob("app", LAYER)
                api.delete_repository(repositoryName="app")

            assert await garbage.run_due(emulator) == 0
            await asyncio.to_thread(make_garbage)
            emulator.clock.offset += HOUR - 60
            assert await garbage.run_due(emulator) == 0
            emulator.clock.offset += 60
            assert await garbage.run_due(emulator) == 1
            await asyncio.to_thread(make_garbage)
            assert await garbage.run_due(emulator) == 0
            # A clock that was set back puts it off no longer than an hour.
            emulator.clock.offset = 0.0
            assert await garbage.run_due(emulator) == 1

    asyncio.run(scenario())


def test_a_blob_whose_upload_goes_on_stays_whatever_the_real_clock_says(
    server: BackgroundServer, oci: OciClient, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two steps of a completion the machine's clock steps, and another server collects."""
    store = type(server._running.emulator.blobs)
    publish = WRITERS[store].publish

    async def publish_and_collect(self: Any, size: int, digests: Any) -> Published:
        published: Published = await publish(self, size, digests)
        with monkeypatch.context() as patch:
            patch.setattr(collector.time, "time", lambda: published_at(published.name) + DAY)
            await collector.collect(server._running.emulator)
        return published

    location = oci.begin_upload(repository)
    with monkeypatch.context() as patch:
        patch.setattr(WRITERS[store], "publish", publish_and_collect)
        assert oci.put(f"{location}?digest={sha256(LAYER)}", LAYER).status == 201
    assert oci.get(f"/v2/{repository}/blobs/{sha256(LAYER)}").body == LAYER
