"""Several server processes over one store, behind a load balancer."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import sha256
from tests.contract.oci_client import OciClient, PushedImage, exchange
from tests.faults.conftest import COMMAND, ServerProcess
from tests.postgresql import Postgres
from tests.s3 import Versitygw
from tests.scaled.faults.balancer import Balancer
from tests.scaled.faults.clients import Client, Pusher
from tests.serving import CREDENTIALS

SEED = 20240229


@dataclass
class Cluster:
    """Servers over one store, and the address of a balancer before them."""

    servers: list[ServerProcess]
    address: str
    data_dir: Path
    environment: dict[str, str]
    api: Any

    @cached_property
    def headers(self) -> dict[str, str]:
        """Those by which a server knows, of several registries, which one is meant."""
        [data] = self.api.get_authorization_token()["authorizationData"]
        return {"Authorization": f"Basic {data['authorizationToken']}"}

    def oci(self, number: int) -> OciClient:
        """A client of one of the servers, in turn."""
        return OciClient(self.servers[number % len(self.servers)].address, **self.headers)

    def start_pushers(
        self, number: int, *, persistence: float = 1.0, pusher: type[Pusher] = Pusher
    ) -> list[Pusher]:
        """Let clients push to the repository app, each request through another server."""
        pushers = []
        for name in range(number):
            client = Client(self.address, random.Random(f"{SEED} {name}"), persistence, self.headers)
            pushers.append(pusher(client, "app", f"p{name}"))
        for each in pushers:
            each.start()
        return pushers

    def everywhere(self, action: Callable[[ServerProcess], Any]) -> list[Any]:
        """Do something on all servers at the same time."""
        with ThreadPoolExecutor(len(self.servers)) as threads:
            return list(threads.map(action, self.servers))

    def manage(self, path: str, body: dict[str, Any] | None = None) -> list[Any]:
        """POST to a management path of all servers at the same time."""
        return self.everywhere(lambda server: server.manage(path, body or {}))

    def lost(self, images: dict[str, PushedImage], repository: str = "app") -> list[str]:
        """Return what is not there as it was pushed: tags on each server, bytes on one of them in turn."""
        return [
            tag for found in self.everywhere(lambda one: self._lost(one, images, repository)) for tag in found
        ]

    def _lost(self, server: ServerProcess, images: dict[str, PushedImage], repository: str) -> list[str]:
        lost = []
        turn = self.servers.index(server)
        connection = http.client.HTTPConnection(server.address, timeout=60)
        with contextlib.closing(connection):
            for number, (tag, image) in enumerate(images.items()):
                whole = [(f"manifests/{tag}", image.manifest)]
                if number % len(self.servers) == turn:
                    whole += [(f"blobs/{sha256(content)}", content) for content in image.blobs]
                for path, content in whole:
                    answer = exchange(connection, "GET", f"/v2/{repository}/{path}", None, self.headers)
                    if (answer.status, answer.body) != (200, content):
                        lost.append(f"{tag}: {path}: {answer.status}")
        return lost

    def check(self) -> str:
        """Run the command that verifies every digest and reference; return what it says at last."""
        ended = subprocess.run(
            [*COMMAND, "check", "--data-dir", str(self.data_dir)],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.splitlines()[-1]


OpenCluster = Callable[..., contextlib.AbstractContextManager[Cluster]]


@pytest.fixture
def shared(postgres: Postgres, versitygw: Versitygw) -> dict[str, str]:
    """The environment of servers over PostgreSQL and S3."""
    return environment_of(postgres.new_database(), versitygw.new_url("&redirect=off"))


def environment_of(metadata_url: str, blobs_url: str) -> dict[str, str]:
    """Return the variables with which a server's process has its state there."""
    return {**CREDENTIALS, "ECR_EMULATOR_METADATA_URL": metadata_url, "ECR_EMULATOR_BLOBS_URL": blobs_url}


@contextlib.contextmanager
def running(
    data_dir: Path, environment: dict[str, str], number: int, *flags: str, program: str | None = None
) -> Iterator[Cluster]:
    """Run servers with the repository app."""
    servers = [
        ServerProcess("--data-dir", str(data_dir), *flags, environment=environment, program=program)
        for _ in range(number)
    ]
    balancer = Balancer(servers)
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
        stack.enter_context(balancer.running())
        api = servers[0].api
        api.create_repository(repositoryName="app")
        yield Cluster(servers, balancer.address, data_dir, environment, api)


@pytest.fixture(params=["postgresql and s3", "sqlite and files"])
def cluster_of(request: pytest.FixtureRequest, tmp_path: Path) -> OpenCluster:
    """Runs servers over what they can share: on many machines, and on one."""
    environment = request.getfixturevalue("shared") if request.param == "postgresql and s3" else {}
    return lambda number, *flags: running(tmp_path / "data", environment, number, *flags)
