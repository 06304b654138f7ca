"""Real clients against a real server, each with a home, credentials and storage of its own."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.serving import CREDENTIALS, PATH, REGION, ROOT, Server, api_of, await_ready, get, serve, stop, tail

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

# Clients are beside Python, where scripts/install_clients.sh puts what it builds, or on the path.
TOOLS = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / "build" / "bin"), PATH])

# What clients that are written in Go say of a server whose CA they do not know.
UNTRUSTED = "certificate signed by unknown authority"

# Where the running servers write what they have to say: shown with every test that fails.
LOGS = pytest.StashKey[dict[str, Path]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.failed:
        logs = item.config.stash.get(LOGS, {})
        report.sections += [(f"end of {title}", tail(path)) for title, path in logs.items()]
    return report


@pytest.fixture(scope="session")
def logs(request: pytest.FixtureRequest) -> dict[str, Path]:
    return request.config.stash.setdefault(LOGS, {})


def find_tool(name: str) -> str:
    """The tool's path. One that is missing is a failure: a client that isn't run proves nothing."""
    found = shutil.which(name, path=TOOLS)
    if not found:
        pytest.fail(f"{name} is not installed: run scripts/install_clients.sh", pytrace=False)
    return found


class Client:
    """A command-line client: its command with global flags, and the environment it sees."""

    timeout = 90.0  # seconds that a command may take

    def __init__(self, *command: str, home: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = command
        self.env = {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home), **(env or {})}

    def call(self, args: tuple[Any, ...], stdin: str | None, env: Mapping[str, str]) -> tuple[int, str, str]:
        done = subprocess.run(
            [*self.command, *map(str, args)],
            input=stdin or "",
            env={**self.env, **env},
            cwd=self.env["HOME"],
            capture_output=True,
            text=True,
            timeout=self.timeout,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def run(self, *args: Any, stdin: str | None = None, **env: str) -> str:
        """Run and return standard output; a command that fails raises with all that it printed."""
        code, out, err = self.call(args, stdin, env)
        if code:
            raise AssertionError(f"{self._line(args)}\nended with {code}\n{out}\n{err}")
        return out.strip()

    def fail(self, *args: Any, stdin: str | None = None, **env: str) -> str:
        """Run what must be refused and return all that it printed."""
        code, out, err = self.call(args, stdin, env)
        if not code:
            raise AssertionError(f"{self._line(args)}\nsucceeded and must not\n{out}\n{err}")
        return f"{out}\n{err}"

    def json(self, *args: Any) -> Any:
        return json.loads(self.run(*args))

    def read(self, name: str) -> str:
        """A file that the client wrote to where it was run."""
        return Path(self.env["HOME"], name).read_text()

    def _line(self, args: tuple[Any, ...]) -> str:
        return " ".join([*self.command, *map(str, args)])


# ----------------------------------------------------------------------------------------------- server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, logs: dict[str, Path]) -> Iterator[Server]:
    """The emulator with its default settings."""
    with serve(tmp_path_factory.mktemp("server"), logs) as server:
        yield server


@contextlib.contextmanager
def serve_with_tokens(folder: Path, logs: dict[str, Path], *flags: str, **options: str) -> Iterator[Server]:
    """An emulator that asks for an authorization token, as ECR does, with the repository ``app``."""
    with serve(folder, logs, "--auth", "token", *flags, **options) as server:
        api_of(server).create_repository(repositoryName="app")
        yield server


@pytest.fixture(scope="session")
def http_server(tmp_path_factory: pytest.TempPathFactory, logs: dict[str, Path]) -> Iterator[Server]:
    with serve_with_tokens(tmp_path_factory.mktemp("http-server"), logs) as server:
        yield server


@pytest.fixture(scope="session")
def https_server(
    bridge: str, tmp_path_factory: pytest.TempPathFactory, logs: dict[str, Path]
) -> Iterator[Server]:
    """A server with a CA of its own.

    It is not on 127.0.0.1, for which engines do not check certificates.
    """
    folder = tmp_path_factory.mktemp("https-server")
    with serve_with_tokens(folder, logs, "--tls", "on", host=BRIDGE_ADDRESS) as server:
        yield server


@pytest.fixture(params=["http", "https"])
def token_server(request: pytest.FixtureRequest) -> Server:
    """An emulator that asks for an authorization token, as ECR does, with the repository ``app``.

    There are two: one that speaks plain HTTP, and one that clients reach if they trust its CA.
    """
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def go_trust(token_server: Server) -> dict[str, str]:
    """The environment in which what is written in Go trusts that server's CA."""
    return {"SSL_CERT_FILE": str(token_server.ca_file)} if token_server.ca_file else {}


@pytest.fixture
def reached(token_server: Server, tmp_path: Path) -> str:
    """The option by which podman, buildah and skopeo reach that server, without the dashes before it."""
    if not token_server.ca_file:
        return "tls-verify=false"
    folder = tmp_path / "certs"
    folder.mkdir()
    shutil.copy(token_server.ca_file, folder / "ca.crt")
    return f"cert-dir={folder}"


@contextlib.contextmanager
def trusted_by_docker(server: Server) -> Iterator[None]:
    """Put the server's CA where every engine of the machine looks for it, and take it away again."""
    if not server.ca_file:
        yield
        return
    folder = Path("/etc/docker/certs.d", server.registry)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy(server.ca_file, folder / "ca.crt")
        yield
    finally:
        (folder / "ca.crt").unlink()
        for path in made:
            path.rmdir()


# -------------------------------------------------------------------------------------------- the API


@dataclass(frozen=True)
class Repository:
    """A repository that exists."""

    name: str
    uri: str


@pytest.fixture(scope="session")
def ecr(server: Server) -> Any:
    return api_of(server)


@pytest.fixture
def make_repository(ecr: Any) -> Iterator[Callable[..., Repository]]:
    """Creates repositories, of any name or a new one, and deletes them after the test."""
    made = []

    def make(name: str | None = None, **options: Any) -> Repository:
        name = name or f"clients/{uuid.uuid4().hex[:12]}"
        created = ecr.create_repository(repositoryName=name, **options)["repository"]
        made.append(name)
        return Repository(name, created["repositoryUri"])

    yield make
    for name in made:
        ecr.delete_repository(repositoryName=name, force=True)


@pytest.fixture
def repository(make_repository: Callable[..., Repository]) -> Repository:
    return make_repository()


@pytest.fixture(scope="session")
def images_in(ecr: Any) -> Callable[[str], dict[str, dict[str, Any]]]:
    """What DescribeImages says about a repository, by digest."""

    def images(name: str) -> dict[str, dict[str, Any]]:
        pages = ecr.get_paginator("describe_images").paginate(repositoryName=name)
        return {image["imageDigest"]: image for page in pages for image in page["imageDetails"]}

    return images


@pytest.fixture(scope="session")
def tags_in(images_in: Callable[[str], dict[str, dict[str, Any]]]) -> Callable[[str], dict[str, list[str]]]:
    """The tags of all images of a repository, by digest: what a refused call must leave as it was."""
    return lambda name: {digest: image.get("imageTags", []) for digest, image in images_in(name).items()}


@pytest.fixture(scope="session")
def referrers_of(ecr: Any) -> Callable[..., dict[str, str]]:
    """What ListImageReferrers says about an image: the artifact types of its referrers, by digest."""

    def referrers(name: str, digest: str, *artifact_types: str) -> dict[str, str]:
        wanted = {"filter": {"artifactTypes": artifact_types}} if artifact_types else {}
        found = ecr.list_image_referrers(repositoryName=name, subjectId={"imageDigest": digest}, **wanted)
        return {referrer["digest"]: referrer["artifactType"] for referrer in found["referrers"]}

    return referrers


@pytest.fixture(scope="session")
def manifest_of(ecr: Any) -> Callable[[str, str], tuple[str, dict[str, Any]]]:
    """The digest and content of a tag's manifest, from bytes that are checked to have that digest."""

    def manifest(name: str, tag: str) -> tuple[str, dict[str, Any]]:
        found = ecr.batch_get_image(
            repositoryName=name,
            imageIds=[{"imageTag": tag}],
            acceptedMediaTypes=[
                OCI_MANIFEST,
                OCI_INDEX,
                DOCKER_MANIFEST,
                "application/vnd.docker.distribution.manifest.list.v2+json",
            ],
        )
        assert found["failures"] == []
        [image] = found["images"]
        digest = image["imageId"]["imageDigest"]
        assert digest_of(image["imageManifest"].encode()) == digest
        return digest, json.loads(image["imageManifest"])

    return manifest


def aws_of(server: Server, home: Path) -> Client:
    trust = {"AWS_CA_BUNDLE": str(server.ca_file)} if server.ca_file else {}
    return Client(
        find_tool("aws"),
        *("--endpoint-url", server.url, "--output", "json", "ecr"),
        home=home,
        env={**CREDENTIALS, **trust, "AWS_DEFAULT_REGION": REGION, "AWS_PAGER": ""},
    )


@pytest.fixture(scope="session")
def aws(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """``aws ecr``: of the arguments only the operation and its own are left to say."""
    return aws_of(server, tmp_path_factory.mktemp("aws"))


@pytest.fixture(scope="session")
def password_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Server], str]:
    """What ``aws ecr get-login-password`` prints of a server."""
    return functools.cache(
        lambda server: aws_of(server, tmp_path_factory.mktemp("aws")).run("get-login-password")
    )


@pytest.fixture(scope="session")
def password(server: Server, password_of: Callable[[Server], str]) -> str:
    return password_of(server)


@pytest.fixture
def token_password(token_server: Server, password_of: Callable[[Server], str]) -> str:
    return password_of(token_server)


@pytest.fixture(scope="session")
def download() -> Callable[[str], bytes]:
    return get


# ---------------------------------------------------------------------------------------------- images


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def root_filesystem(files: Mapping[str, bytes]) -> bytes:
    """A tar of a file system that has busybox, its shell, and these files."""
    busybox = Path(find_tool("busybox"))
    entries = {"bin/busybox": busybox.read_bytes(), **files}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
        for name in ("sh", "cat", "echo"):
            info = tarfile.TarInfo(f"bin/{name}")
            info.type, info.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(info)
    return out.getvalue()


@dataclass(frozen=True)
class Image:
    """An image, made without any client."""

    manifest: bytes
    config: bytes
    layers: tuple[bytes, ...]

    @property
    def media_type(self) -> str:
        return json.loads(self.manifest)["mediaType"]

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def size(self) -> int:
        return sum(map(len, (self.config, *self.layers)))


def build_image(text: str, *, architecture: str = "amd64", padding: int = 0, docker: bool = False) -> Image:
    """Build an image of one layer, which prints a text when it is run.

    ``padding`` is a number of bytes that don't compress, to make it large.
    """
    files = {"greeting": text.encode(), "padding": random.Random(text).randbytes(padding)}
    return image_of(root_filesystem(files), architecture=architecture, docker=docker)


def image_of(*tars: bytes, architecture: str = "amd64", docker: bool = False) -> Image:
    """Build an image of layers, from the lowest to the uppermost."""
    layers = tuple(gzip.compress(tar, compresslevel=1, mtime=0) for tar in tars)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/cat", "/greeting"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    config_bytes = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, config_bytes),
        "layers": [descriptor(DOCKER_LAYER if docker else OCI_LAYER, layer) for layer in layers],
    }
    return Image(json.dumps(manifest, indent=2).encode(), config_bytes, layers)


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


@pytest.fixture(scope="session")
def make_image() -> Callable[..., Image]:
    return build_image


@pytest.fixture(scope="session")
def write_layout() -> Callable[..., str]:
    """Writes OCI layouts: one image, or several as one index. Gives the digest that is tagged."""

    def write(folder: Path, tag: str, *images: Image) -> str:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        contents = [data for image in images for data in (image.manifest, image.config, *image.layers)]
        top, media_type = images[0].manifest, images[0].media_type
        if len(images) > 1:
            children = []
            for image in images:
                platform = {"architecture": json.loads(image.config)["architecture"], "os": "linux"}
                children.append(descriptor(image.media_type, image.manifest, platform=platform))
            media_type = OCI_INDEX
            top = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": children}).encode()
            contents.append(top)
        for data in contents:
            (blobs / digest_of(data).removeprefix("sha256:")).write_bytes(data)
        name = {"org.opencontainers.image.ref.name": tag}
        index = {"schemaVersion": 2, "manifests": [descriptor(media_type, top, annotations=name)]}
        (folder / "index.json").write_text(json.dumps(index))
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return digest_of(top)

    return write


@pytest.fixture
def new_layout(write_layout: Callable[..., str], tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """Writes an OCI layout with the tag v1: an image, or an index of one for each architecture.

    Gives its folder and the digest that is tagged.
    """

    def new(text: str, *architectures: str, padding: int = 0) -> tuple[Path, str]:
        folder = tmp_path / uuid.uuid4().hex
        names = architectures or ("amd64",)
        images = [build_image(text, architecture=name, padding=padding) for name in names]
        return folder, write_layout(folder, "v1", *images)

    return new


@pytest.fixture(scope="session")
def base_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system to import as the base of what the clients build."""
    path = tmp_path_factory.mktemp("base") / "base.tar"
    path.write_bytes(root_filesystem({}))
    return path


@pytest.fixture
def build_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder to build from: on the base ``base``, an image that prints a text when run."""

    def write(base: str, text: str, *steps: str) -> Path:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        (folder / "greeting").write_text(text)
        lines = [f"FROM {base}", "COPY greeting /greeting", *steps, 'CMD ["/bin/cat", "/greeting"]']
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        return folder

    return write


# --------------------------------------------------------------------------------------------- clients


BRIDGE_ADDRESS = f"10.213.{os.getpid() % 256}.1"


@pytest.fixture(scope="session")
def make_client(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Client]:
    """Gives a client a new home, so that it is logged in nowhere."""

    def make(tool: str, *flags: str, **env: str) -> Client:
        return Client(find_tool(tool), *flags, home=tmp_path_factory.mktemp(tool), env=env)

    return make


@pytest.fixture(scope="session")
def bridge() -> Iterator[str]:
    """A bridge of one's own, so that another engine's is left alone; BRIDGE_ADDRESS is on it."""
    name = f"ecr{os.getpid()}"
    ip = Client(find_tool("ip"), home=Path("/"))
    ip.run("link", "add", name, "type", "bridge")
    try:
        ip.run("address", "add", f"{BRIDGE_ADDRESS}/24", "dev", name)
        ip.run("link", "set", name, "up")
        yield name
    finally:
        ip.run("link", "delete", name)


@contextlib.contextmanager
def docker_engine(folder: Path, bridge: str, logs: dict[str, Path]) -> Iterator[Client]:
    """Run an engine that keeps all it has in ``folder``; gives the CLI that talks to it."""
    log = folder / "dockerd.log"
    # The CLI of the engine's own package: newer ones can't use BuildKit without a plugin.
    packaged = Path("/usr/bin/docker")
    host = f"unix://{folder}/docker.sock"
    docker = Client(
        str(packaged) if packaged.exists() else find_tool("docker"),
        *("--host", host),
        home=folder,
        env={"DOCKER_CONFIG": str(folder / "config"), "DOCKER_CLI_EXPERIMENTAL": "enabled"},
    )
    with log.open("wb") as output:
        engine = subprocess.Popen(
            [
                *(find_tool("dockerd"), "--host", host, "--pidfile", str(folder / "docker.pid")),
                *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
                *("--bridge", bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false"),
            ],
            env=docker.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    logs["dockerd's log"] = log
    await_ready("dockerd", engine, log, lambda: docker.call(("version",), None, {})[0] == 0)
    try:
        yield docker
    finally:
        stop("dockerd", engine, log)


@pytest.fixture(scope="session")
def docker(
    server: Server,
    password: str,
    base_tar: Path,
    bridge: str,
    logs: dict[str, Path],
) -> Iterator[Client]:
    """The docker CLI, logged in, on an engine of its own that has the image ``base``."""
    # A short path: the names of sockets are limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ecr-docker-"))
    try:
        with docker_engine(folder, bridge, logs) as docker:
            docker.run("import", base_tar, "base")
            docker.run("login", "--username", "AWS", "--password-stdin", server.registry, stdin=password)
            yield docker
    finally:
        shutil.rmtree(folder, ignore_errors=True)


CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
tmp_dir = "{folder}/tmp"
"""

STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


@contextlib.contextmanager
def containers_client(tool: str) -> Iterator[Client]:
    """podman, buildah or skopeo with storage and credentials of its own.

    The configuration makes no demands on the machine: no overlay file system, no systemd, no user
    name spaces.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"ecr-{tool}-"))
    containers_conf, storage_conf = folder / "containers.conf", folder / "storage.conf"
    containers_conf.write_text(CONTAINERS_CONF.format(folder=folder))
    storage_conf.write_text(STORAGE_CONF.format(folder=folder))
    # buildah does nothing where the file that it is told of is not there, though nobody has logged in.
    (folder / "auth.json").write_text('{"auths": {}}')
    try:
        yield Client(
            find_tool(tool),
            home=folder,
            env={
                "BUILDAH_ISOLATION": "chroot",
                "CONTAINERS_CONF": str(containers_conf),
                "CONTAINERS_STORAGE_CONF": str(storage_conf),
                "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
            },
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def podman(base_tar: Path) -> Iterator[Client]:
    """podman with the image ``localhost/base``."""
    with containers_client("podman") as podman:
        podman.run("import", base_tar, "localhost/base")
        yield podman
        podman.run("rm", "--all", "--force")


@pytest.fixture(scope="session")
def buildah() -> Iterator[Client]:
    with containers_client("buildah") as buildah:
        yield buildah


@pytest.fixture(scope="session")
def skopeo() -> Iterator[Client]:
    with containers_client("skopeo") as skopeo:
        yield skopeo
