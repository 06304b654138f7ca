"""The servers that are compared: how each is started, made ready and asked in its own way."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import (
    CONFIG_TYPE,
    LAYER_TYPE,
    OCI_MANIFEST,
    BenchError,
    Connection,
    manifest,
    push_blob,
    put_manifest,
    small,
)

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
REPOSITORY = "bench/app"
_TARGET = "AmazonEC2ContainerRegistry_V20150921"
# User AWS, password bench, at the cost that htpasswd takes by default.
_HTPASSWD = "AWS:$2y$05$abcdefghijklmnopqrstuu9v.wgSpAQwnM0MaCtd.77WoEHF.lu62"
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "PushAndPull",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
            "Action": [
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:CompleteLayerUpload",
                "ecr:GetDownloadUrlForLayer",
                "ecr:InitiateLayerUpload",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ],
        },
        {
            "Sid": "NotFromElsewhere",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "ecr:PutImage",
            "Condition": {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
        },
    ],
}
START_TIMEOUT = 30.0
# Seconds that the images of a workload may take to be put over the API, where there is no other way.
FILL_TIMEOUT = 45.0
# The repository that the images of a stock are in, or the first hundredth of them.
FILLED = "fill/000"


@dataclass(frozen=True)
class Stock:
    """What is in the store before a workload begins: images tagged image-0 and so on in each repository."""

    images: int
    repositories: int = 1


EMPTY = Stock(0, 0)


@dataclass
class Server:
    """A server that runs: ``start_seconds`` is the time from its command to its first answer."""

    peer: Peer
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    start_seconds: float
    registry_headers: dict[str, str] = field(default_factory=dict)

    def registry(self) -> Connection:
        """Return a connection for the distribution API."""
        return Connection(self.port, self.registry_headers)

    def api_headers(self, operation: str) -> dict[str, str]:
        """Return the headers of a call of the ECR API, signed as far as servers that verify nothing look."""
        return {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{_TARGET}.{operation}",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/ecr/aws4_request, "
            "SignedHeaders=host;x-amz-date;x-amz-target, Signature=0",
        }

    def call(self, connection: Connection, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call the ECR API. Raises BenchError where it refuses."""
        body = json.dumps(arguments).encode()
        answer = connection.request("POST", "/", body, self.api_headers(operation), expect=200)
        result: dict[str, Any] = json.loads(answer.body)
        return result

    def api(self) -> Connection:
        """Return a connection for the ECR API."""
        return Connection(self.port, {})

    def processes(self) -> list[int]:
        """Return the ids of the server's process and those below it."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found += [int(child) for child in children]
        return found

    def memory(self, what: str) -> float:
        """Return VmRSS or VmHWM of the server's processes together, in MiB."""
        total = 0
        for pid in self.processes():
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.split(f"{what}:")[1].split()[0])
        return total / 1024

    def cpu_seconds(self) -> float:
        """Return the processor time that the server has used."""
        total = 0.0
        for pid in self.processes():
            numbers = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
        return total


class Peer:
    """A kind of server."""

    planes = frozenset({"registry"})
    # What it says about fsync and about who may do what, for the report.
    durability = ""
    access = ""
    # The same server with other access control, of which the registry's plane tells the difference.
    is_variant = False
    # Whether its store can be filled before it is started.
    can_fill = False

    def __init__(self, name: str) -> None:
        self.name = name

    def missing(self) -> str | None:
        """Say what is not installed, or None."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Do what is done once, as by who installs the server."""

    def command(self, folder: Path, port: int) -> list[str]:
        """Write what configuration the server needs to its folder, and return its command."""
        raise NotImplementedError

    def environment(self, port: int) -> dict[str, str]:
        """Return the variables that the server is run with besides this process's."""
        return {}

    def working_folder(self) -> Path | None:
        """Return where the server runs, or None for its data folder."""
        return None

    def first_call(self, server: Server) -> None:
        """Ask for something that only a server that is up can answer. Raises OSError before that."""
        with server.registry() as connection:
            if connection.request("GET", "/v2/").status not in {200, 401}:
                raise BenchError(f"{self.name} does not speak the distribution API")

    def fill(self, folder: Path, stock: Stock) -> None:
        """Put images into the store before the server is started, where that can be done."""

    def make_ready(self, server: Server, stock: Stock) -> None:
        """Create what the workloads need, and log in."""

    def version(self) -> str:
        """Return the version for the report."""
        done = subprocess.run(self.version_command(), capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).split()[-1]

    def version_command(self) -> list[str]:
        """Return the command that prints the version as its last word."""
        raise NotImplementedError


class Emulator(Peer):
    """The emulator of a work tree, run by the interpreter that has its dependencies."""

    planes = frozenset({"registry", "api"})
    can_fill = True
    durability = "fsync of each blob, its folder and the metadata, before it is acknowledged"

    def __init__(self, name: str, python: str, tree: Path, *, auth: bool) -> None:
        super().__init__(name)
        self._python, self._tree, self._auth = python, tree, auth
        self.access = (
            "authorization token, a repository policy of two statements on each request" if auth else "none"
        )

    def missing(self) -> str | None:
        """Say what is not installed, or None."""
        return None if (self._tree / "ecr_emulator").is_dir() else f"no package in {self._tree}"

    def prepare(self) -> None:
        """Compile the work tree, as pip does with what it installs, the other peers among it."""
        subprocess.run([self._python, "-m", "compileall", "-q", str(self._tree / "ecr_emulator")], check=True)

    def command(self, folder: Path, port: int) -> list[str]:
        """Return the command; it keeps its data in the folder."""
        command = [self._python, "-m", "ecr_emulator", "serve", "--port", str(port), "--log-level", "warning"]
        command += ["--quotas", "images_per_repository=1000000"]
        return [*command, "--data-dir", str(folder / "data"), "--auth", "token" if self._auth else "off"]

    def working_folder(self) -> Path | None:
        """Return the work tree, so that its package is the one imported."""
        return self._tree

    def fill(self, folder: Path, stock: Stock) -> None:
        """Write the images' rows."""
        if not stock.images:
            return
        script = Path(__file__).with_name("fill.py")
        counts = [str(stock.repositories), str(stock.images)]
        subprocess.run(
            [self._python, str(script), str(folder / "data"), *counts],
            check=True,
            env={**os.environ, "PYTHONPATH": str(self._tree)},
        )

    def make_ready(self, server: Server, stock: Stock) -> None:
        """Create the repository, with a policy where these are to be looked at, and get a token."""
        with server.api() as connection:
            create_repository(server, connection, REPOSITORY)
            if not self._auth:
                return
            for name in [REPOSITORY, *([FILLED] if stock.images else [])]:
                policy = json.dumps(_POLICY)
                server.call(connection, "SetRepositoryPolicy", repositoryName=name, policyText=policy)
            answer = server.call(connection, "GetAuthorizationToken")
            token = answer["authorizationData"][0]["authorizationToken"]
            server.registry_headers["Authorization"] = f"Basic {token}"

    def version_command(self) -> list[str]:
        """Return the command that prints the version."""
        return [self._python, "-m", "ecr_emulator", "--version"]


class Distribution(Peer):
    """CNCF distribution: its current release, or the one that Debian has as docker-registry."""

    def __init__(self, name: str, program: str, durability: str, *, auth: bool) -> None:
        super().__init__(name)
        self.durability = durability
        self._program, self._auth = program, auth
        self.access = "htpasswd, bcrypt at cost 5 on each request" if auth else "none"

    def missing(self) -> str | None:
        """Say what is not installed, or None."""
        return None if Path(self._program).exists() else f"no {self._program}"

    def command(self, folder: Path, port: int) -> list[str]:
        """Write config.yml and return the command; as in the example that comes with it, without logs."""
        (folder / "htpasswd").write_text(_HTPASSWD + "\n")
        config = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "data")},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": f"127.0.0.1:{port}"},
        }
        if self._auth:
            config["auth"] = {"htpasswd": {"realm": "bench", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps(config))
        return [self._program, "serve", str(folder / "config.yml")]

    def environment(self, port: int) -> dict[str, str]:
        """Keep it from looking for a collector of traces."""
        return {"OTEL_TRACES_EXPORTER": "none"}

    def version_command(self) -> list[str]:
        """Return the command that prints the version."""
        return [self._program, "--version"]

    def make_ready(self, server: Server, stock: Stock) -> None:
        """Set the password, and push the images that there are to be."""
        if self._auth:
            password = base64.b64encode(b"AWS:bench").decode()
            server.registry_headers["Authorization"] = f"Basic {password}"
        if not stock.images:
            return
        layers = [small(b"layer %d" % number) for number in range(5)]
        with server.registry() as connection:
            for blob in layers:
                push_blob(connection, FILLED, blob)
            for number in range(stock.images):
                tag = f"image-{number}"
                put_manifest(connection, FILLED, tag, manifest(layers[0], layers, tag))


class Zot(Peer):
    """zot, its minimal build."""

    durability = "fsync of each blob (storage.commit)"
    access = "none"
    _program = BUILD / "bin/zot"

    def missing(self) -> str | None:
        """Say what is not installed, or None."""
        return None if self._program.exists() else "zot was not built"

    def command(self, folder: Path, port: int) -> list[str]:
        """Write config.json and return the command."""
        config = {
            "distSpecVersion": "1.1.0",
            "storage": {"rootDirectory": str(folder / "data"), "dedupe": True, "commit": True},
            "http": {"address": "127.0.0.1", "port": str(port)},
            "log": {"level": "error"},
        }
        (folder / "config.json").write_text(json.dumps(config))
        return [str(self._program), "serve", str(folder / "config.json")]

    def version_command(self) -> list[str]:
        """Return the command that prints the version."""
        return [str(self._program), "--version"]


class AwsMock(Peer):
    """A server of many AWS services, which keeps its state in memory."""

    planes = frozenset({"api"})
    durability = "none: memory"
    access = "none"

    def __init__(self, name: str, program: Path, arguments: list[str], port_variable: str = "") -> None:
        super().__init__(name)
        self._program, self._arguments, self._port_variable = program, arguments, port_variable

    def missing(self) -> str | None:
        """Say what is not installed, or None."""
        return None if self._program.exists() else f"no {self._program}"

    def command(self, folder: Path, port: int) -> list[str]:
        """Return the command."""
        return [str(self._program), *(each.format(port=port) for each in self._arguments)]

    def environment(self, port: int) -> dict[str, str]:
        """Return the variable that the port is in, where it is in one."""
        return {self._port_variable: str(port)} if self._port_variable else {}

    def first_call(self, server: Server) -> None:
        """Ask for something that only a server that is up can answer. Raises OSError before that."""
        with server.api() as connection:
            server.call(connection, "DescribeRepositories")

    def make_ready(self, server: Server, stock: Stock) -> None:
        """Create the repository, and put the images that there are to be, or as many as time allows."""
        deadline = time.monotonic() + FILL_TIMEOUT
        layer = {"mediaType": LAYER_TYPE, "digest": f"sha256:{0:064}", "size": 1000}
        with server.api() as connection:
            for name in (REPOSITORY, *(f"fill/{number:03}" for number in range(stock.repositories))):
                create_repository(server, connection, name)
            for number in range(stock.images):
                for repository in range(stock.repositories):
                    if time.monotonic() > deadline:
                        return
                    config = {"mediaType": CONFIG_TYPE, "digest": f"sha256:{number:064}", "size": 1000}
                    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config}
                    server.call(
                        connection,
                        "PutImage",
                        repositoryName=f"fill/{repository:03}",
                        imageManifest=json.dumps({**document, "layers": [layer] * 5}),
                        imageManifestMediaType=OCI_MANIFEST,
                        imageTag=f"image-{number}",
                    )

    def version_command(self) -> list[str]:
        """Return the command that prints the version of the package."""
        code = f"import importlib.metadata as m; print(m.version({self.name!r}))"
        return [str(self._program.with_name("python")), "-c", code]


def create_repository(server: Server, connection: Connection, name: str) -> None:
    """Create a repository that may be there already."""
    body = json.dumps({"repositoryName": name}).encode()
    answer = connection.request("POST", "/", body, server.api_headers("CreateRepository"))
    if answer.status != 200 and b"RepositoryAlreadyExists" not in answer.body:
        raise BenchError(f"CreateRepository: {answer.status} {answer.body[:300]!r}")


@contextlib.contextmanager
def running(peer: Peer, folder: Path, stock: Stock = EMPTY) -> Iterator[Server]:
    """Run a server on a folder that has a stock, made ready. Raises BenchError where it does not answer."""
    port = _free_port()
    command = peer.command(folder, port)
    with open(folder / "log", "wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=peer.working_folder() or folder,
            env={**os.environ, **peer.environment(port)},
        )
    server = Server(peer, port, process, folder, 0.0)
    try:
        while True:
            try:
                peer.first_call(server)
                break
            except (OSError, http.client.HTTPException) as error:
                waited = time.perf_counter() - started
                if process.poll() is not None or waited > START_TIMEOUT:
                    text = (folder / "log").read_text(errors="replace")[-2000:]
                    raise BenchError(f"{peer.name} does not answer: {error}\n{text}") from error
                time.sleep(0.002)
        server.start_seconds = time.perf_counter() - started
        peer.make_ready(server, stock)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def all_peers(python: str, baseline: Path | None) -> list[Peer]:
    """Return every peer, the emulator first; ``baseline`` is another work tree of the emulator."""
    release, debian = str(BUILD / "bin/distribution"), "/usr/bin/docker-registry"
    files = "fsync of each file, not of its folder"
    both = "fsync of each file, and of its folder where it is small"
    peers: list[Peer] = [
        Emulator("emulator", python, ROOT, auth=True),
        Distribution("distribution", release, both, auth=False),
        Distribution("docker-registry", debian, files, auth=False),
        Zot("zot"),
        AwsMock("moto", BUILD / "bench-venv/bin/moto_server", ["-p", "{port}"]),
        AwsMock("ministack", BUILD / "ministack-venv/bin/ministack", [], "GATEWAY_PORT"),
        Emulator("emulator-open", python, ROOT, auth=False),
        Distribution("distribution-auth", release, both, auth=True),
        Distribution("docker-registry-auth", debian, files, auth=True),
    ]
    for variant in peers[-3:]:
        variant.is_variant = True
    if baseline is not None:
        peers.insert(1, Emulator("baseline", python, baseline, auth=True))
    return peers
