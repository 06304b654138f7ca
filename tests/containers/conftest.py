"""An engine of the tests' own, with the project's image, built from a base that was made on this machine."""

# Fixtures and a hook are imported to be found by name.
# ruff: noqa: F401, F811

from __future__ import annotations

import ast
import copy
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import (
    Client,
    bridge,
    docker_engine,
    find_tool,
    logs,
    pytest_runtest_makereport,
)
from tests.serving import ROOT, Server, api_of, free_port

BASE = "containers-base"
# Those that a build sees under their own names.
PROXIES = [name for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") if name in os.environ]


@pytest.fixture(scope="session")
def docker(bridge: str, logs: dict[str, Path]) -> Iterator[Client]:
    """The docker CLI on an engine that has the base."""
    base = ROOT / "build" / f"{BASE}.tar"
    if not base.exists():
        pytest.fail("there is no base: run scripts/install_containers.sh", pytrace=False)
    # A short path: the names of sockets are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ecr-docker-"))
    try:
        with docker_engine(folder, bridge, logs) as docker:
            docker.env |= {"DOCKER_BUILDKIT": "1", **{name: os.environ[name] for name in PROXIES}}
            docker.run("import", base, BASE)
            yield docker
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def build(docker: Client) -> Callable[..., None]:
    """Builds an image from the base, with the network of this machine, by which it gets packages."""

    builder = copy.copy(docker)
    builder.timeout = 200.0  # packages come from the network

    def build(name: str, folder: Path, *flags: Any) -> None:
        arguments = [f"--build-arg={argument}" for argument in (f"BASE={BASE}", *PROXIES)]
        builder.run("build", "--network=host", *arguments, *flags, "--tag", name, folder)

    return build


@pytest.fixture(scope="session")
def image(build: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The project's image, as the Dockerfile makes it; its name."""
    config = tmp_path_factory.mktemp("pip") / "pip.conf"
    config.write_text(pip_config())
    authorities = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
    secrets = (f"--secret=id=pip.conf,src={config}", f"--secret=id=ca-certificates,src={authorities}")
    build("ecr-emulator", ROOT, *secrets)
    return "ecr-emulator"


def pip_config() -> str:
    """What pip on this machine is told about its index, as the text of a configuration file."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.partition("=") for line in listed.splitlines()]
    told = {key.rpartition(".")[2]: ast.literal_eval(value) for key, _, value in lines}
    wanted = ("index-url", "extra-index-url", "trusted-host", "proxy")
    return "\n".join(["[global]", *(f"{name} = {told[name]}" for name in wanted if name in told), ""])


def server_at(registry: str) -> Server:
    """The server that a container's published port leads to."""
    return Server(f"http://{registry}", registry, Path("/data"))


class Compose:
    """Compose with some of the project's files, on a free port."""

    def __init__(self, docker: Client, home: Path, files: tuple[Path, ...], env: dict[str, str]) -> None:
        self.registry = f"127.0.0.1:{free_port()}"
        engine = docker.command[docker.command.index("--host") + 1]
        self._client = Client(
            find_tool("docker-compose"),
            *("--project-directory", str(ROOT), *(f"--file={file}" for file in files)),
            home=home,
            env={"DOCKER_HOST": engine, "PORT": self.registry.rpartition(":")[2], **env},
        )
        self.run, self.json = self._client.run, self._client.json

    def up(self, **env: str) -> Server:
        """Start what does not run, and wait until all is healthy."""
        try:
            self.run("up", "--no-build", "--wait", "--wait-timeout", "80", **env)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.run('logs', '--tail', '40')}") from error
        return server_at(self.registry)

    def containers(self, service: str) -> list[str]:
        """The names of the containers of a service that run."""
        listed = self.run("ps", "--format", "json", service).splitlines()
        return [json.loads(line)["Name"] for line in listed]


@pytest.fixture
def compose(docker: Client, image: str, tmp_path: Path) -> Iterator[Callable[..., Compose]]:
    """Makes a project of compose from files, which ends with the test, together with its volumes."""
    made: list[Compose] = []

    def make(*files: Path, **env: str) -> Compose:
        made.append(Compose(docker, tmp_path, files, env))
        return made[-1]

    yield make
    for project in made:
        project.run("down", "--volumes")


@pytest.fixture
def push(docker: Client, tmp_path: Path) -> Callable[[Server, str], str]:
    """Creates a repository and pushes an image to it, as v1, that nothing else has; returns its digest."""

    def push(server: Server, repository: str) -> str:
        uri = api_of(server).create_repository(repositoryName=repository)["repository"]["repositoryUri"]
        assert uri == f"{server.registry}/{repository}"
        docker.run("import", tar_of("hello", uuid.uuid4().bytes, tmp_path), f"{uri}:v1")
        pushed = docker.run("push", f"{uri}:v1")
        docker.run("rmi", f"{uri}:v1")
        return pushed.rpartition("digest: ")[2].split()[0]

    return push


def tar_of(name: str, content: bytes, folder: Path) -> Path:
    path = folder / f"{uuid.uuid4().hex}.tar"
    with tarfile.open(path, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def pull(docker: Client) -> Callable[[Server, str], str]:
    """Pulls v1 of a repository, and lets the engine forget it; returns its digest."""

    def pull(server: Server, repository: str) -> str:
        name = f"{server.registry}/{repository}:v1"
        pulled = docker.run("pull", name)
        assert "Pull complete" in pulled
        docker.run("rmi", name)
        return pulled.rpartition("Digest: ")[2].split()[0]

    return pull
