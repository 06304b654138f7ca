"""Requests that come too fast are throttled on both planes, where a setting says so."""

import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from ecr_emulator.server import StartError
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import connect, image_manifest, refused, sha256
from tests.contract.oci_client import OciClient

RATES = {"ListImages": 2, "CompleteLayerUpload": 1, "BatchGetImage": 3, "DescribeRepositories": 3}
THROTTLED = ("ThrottlingException", "Rate exceeded")


@pytest.fixture(scope="module")
def own_server() -> Iterator[BackgroundServer]:
    settings = Settings(data_dir=MEMORY, port=0, engines="off", layer_check="off", rates=RATES)
    with BackgroundServer(settings) as server:
        yield server


@pytest.fixture
def server(own_server: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> BackgroundServer:
    """A server with full buckets, whose clock stands still until it is advanced."""
    own_server.reset()
    clock, start = own_server._running.emulator.clock, time.time()
    monkeypatch.setattr(clock, "now", lambda: start + clock.offset)
    return own_server


@pytest.fixture
def ecr(server: BackgroundServer) -> Any:
    return connect(server.url)


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


def test_both_planes_spend_the_same_credits(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    assert ecr.list_images(repositoryName=repository)["imageIds"] == []
    assert oci.get(f"/v2/{repository}/tags/list").status == 200
    assert refused(ecr.list_images, repositoryName=repository) == THROTTLED
    answer = oci.get(f"/v2/{repository}/tags/list")
    assert (answer.error, answer.message) == ((429, "TOOMANYREQUESTS"), "Rate exceeded")
    # Others are not concerned.
    ecr.describe_images(repositoryName=repository)
    away = connect(server.url, region="eu-west-1")
    assert refused(away.list_images, repositoryName=repository)[0] == "RepositoryNotFoundException"
    server.advance_clock(0.5)
    ecr.list_images(repositoryName=repository)
    assert refused(ecr.list_images, repositoryName=repository) == THROTTLED


def test_what_is_asked_again_and_again_is_counted_each_time(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    assert oci.push_manifest(repository, "v1", image_manifest(b"config")).status == 201
    pulls = [oci.get(f"/v2/{repository}/manifests/v1").status for _ in range(4)]
    assert pulls == [200, 200, 200, 429]
    for _ in range(3):
        ecr.describe_repositories()
    assert refused(ecr.describe_repositories) == THROTTLED


def test_an_upload_that_was_throttled_goes_on(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    oci.push_blob(repository, b"first")
    upload = oci.begin_upload(repository)
    put = f"{upload}?digest={sha256(b'second')}"
    assert oci.put(put, b"second").error == (429, "TOOMANYREQUESTS")
    server.advance_clock(1)
    assert oci.put(put, b"second").status == 201


def test_a_client_that_tries_again_gets_through(server: BackgroundServer, repository: str) -> None:
    for _ in range(2):
        connect(server.url).list_images(repositoryName=repository)
    patient = boto3.client(
        "ecr",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    patient.meta.events.register(
        "needs-retry.ecr.ListImages", lambda **_: server.advance_clock(1), unique_id="wait"
    )
    answer = patient.list_images(repositoryName=repository)
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1


def test_a_rate_of_no_operation_is_refused() -> None:
    with pytest.raises(StartError, match="rates has no operations PullImage"):
        BackgroundServer(Settings(data_dir=MEMORY, port=0, rates={"PullImage": 1})).start()
