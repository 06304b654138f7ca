"""What ECR's service quotas stop, on both planes, and what makes room again."""

from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import (
    OCI_INDEX,
    OCI_MANIFEST,
    connect,
    image_manifest,
    put_image,
    refused,
    sha256,
)
from tests.contract.oci_client import OciClient

LIMITS = {"registered_repositories": 3, "images_per_repository": 2, "tags_per_image": 2}
FULL = (
    "The repository with name 'app' in registry with id '000000000000' already has the maximum allowed "
    "number of images which is '2'"
)
FULL_REGISTRY = (
    "The registry with id '000000000000' already has the maximum allowed number of repositories which is '3'"
)


def no_more_tags(tag: str) -> str:
    return (
        f"Adding tag '{tag}' to an image in the repository with name 'app' in registry with id "
        "'000000000000' exceeds the maximum allowed number of tags per image which is '2'"
    )


@pytest.fixture(scope="module")
def own_server() -> Iterator[BackgroundServer]:
    """A server with small quotas."""
    settings = Settings(data_dir=MEMORY, port=0, engines="off", layer_check="off", quotas=LIMITS)
    with BackgroundServer(settings) as server:
        yield server


@pytest.fixture
def server(own_server: BackgroundServer) -> BackgroundServer:
    own_server.reset()
    return own_server


@pytest.fixture
def ecr(server: BackgroundServer) -> Any:
    return connect(server.url)


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


def image(seed: str) -> bytes:
    """A manifest whose layers nobody asks for."""
    return image_manifest(seed.encode())


def test_a_full_repository_takes_no_further_image(ecr: Any, oci: OciClient, repository: str) -> None:
    for seed in ("1", "2"):
        assert oci.push_manifest(repository, seed, image(seed)).status == 201
    third = {"repositoryName": repository, "imageManifest": image("3").decode()}
    assert refused(ecr.put_image, **third) == ("LimitExceededException", FULL)
    answer = oci.push_manifest(repository, "3", image("3"))
    assert (answer.error, answer.message) == ((403, "DENIED"), FULL)
    # What is there can be pushed again, and get another tag.
    assert oci.push_manifest(repository, "1", image("1")).status == 201
    assert oci.push_manifest(repository, "latest", image("1")).status == 201
    assert len(ecr.list_images(repositoryName=repository)["imageIds"]) == 3
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": sha256(image("2"))}])
    ecr.put_image(**third)
    assert refused(ecr.put_image, **third | {"imageManifest": image("4").decode()})[1] == FULL


def test_an_index_counts_as_an_image(ecr: Any, oci: OciClient, repository: str) -> None:
    children = [image("1"), image("2")]
    for child in children:
        assert oci.push_manifest(repository, sha256(child), child).status == 201
    entries = ",".join(
        f'{{"mediaType": "{OCI_MANIFEST}", "digest": "{sha256(child)}", "size": {len(child)}}}'
        for child in children
    )
    index = f'{{"schemaVersion": 2, "mediaType": "{OCI_INDEX}", "manifests": [{entries}]}}'.encode()
    assert oci.push_manifest(repository, "v1", index, OCI_INDEX).message == FULL


def test_what_a_lifecycle_policy_expires_makes_room(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    for seed in ("1", "2"):
        assert oci.push_manifest(repository, sha256(image(seed)), image(seed)).status == 201
    policy = (
        '{"rules": [{"rulePriority": 1, "description": "Keep one image only", "selection": {"tagStatus": '
        '"any", "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}'
    )
    ecr.put_lifecycle_policy(repositoryName=repository, lifecyclePolicyText=policy)
    server.manage("run/lifecycle", {})
    assert len(ecr.list_images(repositoryName=repository)["imageIds"]) == 1
    assert oci.push_manifest(repository, "3", image("3")).status == 201
    assert oci.push_manifest(repository, "4", image("4")).message == FULL


def test_an_image_takes_only_so_many_tags(ecr: Any, oci: OciClient, repository: str) -> None:
    for tag in ("a", "b", "b"):
        assert oci.push_manifest(repository, tag, image("1")).status == 201
    manifest = image("1").decode()
    third = {"repositoryName": repository, "imageManifest": manifest, "imageTag": "c"}
    assert refused(ecr.put_image, **third) == ("LimitExceededException", no_more_tags("c"))
    answer = oci.push_manifest(repository, "c", image("1"))
    assert (answer.error, answer.message) == ((403, "DENIED"), no_more_tags("c"))
    # Several tags at once are taken all or none.
    query = f"/v2/{repository}/manifests/{sha256(image('2'))}?tag=x&tag=y&tag=z"
    answer = oci.put(query, image("2"), {"Content-Type": OCI_MANIFEST})
    assert answer.message == no_more_tags("z")
    assert oci.get(f"/v2/{repository}/tags/list").json()["tags"] == ["a", "b"]
    # A tag that is moved to another image makes room as one that is removed does.
    assert oci.push_manifest(repository, "b", image("2")).status == 201
    ecr.put_image(**third)
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": "a"}])
    assert oci.push_manifest(repository, "d", image("1")).status == 201
    assert refused(ecr.put_image, **third | {"imageTag": "e"})[1] == no_more_tags("e")


def test_a_registry_takes_only_so_many_repositories(
    server: BackgroundServer, ecr: Any, oci: OciClient
) -> None:
    for name in ("app", "bb", "cc"):
        ecr.create_repository(repositoryName=name)
    assert refused(ecr.create_repository, repositoryName="dd") == ("LimitExceededException", FULL_REGISTRY)
    # One that exists is told of as such.
    assert refused(ecr.create_repository, repositoryName="cc")[0] == "RepositoryAlreadyExistsException"
    ecr.create_repository_creation_template(prefix="ROOT", appliedFor=["CREATE_ON_PUSH"])
    answer = oci.post("/v2/dd/blobs/uploads/")
    assert (answer.error, answer.message) == ((403, "DENIED"), FULL_REGISTRY)
    # Each account in each region has its own.
    connect(server.url, region="eu-west-1").create_repository(repositoryName="dd")
    connect(server.url, access_key="123456789012").create_repository(repositoryName="dd")
    ecr.delete_repository(repositoryName="bb")
    assert (
        oci.post("/v2/dd/blobs/uploads/", headers={"Host": "000000000000.dkr.ecr.us-east-1.localhost"}).status
        == 202
    )
    assert refused(ecr.create_repository, repositoryName="bb")[1] == FULL_REGISTRY


def test_replicas_count_in_their_registry(
    server: BackgroundServer, ecr: Any, oci: OciClient, repository: str
) -> None:
    away = connect(server.url, region="eu-west-1")
    away.create_repository(repositoryName=repository)
    for seed in ("1", "2"):
        away.put_image(repositoryName=repository, imageManifest=image(seed).decode())
    ecr.put_replication_configuration(
        replicationConfiguration={
            "rules": [{"destinations": [{"region": "eu-west-1", "registryId": "000000000000"}]}]
        }
    )
    digest = put_image(ecr, repository, "v1")
    state = {"repositoryName": repository, "imageId": {"imageDigest": digest}}
    for _ in range(5):
        server.manage("run/replication", {})
        server.advance_clock(300)
    (status,) = ecr.describe_image_replication_status(**state)["replicationStatuses"]
    assert status["status"] == "FAILED"
    assert len(away.list_images(repositoryName=repository)["imageIds"]) == 2
