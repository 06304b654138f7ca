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
from typing import Any

from benchmarks import client
from benchmarks.client import OCI_MANIFEST, Image, Images, Payload, Payloads
from benchmarks.peers import EMPTY, FILLED, REPOSITORY, Server, Stock

MIB = 1 << 20
CONNECTIONS = (1, 16, 64)
GROWTH_PUTS = 200
IDLE_TIMEOUT = 20.0


@dataclass(frozen=True)
class Scale:
    """How much is done. Sizes in bytes, times in seconds."""

    blob: int = 256 * MIB
    layers: int = 20
    layer: int = 5 * MIB
    clients: int = 16
    large_layer: int = 1024 * MIB
    seconds: int = 1


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
        slow: bool = False,
    ) -> None:
        """Add a sample: requests per second, of which "@n@" tells one from another.

        Where they are ``slow``, they are sent for longer.
        """
        server, generator, started = self.server.cpu_seconds(), _own_cpu(), time.perf_counter()
        rate = client.rate(
            self.server.port,
            method,
            path,
            headers=headers,
            connections=connections,
            seconds=self.scale.seconds * (3 if slow else 1),
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

    def call_rate(
        self, name: str, operation: str, connections: int, *, slow: bool = False, **arguments: object
    ) -> None:
        """Add a sample: calls of the ECR API per second."""
        self.rate(
            name,
            "POST",
            "/",
            headers=self.server.api_headers(operation),
            connections=connections,
            body=json.dumps(arguments).encode(),
            slow=slow,
        )

    def wait_until_idle(self) -> None:
        """Wait until the server has done what it does once it is started, which no call should pay for."""
        deadline = time.monotonic() + IDLE_TIMEOUT
        spent = -1.0
        while spent != self.server.cpu_seconds() and time.monotonic() < deadline:
            spent = self.server.cpu_seconds()
            time.sleep(0.5)

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
    """Something to measure, on servers that have its plane.

    It is done ``once`` where one round tells enough, and ``of_variants`` where other access control matters.
    """

    name: str
    title: str
    plane: str
    run: Callable[[Run], None]
    once: bool = False
    stock: Stock = EMPTY
    of_variants: bool = False


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


def describe_images(run: Run) -> None:
    """Describe 1,000 images in one answer."""
    arguments = {"repositoryName": FILLED, "maxResults": 1000}
    with run.server.api() as connection:
        found = len(run.server.call(connection, "DescribeImages", **arguments)["imageDetails"])
        if found != 1000:
            raise client.BenchError(f"DescribeImages lists {found} images, not 1000")
    run.call_rate("describe-images", "DescribeImages", 1, slow=True, **arguments)


def list_images(run: Run) -> None:
    """List 20,000 images, or as many as could be put, page by page."""
    with run.server.api() as connection:
        total = _listed(run, connection)
        run.note("listed-images", "images", total)
        for _ in range(5):
            with run.timed("list-images", "images/s", total):
                _listed(run, connection)


def _listed(run: Run, connection: client.Connection) -> int:
    """Go through all pages of ListImages, and return the number of images."""
    total = 0
    token: dict[str, str] = {}
    while True:
        answer = run.server.call(connection, "ListImages", repositoryName=FILLED, maxResults=1000, **token)
        total += len(answer["imageIds"])
        if not answer.get("nextToken"):
            return total
        token = {"nextToken": answer["nextToken"]}


def growth(run: Run) -> None:
    """Call what should cost the same however many images there are."""
    run.wait_until_idle()
    if "registry" in run.server.peer.planes:
        _grown_registry(run)
    if "api" in run.server.peer.planes:
        _grown_api(run)


def _grown_registry(run: Run) -> None:
    path = f"/v2/{FILLED}/manifests/"
    headers = {**run.server.registry_headers, "Accept": OCI_MANIFEST, "Content-Type": OCI_MANIFEST}
    run.rate("manifest GET", "GET", f"{path}image-0", headers=headers, connections=1)
    with run.server.registry() as connection:
        answer = connection.request("GET", f"{path}image-0", headers={"Accept": OCI_MANIFEST}, expect=200)
        contents = _new_contents(json.loads(answer.body))
        with run.timed("manifest PUT", "requests/s", len(contents)):
            for tag, content in contents.items():
                client.put_manifest(connection, FILLED, tag, content.encode())


def _grown_api(run: Run) -> None:
    call_rate = partial(run.call_rate, connections=1, repositoryName=FILLED)
    run.call_rate("DescribeRepositories", "DescribeRepositories", 1, maxResults=10)
    call_rate("DescribeImages", "DescribeImages", maxResults=10)
    call_rate("ListImages", "ListImages", maxResults=10)
    call_rate("BatchGetImage", "BatchGetImage", imageIds=[{"imageTag": "image-0"}])
    with run.server.api() as connection:
        call = partial(run.server.call, connection, repositoryName=FILLED)
        answer = call("BatchGetImage", imageIds=[{"imageTag": "image-0"}])
        contents = _new_contents(json.loads(answer["images"][0]["imageManifest"]))
        with run.timed("PutImage", "requests/s", len(contents)):
            for tag, content in contents.items():
                call("PutImage", imageManifest=content, imageManifestMediaType=OCI_MANIFEST, imageTag=tag)
        with run.timed("BatchDeleteImage", "requests/s", len(contents)):
            for tag in contents:
                failures = call("BatchDeleteImage", imageIds=[{"imageTag": tag}]).get("failures")
                if failures:
                    raise client.BenchError(f"BatchDeleteImage: {failures}")


def _new_contents(stored: dict[str, Any]) -> dict[str, str]:
    """Return manifests by tag that no earlier run on the same store has put."""
    tags = (f"new-{time.time_ns()}-{number}" for number in range(GROWTH_PUTS))
    return {tag: json.dumps({**stored, "annotations": {"tag": tag}}) for tag in tags}


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
    Workload("blob", "one blob of 256 MiB", "registry", blob, of_variants=True),
    Workload("image", "images of 20 layers of 5 MiB", "registry", image),
    Workload("manifest-get", "manifests by tag, GET and HEAD", "registry", manifest_get, of_variants=True),
    Workload("manifest-put", "new manifests", "registry", manifest_put, of_variants=True),
    Workload("describe-repositories", "DescribeRepositories", "api", describe_repositories),
    Workload("put-image", "PutImage", "api", put_image),
    Workload("create-repository", "CreateRepository", "api", create_repository),
    Workload("describe-images", "DescribeImages", "api", describe_images, stock=Stock(1000)),
    Workload("list-images", "ListImages", "api", list_images, stock=Stock(20_000), once=True),
    Workload("memory-peak", "16 layers of 1 GiB at once", "registry", memory_peak, once=True),
]
# Apart, since it runs on stores of several sizes, filled once: all in one repository, or in a hundred.
GROWTH = Workload("growth", "cost of a call as the store grows", "any", growth)
SIZES = {
    "one repository": [Stock(10), Stock(100), Stock(1000), Stock(100_000)],
    "100 repositories": [Stock(1, 100), Stock(10, 100), Stock(1000, 100)],
}
# What others, which have to be filled by calls, are measured with.
SIZES_BY_CALLS = {"one repository": [Stock(10), Stock(1000)]}
