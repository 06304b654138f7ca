"""docker-py, with credentials as boto3 gives them: how scripts push to ECR."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import docker as docker_py
import pytest
from docker.errors import APIError, NotFound

from tests.clients.conftest import trusted_by_docker
from tests.serving import api_of


@pytest.fixture(scope="module")
def engine(docker):
    """The SDK's client of the engine that the CLI's tests have too."""
    client = docker_py.DockerClient(base_url=docker.command[docker.command.index("--host") + 1])
    yield client
    client.close()


def credentials(api):
    """Registry and credentials, from what GetAuthorizationToken answers."""
    [data] = api.get_authorization_token()["authorizationData"]
    username, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return urlsplit(data["proxyEndpoint"]).netloc, {"username": username, "password": password}


@pytest.fixture
def build(engine, build_folder):
    """Builds an image that prints a text when it is run."""

    def build(ref, text):
        image, _ = engine.images.build(path=str(build_folder("base", text)), tag=ref, rm=True)
        return image

    return build


@pytest.fixture
def run(engine):
    """What the container of an image prints.

    ``containers.run(remove=True)`` removes the container before it reads the log, which the engine may not
    have opened by then: nothing comes of it.
    """

    def run(ref):
        container = engine.containers.create(ref)
        try:
            container.start()
            assert container.wait()["StatusCode"] == 0
            return container.logs()
        finally:
            container.remove(force=True)

    return run


def push(engine, ref, **options):
    """Push and return the digest; an error that the engine tells of is raised."""
    for line in engine.images.push(ref, stream=True, decode=True, **options):
        if "error" in line:
            raise APIError(line["error"])
        if digest := line.get("aux", {}).get("Digest"):
            pushed = digest
    return pushed


def test_image_is_pushed_described_pulled_and_run(engine, build, run, ecr, repository, images_in):
    registry, auth = credentials(ecr)
    assert repository.uri.startswith(f"{registry}/")
    ref = f"{repository.uri}:v1"
    build(ref, "hello from docker-py")
    digest = push(engine, ref, auth_config=auth)
    described = images_in(repository.name)[digest]
    assert described["imageTags"] == ["v1"]
    engine.images.remove(ref)
    pulled = engine.images.pull(repository.uri, tag="v1", auth_config=auth)
    assert pulled.attrs["RepoDigests"] == [f"{repository.uri}@{digest}"]
    assert run(ref) == b"hello from docker-py"


def test_registry_data_is_that_of_the_api(engine, build, ecr, repository, images_in):
    _, auth = credentials(ecr)
    ref = f"{repository.uri}:v1"
    build(ref, "registry data")
    digest = push(engine, ref, auth_config=auth)
    data = engine.images.get_registry_data(ref, auth_config=auth)
    assert data.id == digest
    assert data.has_platform("linux/amd64")
    assert (
        images_in(repository.name)[digest]["imageManifestMediaType"] == data.attrs["Descriptor"]["mediaType"]
    )


def test_image_deleted_by_the_api_is_not_found(engine, build, ecr, repository):
    _, auth = credentials(ecr)
    ref = f"{repository.uri}:v1"
    build(ref, "short-lived")
    push(engine, ref, auth_config=auth)
    ecr.batch_delete_image(repositoryName=repository.name, imageIds=[{"imageTag": "v1"}])
    with pytest.raises(NotFound, match="manifest unknown"):
        engine.images.pull(repository.uri, tag="v1", auth_config=auth)


def test_refusals_have_ecrs_text(engine, build, ecr, make_repository, server, tags_in):
    _, auth = credentials(ecr)
    repository = make_repository(imageTagMutability="IMMUTABLE")
    ref = f"{repository.uri}:v1"
    build(ref, "first")
    digest = push(engine, ref, auth_config=auth)
    build(ref, "second")
    with pytest.raises(APIError, match="cannot be overwritten because the tag is immutable"):
        push(engine, ref, auth_config=auth)
    assert tags_in(repository.name)[digest] == ["v1"]
    build(f"{server.registry}/no/such:v1", "lost")
    with pytest.raises(APIError, match="The repository with name 'no/such' does not exist"):
        push(engine, f"{server.registry}/no/such:v1", auth_config=auth)


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(engine, build, run, token_server):
    registry, auth = credentials(api_of(token_server))
    ref = f"{registry}/app:docker-python"
    build(ref, "for those who log in")
    with trusted_by_docker(token_server):
        with pytest.raises(APIError, match="no basic auth credentials"):
            push(engine, ref, auth_config={})
        with pytest.raises(APIError, match="401"):
            engine.login(registry=registry, reauth=True, username="AWS", password="wrong")
        assert engine.login(registry=registry, **auth)["Status"] == "Login Succeeded"
        # The client remembers what it logged in with.
        push(engine, ref)
        engine.images.remove(ref)
        engine.images.pull(f"{registry}/app", tag="docker-python")
    assert run(ref) == b"for those who log in"
