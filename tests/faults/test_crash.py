"""A server that is killed in the middle of pushes: what it acknowledged is there, nothing is half there."""

import contextlib
import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.contract.conftest import OCI_MANIFEST, image_manifest, sha256
from tests.contract.oci_client import OciClient, PushedImage, chunk_range, exchange
from tests.faults.conftest import ServerProcess, keys, upload_files

PUSHERS = 3
SEED = 20240229
# Seconds of pushing before the kill.
SHORTEST, LONGEST = 0.02, 0.3
HEADERS = {"Content-Type": OCI_MANIFEST}


@dataclass
class Upload:
    """An upload as its client knows it; ``sent`` is where the request under way would bring it."""

    location: str
    content: bytes
    acknowledged: int = 0
    sent: int = 0


@dataclass
class Pusher:
    """Pushes images with layers that nobody else has, one after the other, until the server is gone."""

    name: str
    rng: random.Random
    address: str
    acknowledged: dict[str, PushedImage] = field(default_factory=dict)
    upload: Upload | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            for number in range(10_000):
                self.push(connection, f"{self.name}-{number}")

    def push(self, connection: http.client.HTTPConnection, tag: str) -> None:
        blobs = [
            f"config of {tag}".encode(),
            *(self.rng.randbytes(self.rng.randint(1000, 300_000)) for _ in "ab"),
        ]
        for content in blobs:
            self.push_blob(connection, content)
        image = PushedImage(image_manifest(*blobs), tuple(blobs))
        answer = exchange(connection, "PUT", f"/v2/app/manifests/{tag}", image.manifest, HEADERS)
        assert answer.status == 201, answer
        self.acknowledged[tag] = image

    def push_blob(self, connection: http.client.HTTPConnection, content: bytes) -> None:
        digest = sha256(content)
        parts = self.rng.randint(0, 4)
        if parts == 0:
            answer = exchange(connection, "POST", f"/v2/app/blobs/uploads/?digest={digest}", content)
        else:
            location = exchange(connection, "POST", "/v2/app/blobs/uploads/").headers["Location"]
            self.upload = upload = Upload(location, content)
            ends = sorted(self.rng.randint(2, len(content)) for _ in range(parts - 1))
            for end in ends:
                chunk = content[upload.acknowledged : end]
                if len(chunk) > 1:
                    upload.sent = end
                    headers = chunk_range(upload.acknowledged, chunk)
                    assert exchange(connection, "PATCH", location, chunk, headers).status == 202
                    upload.acknowledged = end
            upload.sent = len(content)
            rest = content[upload.acknowledged :]
            answer = exchange(connection, "PUT", f"{location}?digest={digest}", rest)
        assert answer.status == 201, answer
        self.upload = None


def assert_whole(oci: OciClient, manifest: bytes) -> None:
    """Check that every blob of an image is there with all its bytes."""
    document = json.loads(manifest)
    for entry in (document["config"], *document["layers"]):
        blob = oci.get(f"/v2/app/blobs/{entry['digest']}")
        assert blob.status == 200, entry
        assert sha256(blob.body) == entry["digest"]
        assert len(blob.body) == entry["size"]


def check_acknowledged(server: ServerProcess, images: dict[str, PushedImage]) -> None:
    """Check on both planes that images are there as they were pushed."""
    api, oci = server.api, server.oci
    for tag, image in images.items():
        for reference in (tag, image.digest):
            answer = oci.get(f"/v2/app/manifests/{reference}")
            assert (answer.status, answer.body) == (200, image.manifest)
        assert_whole(oci, image.manifest)
    tags = list(images)
    for first in range(0, len(tags), 100):
        ids = [{"imageTag": tag} for tag in tags[first : first + 100]]
        got = api.batch_get_image(repositoryName="app", imageIds=ids)
        assert not got["failures"]
        assert {entry["imageId"]["imageTag"]: entry["imageManifest"].encode() for entry in got["images"]} == {
            tag: images[tag].manifest for tag in tags[first : first + 100]
        }
        digests = [sha256(blob) for tag in tags[first : first + 100] for blob in images[tag].blobs]
        for start in range(0, len(digests), 100):
            checked = api.batch_check_layer_availability(
                repositoryName="app", layerDigests=digests[start : start + 100]
            )
            assert {layer["layerAvailability"] for layer in checked["layers"]} == {"AVAILABLE"}


def visible_tags(server: ServerProcess) -> set[str]:
    pages = server.api.get_paginator("list_images").paginate(repositoryName="app")
    listed = [entry for page in pages for entry in page["imageIds"]]
    assert all("imageTag" in entry for entry in listed)
    return {entry["imageTag"] for entry in listed}


def resume(oci: OciClient, upload: Upload) -> int | None:
    """Go on with an upload from where it is and return that place, or None where it had ended."""
    digest = sha256(upload.content)
    progress = oci.get(upload.location)
    if progress.status == 404:
        # The server completed it and was killed before it could say so.
        assert upload.sent == len(upload.content)
        assert oci.get(f"/v2/app/blobs/{digest}").body == upload.content
        return None
    assert progress.status == 204
    last = int(progress.headers["Range"].removeprefix("0-"))
    offset = last + 1 if last else 0
    assert offset in (upload.acknowledged, upload.sent)
    rest = upload.content[offset:]
    if rest:
        assert oci.patch(upload.location, rest, chunk_range(offset, rest)).status == 202
    assert oci.put(f"{upload.location}?digest={digest}").status == 201
    assert oci.get(f"/v2/app/blobs/{digest}").body == upload.content
    return offset


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("share", "encrypted"), [(0.75, False), (0.25, True)])
def test_what_was_acknowledged_survives_a_kill_and_nothing_is_half_there(
    data_dir: Path, kills: int, share: float, encrypted: bool
) -> None:
    rounds = int(kills * share)
    server = ServerProcess("--data-dir", str(data_dir), *(keys(data_dir.parent) if encrypted else ()))
    rng = random.Random(SEED)
    everything: dict[str, PushedImage] = {}
    checked: set[str] = set()
    resumed_from: list[int] = []
    try:
        server.start().api.create_repository(repositoryName="app")
        for number in range(rounds):
            pushers = [
                Pusher(f"r{number}p{pusher}", random.Random(f"{SEED} {number} {pusher}"), server.address)
                for pusher in range(PUSHERS)
            ]
            threads = [threading.Thread(target=pusher.run) for pusher in pushers]
            for thread in threads:
                thread.start()
            time.sleep(rng.uniform(SHORTEST, LONGEST))
            server.kill()
            for thread in threads:
                thread.join()

            server.start()
            # Every file of an upload belongs to one that goes on.
            for name in upload_files(data_dir):
                assert server.oci.get(f"/v2/app/blobs/uploads/{name}").status == 204
            acknowledged = {tag: image for pusher in pushers for tag, image in pusher.acknowledged.items()}
            check_acknowledged(server, acknowledged)
            everything |= acknowledged
            visible = visible_tags(server)
            assert visible >= everything.keys()
            for tag in visible - everything.keys() - checked:
                # Pushed, but the client was never told.
                answer = server.oci.get(f"/v2/app/manifests/{tag}")
                assert answer.status == 200
                assert_whole(server.oci, answer.body)
                checked.add(tag)
            for pusher in pushers:
                if pusher.upload is not None:
                    offset = resume(server.oci, pusher.upload)
                    resumed_from += [] if offset is None else [offset]
        check_acknowledged(server, everything)
        assert server.stop() == 0
    finally:
        server.kill()
    print(f"{rounds} kills, {len(everything)} images acknowledged, {len(resumed_from)} uploads gone on with")
    # The rounds met what they are meant to meet.
    assert len(everything) > rounds
    assert any(resumed_from)


@pytest.mark.parametrize("way", ["killed", "stopped"])
def test_files_of_uploads_that_are_no_more_are_removed_at_the_start(
    server: ServerProcess, data_dir: Path, way: str
) -> None:
    kept = server.oci.begin_upload("app")
    server.oci.patch(kept, b"acknowledged")
    kept_file = data_dir / "uploads" / kept.rpartition("/")[2]
    server.kill() if way == "killed" else server.stop()
    for name in ("00000000-0000-0000-0000-000000000000", f"{kept_file.name}.copy"):
        (data_dir / "uploads" / name).write_bytes(b"left behind")
    # Of a part that was never acknowledged.
    with kept_file.open("ab") as file:
        file.write(b" and more")
    server.start()
    assert upload_files(data_dir) == [kept_file.name]
    assert server.oci.get(kept).headers["Range"] == "0-11"
    assert server.oci.put(f"{kept}?digest={sha256(b'acknowledged')}").status == 201
    assert upload_files(data_dir) == []


def test_an_upload_whose_blob_is_there_since_before_a_crash_goes_on_without_changing_it(
    server: ServerProcess, data_dir: Path
) -> None:
    content, more = b"published, but not yet a layer", b"more"
    digest = sha256(content)
    location = server.oci.begin_upload("app")
    server.oci.patch(location, content)
    server.kill()
    # What a kill between the two steps of a completion leaves.
    blob = data_dir / "blobs" / "sha256" / digest[7:9] / f"{digest[7:]}.0-0123456789abcdef"
    blob.parent.mkdir(parents=True)
    blob.hardlink_to(data_dir / "uploads" / location.rpartition("/")[2])
    server.start()
    assert server.oci.head(f"/v2/app/blobs/{digest}").status == 404
    assert server.oci.get(location).headers["Range"] == f"0-{len(content) - 1}"
    assert server.oci.patch(location, more).status == 202
    assert blob.read_bytes() == content
    assert server.oci.put(f"{location}?digest={sha256(content + more)}").status == 201
    assert server.oci.get(f"/v2/app/blobs/{sha256(content + more)}").body == content + more
    assert upload_files(data_dir) == []
