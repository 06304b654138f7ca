"""The compose files: one server, and several behind a proxy."""

import base64
import shutil
from pathlib import Path

import pytest

from tests.clients.conftest import find_tool
from tests.serving import ROOT, api_of

HERE = Path(__file__).parent
SINGLE = ROOT / "compose.yaml"
SCALED = ROOT / "compose.scaled.yaml"

# The first test waits for images to be built.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def services(build, tmp_path_factory):
    """The images of others, made here: PostgreSQL, a proxy and S3."""
    folder = tmp_path_factory.mktemp("services")
    shutil.copy(HERE / "postgres.sh", folder)
    shutil.copy(find_tool("versitygw"), folder / "versitygw")
    for name in ("postgres", "proxy", "s3"):
        build(f"ci-{name}", folder, f"--file={HERE / 'services.Dockerfile'}", f"--target={name}")


@pytest.mark.parametrize("file", [SINGLE, SCALED])
def test_images_of_others_have_a_version(compose, file):
    services = compose(file).json("config", "--format", "json")["services"]
    assert all("build" in service or service["image"].count(":") == 1 for service in services.values())


def test_variables_reach_the_server(compose):
    config = compose(SINGLE, ECR_EMULATOR_AUTH="strict").json("config", "--format", "json")
    assert config["services"]["server"]["environment"]["ECR_EMULATOR_AUTH"] == "strict"


def test_one_server_keeps_what_was_pushed(compose, push, pull):
    project = compose(SINGLE)
    digest = push(project.up(), "app")
    project.run("down")
    assert pull(project.up(), "app") == digest


def test_several_servers_are_one_registry(docker, compose, services, push, pull):
    project = compose(SCALED, HERE / "compose.ci.yaml", ECR_EMULATOR_AUTH="token")
    server = project.up()
    login(docker, server)
    digests = {name: push(server, name) for name in ("one", "two", "three")}
    assert {name: pull(server, name) for name in digests} == digests
    containers = project.containers("server")
    assert len(containers) == 3
    assert all(served(docker, name) for name in containers)

    # What the proxy says of a client counts, and not what the client says of itself.
    client = api_of(server)
    client.meta.events.register("before-send.ecr", claim_tls)
    [data] = client.get_authorization_token()["authorizationData"]
    assert data["proxyEndpoint"] == server.url

    # One of them is killed, and nobody notices: the proxy sends requests to those that are left.
    docker.run("kill", containers[0])
    digests["four"] = push(server, "four")

    # Nothing is in the servers, and there may be another number of them.
    project.run("down")
    server = project.up(SERVERS="2")
    assert len(project.containers("server")) == 2
    login(docker, server)
    assert {name: pull(server, name) for name in digests} == digests


def claim_tls(request, **_):
    request.headers["X-Forwarded-Proto"] = "https"


def login(docker, server):
    [data] = api_of(server).get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    docker.run("login", "--username", user, "--password-stdin", server.registry, stdin=password)


METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:4510/_emulator/metrics").read().decode())
"""


def served(docker, container):
    """Whether a server has answered a request of the registry."""
    return 'plane="data"' in docker.run("exec", container, "python3", "-c", METRICS)
