"""Several servers over one store: due work is done once, and taken over from a server that is killed."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import ServerProcess, eventually

SERVERS = 3
IMAGES = 12

# Notes the server that started it; for an image with the tag "slow", it waits to be killed with it.
SCANNER = """
import json, pathlib, sys, time
notes, name, layout = map(pathlib.Path, sys.argv[1:])
with notes.open("a") as file:
    file.write(f"{name}\\n")
while (notes.parent / "wait").exists():
    time.sleep(0.01)
print(json.dumps({"SchemaVersion": 2, "Results": []}))
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "start" in metafunc.fixturenames:
        scaled = ["postgresql"] if metafunc.config.getoption("--store") == "scaled" else []
        metafunc.parametrize("start", ["sqlite", *scaled], indirect=True)


Start = Callable[..., list[ServerProcess]]


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts servers over one store, each with a scanner that notes its name in ``tmp_path / "notes"``."""
    environment = {}
    if request.param == "postgresql":
        environment["ECR_EMULATOR_METADATA_URL"] = request.getfixturevalue("postgres").new_database()
    script = tmp_path / "scanner.py"
    script.write_text(SCANNER)
    with contextlib.ExitStack() as stack:

        def start_servers(*flags: str) -> list[ServerProcess]:
            servers = []
            for name in "abc"[:SERVERS]:
                command = [sys.executable, str(script), str(tmp_path / "notes"), name, "{layout}"]
                server = ServerProcess(
                    *("--data-dir", str(tmp_path / "data"), "--scan-command", shlex.join(command), *flags),
                    environment=environment,
                )
                servers.append(stack.enter_context(server))
            return servers

        yield start_servers


def everywhere(servers: list[ServerProcess], action: Callable[[ServerProcess], Any]) -> list[Any]:
    """Do something on all servers at the same time."""
    with ThreadPoolExecutor(len(servers)) as threads:
        return list(threads.map(action, servers))


def notes(tmp_path: Path) -> list[str]:
    file = tmp_path / "notes"
    return file.read_text().split() if file.exists() else []


def push(servers: list[ServerProcess], repository: str, *tags: str) -> list[str]:
    """Push an image for each tag, through all servers in turn; return the digests."""
    return [
        servers[number % len(servers)].oci.push_image(repository, tag, seed=f"{repository} {tag}").digest
        for number, tag in enumerate(tags)
    ]


def test_what_is_due_is_done_once_by_servers_that_run_an_engine_at_the_same_time(
    start: Start, tmp_path: Path
) -> None:
    servers = start("--engines", "off")
    api = servers[0].api
    rules = [{"destinations": [{"region": "eu-west-1", "registryId": "000000000000"}]}]
    api.put_replication_configuration(replicationConfiguration={"rules": rules})
    api.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
    profile = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/profile"
    api.put_signing_configuration(signingConfiguration={"rules": [{"signingProfileArn": profile}]})
    tags = [f"v{number}" for number in range(IMAGES)]
    digests = push(servers, "app", *tags)

    def run(name: str) -> int:
        return sum(
            server["done"] for server in everywhere(servers, lambda server: server.manage(f"run/{name}", {}))
        )

    assert run("scans") == IMAGES
    assert len(notes(tmp_path)) == IMAGES
    assert run("signing") == IMAGES
    for digest in digests:
        referrers = servers[1].oci.get(f"/v2/app/referrers/{digest}").json()["manifests"]
        assert len(referrers) == 1
    # Of the images, and of their signatures.
    assert run("replication") == 2 * IMAGES
    for digest in digests:
        states = api.describe_image_replication_status(repositoryName="app", imageId={"imageDigest": digest})
        assert [state["status"] for state in states["replicationStatuses"]] == ["COMPLETE"]
    for digest in digests:
        api.update_image_storage_class(
            repositoryName="app", imageId={"imageDigest": digest}, targetStorageClass="ARCHIVE"
        )
        api.update_image_storage_class(
            repositoryName="app", imageId={"imageDigest": digest}, targetStorageClass="STANDARD"
        )
    assert run("archive") == IMAGES
    # Nothing is left of any of it.
    assert [run(name) for name in ("scans", "signing", "archive")] == [0, 0, 0]


def test_a_lifecycle_policy_is_applied_by_one_server_and_garbage_collected_by_one(
    start: Start, tmp_path: Path
) -> None:
    servers = start("--garbage-grace", "0")
    api = servers[0].api
    api.create_repository(repositoryName="app")
    push(servers, "app", *(f"v{number}" for number in range(IMAGES)))
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2},
        "action": {"type": "expire"},
    }
    api.put_lifecycle_policy(repositoryName="app", lifecyclePolicyText=json.dumps({"rules": [rule]}))
    everywhere(servers, lambda server: server.manage("run/lifecycle", {}))
    assert len(api.list_images(repositoryName="app")["imageIds"]) == 2
    # Two blobs and two layers for each of the images that went.
    removed = everywhere(servers, lambda server: server.manage("run/garbage", {})["done"])
    assert sum(removed) == 4 * (IMAGES - 2)
    for server in servers:
        assert "Traceback" not in server.log


def test_work_is_taken_over_from_a_server_that_is_killed(start: Start, tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    servers = dict(zip("abc", start(), strict=True))
    servers["a"].api.create_repository(repositoryName="app", imageScanningConfiguration={"scanOnPush": True})
    [digest] = push([servers["a"]], "app", "v1")
    eventually(lambda: len(notes(tmp_path)) == 1)
    # The others leave it alone while it is at work, though they look for what is due again and again.
    time.sleep(1.5)
    [first] = notes(tmp_path)
    servers.pop(first).kill()
    killed_at = time.monotonic()
    eventually(lambda: len(notes(tmp_path)) == 2)
    assert time.monotonic() - killed_at < 5
    assert notes(tmp_path)[1] in servers
    (tmp_path / "wait").unlink()
    other = next(iter(servers.values()))

    def status() -> str:
        found = other.api.describe_image_scan_findings(repositoryName="app", imageId={"imageDigest": digest})
        return str(found["imageScanStatus"]["status"])

    eventually(lambda: status() == "COMPLETE" or status() == "FAILED")
    assert len(notes(tmp_path)) == 2
