"""The load generators: a client over raw sockets for bytes, wrk for requests per second.

On two cores the generator takes time from the server that it measures, so it does as little as it can:
bodies go out by sendfile from the page cache, answers are dropped in the kernel (MSG_TRUNC) instead of
being copied.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUESTS_LUA = Path(__file__).with_name("requests.lua")
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_DROP_BUFFER = bytearray(1 << 20)
_TRAILER_SIZE = 64


class BenchError(Exception):
    """A server did not do what was asked of it, so that its time means nothing."""


@dataclass(frozen=True)
class Payload:
    """A blob: the bytes of a file that many share, and a trailer of its own."""

    file: Path
    shared_size: int
    trailer: bytes
    digest: str

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.shared_size + len(self.trailer)


class Payloads:
    """Makes blobs of one size, all different, whose digests cost one pass over their common bytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self._size = size - _TRAILER_SIZE
        self._file = folder / f"payload-{size}"
        self._hash = hashlib.sha256()
        with open(self._file, "wb") as file, open("/dev/urandom", "rb") as source:
            left = self._size
            while left:
                data = source.read(min(left, 1 << 20))
                file.write(data)
                self._hash.update(data)
                left -= len(data)

    def make(self, name: str) -> Payload:
        """Return the blob with a name, the same for the same name."""
        trailer = hashlib.sha512(name.encode()).digest()
        digest = self._hash.copy()
        digest.update(trailer)
        return Payload(self._file, self._size, trailer, f"sha256:{digest.hexdigest()}")


def small(content: bytes) -> Payload:
    """Return a blob that is in memory."""
    return Payload(Path("/dev/null"), 0, content, f"sha256:{hashlib.sha256(content).hexdigest()}")


@dataclass(frozen=True)
class Answer:
    """What a server answered; the body where it was wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    size: int


class Connection:
    """One keep-alive connection to a server."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = headers

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Payload = b"",
        headers: Mapping[str, str] | None = None,
        *,
        expect: int | None = None,
        drop: bool = False,
    ) -> Answer:
        """Send a request and read its answer, or drop it. Raises BenchError for a status not expected."""
        connection = self._connection
        payload = small(body) if isinstance(body, bytes) else body
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {**self._headers, **(headers or {})}.items():
            connection.putheader(name, value)
        if payload.size or method in {"POST", "PUT", "PATCH"}:
            connection.putheader("Content-Length", str(payload.size))
        connection.endheaders()
        sock = connection.sock
        if payload.shared_size:
            with open(payload.file, "rb") as file:
                sock.sendfile(file)
        if payload.trailer:
            sock.sendall(payload.trailer)
        response = connection.getresponse()
        if drop and response.status == expect:
            size, data = _drop(response, sock), b""
        else:
            data = response.read()
            size = len(data)
        if expect is not None and response.status != expect:
            raise BenchError(f"{method} {path}: {response.status} {data[:300]!r}")
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data, size)


def _drop(response: http.client.HTTPResponse, sock: socket.socket) -> int:
    """Read a body without copying it out of the kernel, and return its size."""
    size = left = response.length or 0
    assert isinstance(response.fp, io.BufferedReader)
    left -= len(response.fp.read(min(left, len(response.fp.peek())))) if left else 0
    while left:
        # With MSG_TRUNC the kernel drops bytes; it writes none to the buffer, whose length is their limit.
        dropped = sock.recv_into(_DROP_BUFFER, min(left, len(_DROP_BUFFER)), socket.MSG_TRUNC)
        if not dropped:
            raise BenchError(f"the answer ended {left} bytes early")
        left -= dropped
    response.close()
    return size


@dataclass(frozen=True)
class Rate:
    """Requests per second, and seconds that half and 99 % of the requests took at most."""

    per_second: float
    p50: float
    p99: float


def rate(
    port: int,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    connections: int,
    seconds: int,
    prefix: str = "",
    body: bytes = b"",
) -> Rate:
    """Send requests as fast as they are answered, over a number of connections.

    "@n@" in the path and the body stands for what makes each request differ, beginning with ``prefix``.
    Raises BenchError where any was refused.
    """
    if method == "HEAD":
        return _rate_of_heads(port, path, headers, connections, seconds)
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", *_flags(headers)]
        command += ["-s", str(REQUESTS_LUA), f"http://127.0.0.1:{port}", "--", method, path, prefix]
        command += [file.name] if body else []
        output = _output(command)
    line = next((each for each in output.splitlines() if each.startswith("RESULT ")), None)
    if line is None:
        raise BenchError(f"wrk: {output}")
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    if result["refused"] or result["broken"] or not result["requests"]:
        raise BenchError(f"{method} {path}: {result}")
    return Rate(result["requests"] / result["microseconds"] * 1e6, result["p50"] / 1e6, result["p99"] / 1e6)


def _rate_of_heads(port: int, path: str, headers: Mapping[str, str], connections: int, seconds: int) -> Rate:
    """Send HEAD requests by ab: wrk waits for the bodies that they don't have."""
    output = _output(
        [
            "ab",
            "-q",
            "-i",
            "-k",
            f"-c{connections}",
            f"-t{seconds}",
            "-n10000000",
            *_flags(headers),
            f"http://127.0.0.1:{port}{path}",
        ]
    )
    found = re.search(
        r"Failed requests: +0$.*Requests per second: +([\d.]+).* 50% +(\d+).* 99% +(\d+)", output, re.M | re.S
    )
    if found is None or "Non-2xx" in output:
        raise BenchError(f"ab: {output}")
    return Rate(float(found[1]), int(found[2]) / 1e3, int(found[3]) / 1e3)


def _flags(headers: Mapping[str, str]) -> list[str]:
    return [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


class Images:
    """Makes images of some layers of one size, and pushes and pulls them over the distribution API."""

    def __init__(self, folder: Path, layers: int, layer_size: int) -> None:
        self._payloads = Payloads(folder, layer_size)
        self._layers = layers

    def make(self, name: str) -> Image:
        """Return the image with a name; none shares a layer with another."""
        config = small(json.dumps({"architecture": "amd64", "os": "linux", "name": name}).encode())
        layers = [self._payloads.make(f"{name}/{number}") for number in range(self._layers)]
        return Image(name, config, layers, manifest(config, layers))


@dataclass(frozen=True)
class Image:
    """An image that can be pushed under its name as a tag."""

    tag: str
    config: Payload
    layers: list[Payload]
    manifest: bytes

    @property
    def size(self) -> int:
        """The number of bytes of its layers."""
        return sum(layer.size for layer in self.layers)


def manifest(config: Payload, layers: list[Payload], annotation: str = "") -> bytes:
    """Return the manifest of an image."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG_TYPE, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size} for layer in layers],
    }
    if annotation:
        document["annotations"] = {"org.opencontainers.image.revision": annotation}
    return json.dumps(document).encode()


def push_blob(connection: Connection, repository: str, blob: Payload) -> None:
    """Push a blob as Docker does: is it there, begin, send it, complete."""
    connection.request("HEAD", f"/v2/{repository}/blobs/{blob.digest}", expect=404)
    answer = connection.request("POST", f"/v2/{repository}/blobs/uploads/", expect=202)
    answer = connection.request(
        "PATCH",
        _path(answer),
        blob,
        {"Content-Type": "application/octet-stream"},
        expect=202,
    )
    path = _path(answer)
    path += f"{'&' if '?' in path else '?'}digest={blob.digest}"
    connection.request("PUT", path, expect=201)


def _path(answer: Answer) -> str:
    """Return the path of the Location of an answer, which may be a whole URL."""
    location = answer.headers["location"]
    return "/" + location.split("/", 3)[3] if "://" in location else location


def push_image(
    port: int, headers: Mapping[str, str], repository: str, image: Image, connections: int
) -> None:
    """Push an image, several layers at a time."""
    _each(port, headers, connections, [image.config, *image.layers], lambda c, b: push_blob(c, repository, b))
    with Connection(port, headers) as connection:
        put_manifest(connection, repository, image.tag, image.manifest)


def put_manifest(connection: Connection, repository: str, tag: str, content: bytes) -> None:
    """Push a manifest."""
    path = f"/v2/{repository}/manifests/{tag}"
    connection.request("PUT", path, content, {"Content-Type": OCI_MANIFEST}, expect=201)


def pull_blob(connection: Connection, repository: str, blob: Payload) -> None:
    """Pull a blob, of which only the size is looked at."""
    answer = connection.request("GET", f"/v2/{repository}/blobs/{blob.digest}", expect=200, drop=True)
    if answer.size != blob.size:
        raise BenchError(f"the blob has {answer.size} bytes, not {blob.size}")


def pull_image(
    port: int, headers: Mapping[str, str], repository: str, image: Image, connections: int
) -> None:
    """Pull an image, several layers at a time."""
    with Connection(port, headers) as connection:
        path = f"/v2/{repository}/manifests/{image.tag}"
        answer = connection.request("GET", path, headers={"Accept": OCI_MANIFEST}, expect=200)
        if answer.body != image.manifest:
            raise BenchError("the manifest is not the one that was pushed")
    _each(port, headers, connections, [image.config, *image.layers], lambda c, b: pull_blob(c, repository, b))


def verify_blob(connection: Connection, repository: str, blob: Payload) -> None:
    """Pull a blob and compare its digest."""
    answer = connection.request("GET", f"/v2/{repository}/blobs/{blob.digest}", expect=200)
    if f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != blob.digest:
        raise BenchError("the blob is not the one that was pushed")


def _each(
    port: int,
    headers: Mapping[str, str],
    connections: int,
    blobs: list[Payload],
    do: Callable[[Connection, Payload], None],
) -> None:
    """Do something with each blob, over a number of connections that take the next blob when free."""
    waiting = iter(blobs)
    lock = threading.Lock()

    def work() -> None:
        with Connection(port, headers) as connection:
            while True:
                with lock:
                    blob = next(waiting, None)
                if blob is None:
                    return
                do(connection, blob)

    at_once([work] * connections)


def at_once(tasks: list[Callable[[], None]]) -> None:
    """Run tasks side by side, and raise what the first of them raised."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()
