"""The image on its own: who runs in it, and that nothing is lost when it is stopped."""

import time
import uuid

import pytest

from ecr_emulator import __version__
from tests.containers.conftest import server_at
from tests.serving import api_of

# The first test waits for the image to be built.
pytestmark = pytest.mark.timeout(240)


class Container:
    """A container of the image, with a read-only file system and no capabilities."""

    def __init__(self, docker, image, volume, *flags):
        self._docker = docker
        self.name = f"ecr-{uuid.uuid4().hex}"
        docker.run(
            *("run", "--detach", "--name", self.name, "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
            *("--publish=127.0.0.1::4510", f"--volume={volume}:/data", *flags, image),
        )

    def __enter__(self):
        deadline = time.monotonic() + 60
        while (health := self.state()["Health"])["Status"] != "healthy":
            assert time.monotonic() < deadline, f"{health}\n{self.logs()}"
            time.sleep(0.2)
        return self

    def __exit__(self, *_exception):
        self._docker.run("rm", "--force", self.name)

    def server(self):
        return server_at(self._docker.run("port", self.name, "4510").splitlines()[0])

    def state(self):
        return self._docker.json("inspect", "--format={{json .State}}", self.name)

    def run(self, *command):
        return self._docker.run("exec", self.name, *command)

    def stop(self):
        """Stop it as ``docker stop`` does; returns the exit code: 137 of one that had to be killed."""
        self._docker.run("stop", "--time=20", self.name)
        return self.state()["ExitCode"]

    def logs(self):
        code, out, err = self._docker.call(("logs", self.name), None, {})
        assert code == 0
        return out + err


@pytest.fixture
def volume(docker):
    name = docker.run("volume", "create")
    yield name
    docker.run("volume", "rm", name)


def test_it_says_what_it_is(docker, image):
    [inspected] = docker.json("inspect", image)
    config = inspected["Config"]
    assert config["User"] == "10001:10001"
    assert list(config["ExposedPorts"]) == ["4510/tcp"]
    assert list(config["Volumes"]) == ["/data"]
    assert "/opt/ecr-emulator/healthcheck.py" in config["Healthcheck"]["Test"]
    assert docker.run("run", "--rm", image, "--version") == f"ecr-emulator {__version__}"


def test_it_has_what_serving_needs_and_no_more(docker, image):
    listed = docker.run(
        *("run", "--rm", "--entrypoint=python3", image, "-c"),
        "from importlib.metadata import distributions as all; print(*(each.name.lower() for each in all()))",
    )
    packages = set(listed.split())
    assert {"ecr-emulator", "aiobotocore", "psycopg", "botocore"} <= packages
    assert not packages & {"pip", "hatchling", "pytest", "boto3", "moto"}


def test_what_was_pushed_outlives_the_container(docker, image, volume, push, pull):
    with Container(docker, image, volume) as container:
        assert container.run("id", "-u") == "10001"
        assert container.run("cat", "/proc/1/comm") == "ecr-emulator"
        digest = push(container.server(), "app")
        assert container.stop() == 0
        assert "stopping" in container.logs()
    with Container(docker, image, volume) as container:
        assert pull(container.server(), "app") == digest
        [described] = api_of(container.server()).describe_images(repositoryName="app")["imageDetails"]
        assert described["imageDigest"] == digest


def test_it_is_healthy_where_it_speaks_tls_on_another_port(docker, image, volume):
    flags = ("--env=ECR_EMULATOR_TLS=on", "--env=ECR_EMULATOR_PORT=8443")
    with Container(docker, image, volume, *flags) as container:
        assert "https://0.0.0.0:8443" in container.logs()


def test_it_is_not_healthy_where_nobody_answers(docker, image):
    code, _, err = docker.call(
        ("run", "--rm", "--entrypoint=python3", image, "/opt/ecr-emulator/healthcheck.py"), None, {}
    )
    assert code == 1
    assert "/_emulator/ready" in err
