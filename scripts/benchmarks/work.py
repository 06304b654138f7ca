"""The workloads: each is given a server that was just started on an empty folder, and takes samples."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import client
from benchmarks.client import OCI_MANIFEST, Image, Images, Payload, Payloads
from benchmarks.peers import REPOSITORY, Server

MIB = 1 << 20
CONNECTIONS = (1, 16, 64)


@dataclass(frozen=True)
class Scale:
    """How much is done. Sizes in bytes, times in seconds."""

    blob: int = 256 * MIB
    layers: int = 20
    layer: int = 5 * MIB
    clients: int = 16
    large_layer: int = 1024 * MIB
    seconds: int = 3


QUICK = Scale(blob=64 * MIB, layer=1 * MIB, clients=8, large_layer=128 * MIB, seconds=1)


@dataclass(frozen=True)
class Sample:
    """One measurement, and what processor time the server and the load generator spent on it."""

    name: str
    unit: str
    value: float
    seconds: float = 0.0
    server_cpu: float = 0.0
    generator_cpu: float = 0.0


@dataclass
class Run:
    """A workload at work on a server."""

    server: Server
    scale: Scale
    folder: Path
    samples: list[Sample] = field(default_factory=list)

    def note(self, name: str, unit: str, value: float) -> None:
        """Add a sample that is no matter of time."""
        self.samples.append(Sample(name, unit, value))

    @contextmanager
    def timed(self, name: str, unit: str, amount: float) -> Iterator[None]:
        """Add a sample: the amount that the block did, per second that it took."""
        os.sync()  # What others wrote is not to be waited for by the block.
        server, generator, started = self.server.cpu_seconds(), _own_cpu(), time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self.samples.append(
            Sample(
                name,
                unit,
                amount / seconds,
                seconds,
                self.server.cpu_seconds() - server,
                _own_cpu() - generator,
            )
        )

    def rate(
        self,
        name: str,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        connections: int,
        body: bytes = b"",
    ) -> None:
        """Add a sample: requests per second, of which "@n@" tells one from another."""
        server, generator, started = self.server.cpu_seconds(), _own_cpu(), time.perf_counter()
        rate = client.rate(
            self.server.port,
            method,
            path,
            headers=headers,
            connections=connections,
            seconds=self.scale.seconds,
            prefix=f"c{connections}-",
            body=body,
        )
        self.samples.append(
            Sample(
                name,
                "requests/s",
                rate.per_second,
                time.perf_counter() - started,
                self.server.cpu_seconds() - server,
                _own_cpu() - generator,
            )
        )

    def call_rate(self, name: str, operation: str, connections: int, **arguments: object) -> None:
        """Add a sample: calls of the ECR API per second."""
        self.rate(
            name,
            "POST",
            "/",
            headers=self.server.api_headers(operation),
            connections=connections,
            body=json.dumps(arguments).encode(),
        )

    def push(self, image: Image, connections: int = 8) -> None:
        """Push an image."""
        client.push_image(self.server.port, self.server.registry_headers, REPOSITORY, image, connections)

    def pull(self, image: Image, connections: int = 8) -> None:
        """Pull an image."""
        client.pull_image(self.server.port, self.server.registry_headers, REPOSITORY, image, connections)


def _own_cpu() -> float:
    """Return the processor time of this process and of the wrk that it ran."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in spent)


@dataclass(frozen=True)
class Workload:
    """Something to measure, on servers that have its plane; ``once`` where one round tells enough."""

    name: str
    title: str
    plane: str
    run: Callable[[Run], None]
    once: bool = False


def start(run: Run) -> None:
    """Note the time from the command to the first answer, and memory at rest."""
    run.note("start", "s", run.server.start_seconds)
    time.sleep(0.5)
    run.note("memory-at-rest", "MiB", run.server.memory("VmRSS"))


def blob(run: Run) -> None:
    """Push and pull one big blob."""
    payload = Payloads(run.folder, run.scale.blob).make("blob")
    small = client.small(os.urandom(MIB))
    amount = payload.size / MIB
    with run.server.registry() as connection:
        client.push_blob(connection, REPOSITORY, small)
        client.verify_blob(connection, REPOSITORY, small)
        with run.timed("blob-push", "MiB/s", amount):
            client.push_blob(connection, REPOSITORY, payload)
        with run.timed("blob-pull", "MiB/s", amount):
            client.pull_blob(connection, REPOSITORY, payload)
        client.verify_blob(connection, REPOSITORY, payload)


def image(run: Run) -> None:
    """Push and pull an image of many layers by one client, then as many images by many clients at once."""
    images = Images(run.folder, run.scale.layers, run.scale.layer)
    first = images.make("first")
    with run.timed("image-push", "MiB/s", first.size / MIB):
        run.push(first)
    with run.timed("image-pull", "MiB/s", first.size / MIB):
        run.pull(first)
    others = [images.make(f"client-{number}") for number in range(run.scale.clients)]
    amount = first.size * len(others) / MIB

    def push_and_pull(one: Image) -> None:
        run.push(one)
        run.pull(one)

    with run.timed("image-mix", "MiB/s", 2 * amount):
        client.at_once([partial(push_and_pull, one) for one in others])


def _tagged_image(run: Run) -> tuple[Payload, list[Payload], bytes]:
    """Push an image of many small layers; return its config, its layers and its manifest."""
    config = client.small(b'{"architecture": "amd64", "os": "linux"}')
    layers = [client.small(b"layer %d" % number) for number in range(run.scale.layers)]
    content = client.manifest(config, layers)
    with run.server.registry() as connection:
        for each in (config, *layers):
            client.push_blob(connection, REPOSITORY, each)
        client.put_manifest(connection, REPOSITORY, "latest", content)
    return config, layers, content


def manifest_get(run: Run) -> None:
    """Ask for a manifest by its tag."""
    _tagged_image(run)
    headers = {**run.server.registry_headers, "Accept": OCI_MANIFEST}
    path = f"/v2/{REPOSITORY}/manifests/latest"
    with run.server.registry() as connection:
        for _ in range(200):
            connection.request("GET", path, headers={"Accept": OCI_MANIFEST}, expect=200)
    for method in ("GET", "HEAD"):
        for connections in CONNECTIONS:
            name = f"manifest-{method.lower()}-{connections}"
            run.rate(name, method, path, headers=headers, connections=connections)


def manifest_put(run: Run) -> None:
    """Push new manifests, each with a tag of its own, whose layers are there."""
    config, layers, _ = _tagged_image(run)
    headers = {**run.server.registry_headers, "Content-Type": OCI_MANIFEST}
    body = client.manifest(config, layers, "@n@")
    path = f"/v2/{REPOSITORY}/manifests/@n@"
    for connections in CONNECTIONS:
        os.sync()
        name = f"manifest-put-{connections}"
        run.rate(name, "PUT", path, headers=headers, connections=connections, body=body)


def describe_repositories(run: Run) -> None:
    """Describe all of 100 repositories, and one of them by its name."""
    with run.server.api() as connection:
        for number in range(99):
            run.server.call(connection, "CreateRepository", repositoryName=f"many/{number:03}")
        found = run.server.call(connection, "DescribeRepositories")["repositories"]
        if len(found) != 100:
            raise client.BenchError(f"DescribeRepositories lists {len(found)} repositories, not 100")
    run.call_rate("describe-repositories", "DescribeRepositories", 16)
    run.call_rate("describe-repository", "DescribeRepositories", 16, repositoryNames=[REPOSITORY])


def put_image(run: Run) -> None:
    """Put new images over the ECR API, each with a tag of its own."""
    if "registry" in run.server.peer.planes:
        config, layers, _ = _tagged_image(run)
    else:
        config = client.small(b"{}")
        layers = [client.small(b"layer %d" % number) for number in range(run.scale.layers)]
    for connections in (1, 16):
        os.sync()
        run.call_rate(
            f"put-image-{connections}",
            "PutImage",
            connections,
            repositoryName=REPOSITORY,
            imageManifest=client.manifest(config, layers, "@n@").decode(),
            imageManifestMediaType=OCI_MANIFEST,
            imageTag="@n@",
        )


def create_repository(run: Run) -> None:
    """Create repositories."""
    run.call_rate("create-repository", "CreateRepository", 16, repositoryName="new/@n@")


def memory_peak(run: Run) -> None:
    """Push a layer of a gigabyte by each of many clients at once."""
    payloads = Payloads(run.folder, run.scale.large_layer)

    def push(number: int) -> None:
        with run.server.registry() as connection:
            client.push_blob(connection, REPOSITORY, payloads.make(f"large-{number}"))

    amount = run.scale.clients * run.scale.large_layer / MIB
    with run.timed("large-push", "MiB/s", amount):
        client.at_once([partial(push, number) for number in range(run.scale.clients)])
    run.note("memory-peak", "MiB", run.server.memory("VmHWM"))


WORKLOADS = [
    Workload("start", "start and memory at rest", "any", start),
    Workload("blob", "one blob of 256 MiB", "registry", blob),
    Workload("image", "images of 20 layers of 5 MiB", "registry", image),
    Workload("manifest-get", "manifests by tag, GET and HEAD", "registry", manifest_get),
    Workload("manifest-put", "new manifests", "registry", manifest_put),
    Workload("describe-repositories", "DescribeRepositories", "api", describe_repositories),
    Workload("put-image", "PutImage", "api", put_image),
    Workload("create-repository", "CreateRepository", "api", create_repository),
    Workload("memory-peak", "16 layers of 1 GiB at once", "registry", memory_peak, once=True),
]
