"""Garbage collection beside pushes, mounts and deletions: no acknowledged image ever lacks a blob."""

import contextlib
import http.client
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import OCI_MANIFEST, image_manifest, sha256
from tests.contract.oci_client import Answer, exchange
from tests.faults.conftest import ServerProcess, begin_request, eventually, upload_files

SEED = 20240229
REPOSITORIES = ("app", "base")
PUSHERS = 4
IMAGES = 40
# Layers that all pushers use, so that one deletes what another is about to push.
POOL = [f"layer {number} ".encode() * 500 for number in range(8)]
HEADERS = {"Content-Type": OCI_MANIFEST}
DAY = 86_400
GARBAGE_FREE = {"uploads": 0, "layers": 0, "blobs": 0, "bytes": 0}
# How often one image is pushed anew where the server collects what it is made of meanwhile.
ATTEMPTS = 20


class CollectedError(Exception):
    """Something that this push counted on has been collected."""


@dataclass
class Pusher:
    """Pushes images of its own to a repository, and deletes most of them again."""

    repository: str
    rng: random.Random
    server: ServerProcess
    # Whether nothing that a push counts on may be collected.
    strict: bool
    # Held by a collection, and by a push that no collection may race with.
    collecting: threading.Lock
    kept: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    collected: int = 0
    failure: BaseException | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection(self.server.address, timeout=60)
        api = self.server.api
        try:
            with contextlib.closing(connection):
                for _ in range(IMAGES):
                    config = self.rng.randbytes(100)
                    blobs = (config, *self.rng.sample(POOL, 2))
                    self.push(connection, blobs)
                    if self.rng.random() < 0.7:
                        self.delete(api)
        except BaseException as error:
            self.failure = error

    def push(self, connection: http.client.HTTPConnection, blobs: tuple[bytes, ...]) -> None:
        manifest = image_manifest(*blobs)
        digest = sha256(manifest)
        for attempt in range(ATTEMPTS + 1):
            # The last attempt has the server without a collector: on a busy machine it could always win.
            with self.collecting if attempt == ATTEMPTS else contextlib.nullcontext():
                try:
                    for content in blobs:
                        self.push_blob(connection, content)
                    path = f"/v2/{self.repository}/manifests/{digest}"
                    self.check(exchange(connection, "PUT", path, manifest, HEADERS), 201)
                    break
                except CollectedError:
                    assert not self.strict
                    self.collected += 1
        else:
            pytest.fail("the image can't be pushed")
        self.kept[digest] = blobs
        self.assert_whole(connection, blobs)

    def check(self, answer: Answer, *statuses: int) -> int:
        if answer.status == 404:
            raise CollectedError(answer.body)
        assert answer.status in statuses, answer
        return answer.status

    def push_blob(self, connection: http.client.HTTPConnection, content: bytes) -> None:
        digest = sha256(content)
        base = f"/v2/{self.repository}/blobs"
        if exchange(connection, "HEAD", f"{base}/{digest}").status == 200:
            return
        way = self.rng.randrange(3)
        if way == 0:
            other = REPOSITORIES[self.repository == REPOSITORIES[0]]
            answer = exchange(connection, "POST", f"{base}/uploads/?mount={digest}&from={other}")
            if self.check(answer, 201, 202) == 201:
                return
            self.check(
                exchange(connection, "PUT", f"{answer.headers['Location']}?digest={digest}", content), 201
            )
        elif way == 1:
            self.check(exchange(connection, "POST", f"{base}/uploads/?digest={digest}", content), 201)
        else:
            location = exchange(connection, "POST", f"{base}/uploads/").headers["Location"]
            self.check(exchange(connection, "PATCH", location, content[:1000]), 202)
            answer = exchange(connection, "PUT", f"{location}?digest={digest}", content[1000:])
            self.check(answer, 201)

    def assert_whole(self, connection: http.client.HTTPConnection, blobs: tuple[bytes, ...]) -> None:
        for content in blobs:
            answer = exchange(connection, "GET", f"/v2/{self.repository}/blobs/{sha256(content)}")
            assert (answer.status, answer.body) == (200, content)

    def delete(self, api: Any) -> None:
        digest = self.rng.choice(sorted(self.kept))
        del self.kept[digest]
        answer = api.batch_delete_image(repositoryName=self.repository, imageIds=[{"imageDigest": digest}])
        assert not answer["failures"]


def collect_until(
    server: ServerProcess, stop: threading.Event, collecting: threading.Lock, done: list[int]
) -> None:
    while not stop.wait(0.001):
        with collecting:
            done.append(server.manage("run/garbage", {})["done"])


def blobs_on_disk(data_dir: Path) -> list[str]:
    return sorted(f"sha256:{path.name[:64]}" for path in (data_dir / "blobs" / "sha256").glob("*/*"))


@pytest.mark.parametrize("grace", [0, DAY])
def test_pushes_mounts_and_deletions_race_with_the_collector(data_dir: Path, grace: int) -> None:
    flags = ["--data-dir", str(data_dir), "--engines", "off", "--garbage-grace", str(grace)]
    with ServerProcess(*flags) as server:
        api = server.api
        api.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
        for name in REPOSITORIES:
            api.create_repository(repositoryName=name)
        collecting = threading.Lock()
        pushers = [
            Pusher(REPOSITORIES[number % 2], random.Random(SEED + number), server, grace > 0, collecting)
            for number in range(PUSHERS)
        ]
        stop, done = threading.Event(), list[int]()
        collector = threading.Thread(target=collect_until, args=(server, stop, collecting, done))
        threads = [threading.Thread(target=pusher.run) for pusher in pushers]
        collector.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        collector.join()
        for pusher in pushers:
            if pusher.failure is not None:
                raise pusher.failure

        # It did race: without a grace, pushes lost what they had just uploaded and began anew.
        assert len(done) > 10
        assert (sum(pusher.collected for pusher in pushers) > 0) == (grace == 0)

        server.manage("clock", {"advance": grace + 1})
        found = server.oci.get("/_emulator/garbage").json()
        collected = server.manage("run/garbage", {})["done"]
        assert collected == found["uploads"] + found["layers"] + found["blobs"]
        referenced = {
            sha256(content) for pusher in pushers for blobs in pusher.kept.values() for content in blobs
        }
        assert blobs_on_disk(data_dir) == sorted(referenced)
        assert upload_files(data_dir) == []
        assert server.oci.get("/_emulator/garbage").json() == GARBAGE_FREE
        connection = http.client.HTTPConnection(server.address, timeout=60)
        with contextlib.closing(connection):
            for pusher in pushers:
                assert pusher.kept
                for blobs in pusher.kept.values():
                    pusher.assert_whole(connection, blobs)
        assert "Traceback" not in server.log


@pytest.fixture
def quiet(data_dir: Path) -> Iterator[ServerProcess]:
    """A server with the repository app that collects garbage only when it is told to."""
    with ServerProcess("--data-dir", str(data_dir), "--engines", "off") as process:
        process.api.create_repository(repositoryName="app")
        yield process


def test_what_a_crash_left_is_collected_and_nothing_else(quiet: ServerProcess, data_dir: Path) -> None:
    image = quiet.oci.push_image("app", "v1")
    quiet.kill()
    # The blob of a completion that got no further, and the file of an upload that has ended.
    orphan = b"published, but no layer yet"
    encoded = sha256(orphan).removeprefix("sha256:")
    folder = data_dir / "blobs" / "sha256" / encoded[:2]
    folder.mkdir(exist_ok=True)
    (folder / f"{encoded}.{0:x}-0123456789abcdef").write_bytes(orphan)
    # One whose request may still be about to make it a layer.
    (folder / f"{encoded}.{time.time_ns() // 1_000_000:x}-0123456789abcdef").write_bytes(orphan)
    (data_dir / "uploads" / "of-a-killed-server").write_bytes(b"some")
    quiet.start()
    assert upload_files(data_dir) == []
    assert quiet.oci.get("/_emulator/garbage").json() == GARBAGE_FREE | {"blobs": 1, "bytes": len(orphan)}
    assert quiet.manage("run/garbage", {}) == {"done": 1}
    assert blobs_on_disk(data_dir) == sorted([sha256(orphan), *(sha256(content) for content in image.blobs)])
    assert quiet.oci.get("/v2/app/manifests/v1").body == image.manifest


def test_the_file_of_an_upload_whose_repository_went_is_removed_once_nobody_can_hold_it(
    quiet: ServerProcess, data_dir: Path
) -> None:
    location = quiet.oci.begin_upload("app")
    assert quiet.oci.patch(location, b"never finished").status == 202
    (name,) = upload_files(data_dir)
    quiet.api.delete_repository(repositoryName="app")
    # A request that has made its file may be about to hold it.
    assert quiet.manage("run/garbage", {}) == {"done": 0}
    assert upload_files(data_dir) == [name]
    an_hour_ago = (data_dir / "uploads" / name).stat().st_mtime - 3600
    os.utime(data_dir / "uploads" / name, (an_hour_ago, an_hour_ago))
    assert quiet.oci.get("/_emulator/garbage").json()["uploads"] == 1
    assert quiet.manage("run/garbage", {}) == {"done": 1}
    assert upload_files(data_dir) == []


def test_an_upload_that_a_request_is_at_work_on_is_not_stale(quiet: ServerProcess, data_dir: Path) -> None:
    content = b"slow" * 1000
    location = quiet.oci.begin_upload("app")
    with begin_request(quiet.address, "PATCH", location, len(content), content[:1000]) as connection:
        eventually(lambda: bool(upload_files(data_dir)))
        quiet.manage("clock", {"advance": 2 * DAY})
        assert quiet.manage("run/garbage", {}) == {"done": 0}
        connection.sendall(content[1000:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 202")
    assert quiet.oci.put(f"{location}?digest={sha256(content)}").status == 201
