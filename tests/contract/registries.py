"""Several registries on one server, each reached through both planes."""

import functools
import http.client
import json
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, sha256

ACCEPT = ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])
TARGET = "AmazonEC2ContainerRegistry_V20150921"


class ApiError(Exception):
    """What the API answered in place of an output."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Registry:
    """An account's registry in a region."""

    server: BackgroundServer
    account: str
    region: str

    def __str__(self) -> str:
        return f"{self.account}/{self.region}"

    @property
    def destination(self) -> dict[str, str]:
        """This registry as a rule or a backfill names it."""
        return {"registryId": self.account, "region": self.region}

    @functools.cached_property
    def api(self) -> Any:
        """A boto3 client; it can be told of members that its own model has not got yet."""
        return boto3.client(
            "ecr",
            endpoint_url=self.server.url,
            region_name=self.region,
            aws_access_key_id=self.account,
            aws_secret_access_key="testing",
            config=Config(proxies={}, retries={"total_max_attempts": 1}, parameter_validation=False),
        )

    def call(self, operation: str, **given: Any) -> dict[str, Any]:
        """Call an operation without an SDK, whose model need not know it. Raises ApiError."""
        credential = f"{self.account}/20300131/{self.region}/ecr/aws4_request"
        headers = {
            "X-Amz-Target": f"{TARGET}.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0",
        }
        status, body = self._send("POST", "/", json.dumps(given).encode(), headers)
        output = json.loads(body)
        if status != 200:
            raise ApiError(status, output["__type"], output["message"])
        return output

    def replicate(self, *rules: dict[str, Any]) -> None:
        """Set the replication rules."""
        self.call("PutReplicationConfiguration", replicationConfiguration={"rules": list(rules)})

    def replicate_to(self, *destinations: "Registry", **members: Any) -> None:
        """Set one replication rule."""
        self.replicate({"destinations": [entry.destination for entry in destinations], **members})

    def status(self, repository: str, **image_id: str) -> dict[str, tuple[str, str | None]]:
        """Return the replication status and failure code of an image, by destination."""
        answer = self.call("DescribeImageReplicationStatus", repositoryName=repository, imageId=image_id)
        return {
            f"{entry['registryId']}/{entry['region']}": (entry["status"], entry.get("failureCode"))
            for entry in answer["replicationStatuses"]
        }

    def set_policy(self, *statements: dict[str, Any]) -> None:
        """Set the registry policy."""
        text = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self._write("policy", text)

    def _write(self, name: str, value: str) -> None:
        emulator = self.server._running.emulator
        self.server._run(
            emulator.metadata.write(lambda tx: tx.registry_values.put(self.account, self.region, name, value))
        )

    def pull(self, repository: str, reference: str) -> bytes:
        """Pull an image with its blobs and its images over ``/v2/``; return its manifest's bytes.

        The token is this registry's, so that nothing of another can be had by it.
        """
        token = self.api.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        return self._pull({"Authorization": f"Basic {token}"}, repository, reference)

    def pull_by_host(self, repository: str, reference: str) -> bytes:
        """Pull as ``pull`` does, but with the registry named by the host and not by a token."""
        host = f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"
        return self._pull({"Host": host}, repository, reference)

    def _pull(self, headers: dict[str, str], repository: str, reference: str) -> bytes:
        path = f"/v2/{repository}/manifests/{reference}"
        status, manifest = self._send("GET", path, None, {**headers, "Accept": ACCEPT})
        if status != 200:
            raise LookupError(f"{self} has no {repository}:{reference} ({status})")
        document = json.loads(manifest)
        for blob in [document["config"], *document["layers"]] if "config" in document else []:
            status, content = self._send("GET", f"/v2/{repository}/blobs/{blob['digest']}", None, headers)
            assert (status, sha256(content)) == (200, blob["digest"])
        for child in document.get("manifests", ()):
            assert sha256(self._pull(headers, repository, child["digest"])) == child["digest"]
        return manifest

    def referrers(self, repository: str, digest: str) -> list[str]:
        """Return the digests of the artifacts that refer to an image, over ``/v2/``."""
        host = f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"
        status, body = self._send("GET", f"/v2/{repository}/referrers/{digest}", None, {"Host": host})
        assert status == 200
        return [entry["digest"] for entry in json.loads(body)["manifests"]]

    def image_ids(self, repository: str) -> set[tuple[str, str | None]]:
        """Return the digests and tags of a repository; none where there is no such repository."""
        try:
            listed = self.api.list_images(repositoryName=repository)["imageIds"]
        except self.api.exceptions.RepositoryNotFoundException:
            return set()
        return {(entry["imageDigest"], entry.get("imageTag")) for entry in listed}

    def _send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def run(server: BackgroundServer) -> int:
    """Let the replication engine do all that is due."""
    return int(server.manage("run/replication", {})["done"])


def run_to_the_end(server: BackgroundServer) -> None:
    """Let the engine try until nothing waits for another attempt."""
    run(server)
    for _ in range(4):
        server.advance_clock(600)
        run(server)
