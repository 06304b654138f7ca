"""The data plane by raw HTTP, so that a test says and sees every byte and every header."""

import hashlib
import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from typing import Any

import boto3
from botocore.config import Config

from tests.contract.conftest import OCI_MANIFEST, image_manifest, sha256

Body = bytes | Iterable[bytes] | None


@dataclass(frozen=True)
class Answer:
    """A response that was read to its end."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of an answer that is one error in the OCI envelope."""
        assert self.headers["Content-Type"] == "application/json"
        (error,) = self.json()["errors"]
        return self.status, error["code"]

    @property
    def message(self) -> str:
        """The message of an answer that is an error."""
        return str(self.json()["errors"][0]["message"])


@dataclass(frozen=True)
class PushedImage:
    """An image that was pushed, with all its bytes."""

    manifest: bytes
    blobs: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return sha256(self.manifest)


def sha512(content: bytes) -> str:
    """Return the SHA-512 digest of some bytes."""
    return f"sha512:{hashlib.sha512(content).hexdigest()}"


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Body = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send one request over a connection and read the whole answer.

    A body that is not bytes is sent in chunked transfer encoding.
    """
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


class OciClient:
    """Sends each request over a connection of its own, with ``headers`` added to it."""

    def __init__(self, address: str, **headers: str) -> None:
        self.address = address
        self.headers = headers

    def connect(self, timeout: float = 60) -> http.client.HTTPConnection:
        """Return a new connection to the server."""
        return http.client.HTTPConnection(self.address, timeout=timeout)

    def request(
        self, method: str, path: str, body: Body = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request; ``path`` is sent as it is."""
        connection = self.connect()
        try:
            return exchange(connection, method, path, body, {**self.headers, **(headers or {})})
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Send a GET."""
        return self.request("GET", path, None, headers)

    def head(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Send a HEAD."""
        return self.request("HEAD", path, None, headers)

    def post(self, path: str, body: Body = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a POST."""
        return self.request("POST", path, body, headers)

    def patch(self, path: str, body: Body, headers: dict[str, str] | None = None) -> Answer:
        """Send a PATCH."""
        return self.request("PATCH", path, body, headers)

    def put(self, path: str, body: Body = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a PUT."""
        return self.request("PUT", path, body, headers)

    def delete(self, path: str) -> Answer:
        """Send a DELETE."""
        return self.request("DELETE", path)

    def begin_upload(self, repository: str) -> str:
        """Begin an upload and return its location."""
        answer = self.post(f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202, answer
        return str(answer.headers["Location"])

    def push_blob(self, repository: str, content: bytes) -> str:
        """Push a blob by POST and PUT and return its digest."""
        digest = sha256(content)
        answer = self.put(f"{self.begin_upload(repository)}?digest={digest}", content)
        assert answer.status == 201, answer
        return digest

    def push_manifest(
        self, repository: str, reference: str, manifest: bytes, media_type: str = OCI_MANIFEST
    ) -> Answer:
        """Push a manifest under a tag or a digest."""
        return self.put(f"/v2/{repository}/manifests/{reference}", manifest, {"Content-Type": media_type})

    def push_image(
        self, repository: str, reference: str | None = None, seed: str = "seed", **members: Any
    ) -> PushedImage:
        """Push a small image, different for each seed, under a tag or under its digest."""
        blobs = (f"config {seed}".encode(), f"layer {seed}".encode())
        for content in blobs:
            self.push_blob(repository, content)
        image = PushedImage(image_manifest(*blobs, **members), blobs)
        answer = self.push_manifest(
            repository, reference or image.digest, image.manifest, members.get("media_type", OCI_MANIFEST)
        )
        assert answer.status == 201, answer
        return image


def chunk_range(first: int, chunk: bytes) -> dict[str, str]:
    """Return the Content-Range header of a chunk that begins at a position."""
    return {"Content-Range": f"{first}-{first + len(chunk) - 1}"}


def no_such_repository(name: str, account: str = "000000000000") -> str:
    """Return ECR's text for a repository that does not exist."""
    return f"The repository with name '{name}' does not exist in the registry with id '{account}'"


def api_client(url: str, account: str = "testing", region: str = "us-east-1") -> Any:
    """Return a boto3 client of a server, for an account's registry in a region."""
    return boto3.client(
        "ecr",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=account,
        aws_secret_access_key="testing",
        # What fails is to fail at once.
        config=Config(retries={"total_max_attempts": 1}),
    )
