"""Fixtures of the contract tests: one server for the session, emptied before each test."""

import hashlib
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from blockbuster import BlockBuster
from botocore.config import Config
from botocore.exceptions import ClientError

from ecr_emulator.testing import BackgroundServer
from tests.contract.blocking import unblocked_loop
from tests.contract.provoked import Recorder, are_selected

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture(scope="session")
def recorder() -> Iterator[Recorder]:
    """What records the errors that tests provoke."""
    with Recorder().recording() as recorder:
        yield recorder


@pytest.fixture(scope="module", autouse=True)
def _errors_are_provoked_as_the_table_says(
    request: pytest.FixtureRequest, recorder: Recorder
) -> Iterator[None]:
    yield
    if not are_selected(request.config):
        assert recorder.missing(request.node.nodeid, request.session.items) == {}


@pytest.fixture(autouse=True)
def _provoked_errors_are_recorded(request: pytest.FixtureRequest, recorder: Recorder) -> None:
    recorder.begin(request.node)


@pytest.fixture
def _event_loop_is_never_blocked(ecr_server: BackgroundServer) -> Iterator[BlockBuster]:
    """Make a blocking call on the server's event loop an error, which the request then fails with."""
    with unblocked_loop() as detector:
        yield detector


@pytest.fixture
def server(ecr_registry: BackgroundServer, _event_loop_is_never_blocked: BlockBuster) -> BackgroundServer:
    """An empty server."""
    return ecr_registry


@pytest.fixture
def ecr(server: BackgroundServer, ecr_client: Any) -> Any:
    """A boto3 client of the empty server."""
    return ecr_client


def connect(url: str, access_key: str = "testing", region: str = "us-east-1") -> Any:
    """Make a boto3 client of the server at a URL; 12 digits as access key name the account."""
    return boto3.client(
        "ecr",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def repository(ecr: Any) -> str:
    """The name of a repository."""
    ecr.create_repository(repositoryName="app")
    return "app"


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a server that had two registries; to be copied by those who change it."""
    from tests.contract import stores

    folder = tmp_path_factory.mktemp("filled") / "data"
    with stores.serving(folder) as server:
        stores.fill(server)
    return folder


def sha256(content: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def refused(operation: Callable[..., Any], **members: Any) -> tuple[str, str]:
    """Call an operation that has to fail with HTTP 400, and return its error's code and message."""
    with pytest.raises(ClientError) as raised:
        operation(**members)
    response = raised.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["ResponseMetadata"]["RequestId"]
    return response["Error"]["Code"], response["Error"]["Message"]


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    """Return the descriptor of a blob or a manifest."""
    return {"mediaType": media_type, "digest": sha256(content), "size": len(content)}


def upload_layer(client: Any, repository: str, content: bytes) -> str:
    """Upload a layer through the API and return its digest."""
    upload_id = client.initiate_layer_upload(repositoryName=repository)["uploadId"]
    client.upload_layer_part(
        repositoryName=repository,
        uploadId=upload_id,
        partFirstByte=0,
        partLastByte=len(content) - 1,
        layerPartBlob=content,
    )
    digest = sha256(content)
    client.complete_layer_upload(repositoryName=repository, uploadId=upload_id, layerDigests=[digest])
    return digest


def image_manifest(config: bytes, *layers: bytes, media_type: str = OCI_MANIFEST, **members: Any) -> bytes:
    """Return the manifest of an image with those blobs."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config, OCI_CONFIG),
            "layers": [descriptor(layer, OCI_LAYER) for layer in layers],
            **members,
        }
    ).encode()


def put_image(
    client: Any, repository: str, tag: str | None = None, seed: str = "seed", **members: Any
) -> str:
    """Put a small image, different for each seed, through the API and return its digest."""
    config, layer = f"config {seed}".encode(), f"layer {seed}".encode()
    for content in (config, layer):
        checked = client.batch_check_layer_availability(
            repositoryName=repository, layerDigests=[sha256(content)]
        )
        if checked["layers"][0]["layerAvailability"] != "AVAILABLE":
            upload_layer(client, repository, content)
    manifest = image_manifest(config, layer, **members)
    named = {} if tag is None else {"imageTag": tag}
    client.put_image(repositoryName=repository, imageManifest=manifest.decode(), **named)
    return sha256(manifest)


def status_of(server: BackgroundServer, path: str, method: str = "GET") -> int:
    """Return the status of a request to the server."""
    connection = http.client.HTTPConnection(server.address)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()
