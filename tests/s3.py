"""S3 services of the tests' own: moto's, and versitygw over a folder (``scripts/install_s3.sh``)."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import boto3
from aiobotocore.session import AioSession, get_session
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from ecr_emulator.blobs.bucket import S3Location
from tests.serving import CREDENTIALS, ROOT, await_ready, free_port, stop

BUCKET = "registry"
VERSITYGW = ROOT / "build" / "bin" / "versitygw"


@functools.cache
def s3_client(endpoint: str) -> Any:
    """A boto3 client of an S3 service."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(proxies={}, s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def new_sdk() -> AioSession:
    """The SDK with the services' credentials, whatever is in the environment."""
    sdk = get_session()
    sdk.set_credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    return sdk


class S3Service:
    """A service with one bucket; those below have it for a ``with`` block."""

    endpoint: str

    def new_url(self, options: str = "") -> str:
        """Return what BLOBS_URL is for blobs of which there are none yet."""
        # Tests of other things that moto's server is for, in the same process, leave it empty.
        with contextlib.suppress(ClientError):
            s3_client(self.endpoint).create_bucket(Bucket=BUCKET)
        return f"s3://{BUCKET}/{uuid4().hex}?endpoint={self.endpoint}&region=us-east-1{options}"

    def objects(self, url: str) -> dict[str, bytes]:
        """Return the objects of a store, by what comes after its prefix."""
        client, prefix = s3_client(self.endpoint), S3Location.parse(url).prefix
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return {
            key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys
        }

    def put(self, url: str, name: str, content: bytes | None) -> None:
        """Write an object of a store, or remove it."""
        client, key = s3_client(self.endpoint), S3Location.parse(url).prefix + name
        if content is None:
            client.delete_object(Bucket=BUCKET, Key=key)
        else:
            client.put_object(Bucket=BUCKET, Key=key, Body=content)


class Moto(S3Service):
    """Moto's, in a thread of this process."""

    def __enter__(self) -> Self:
        # Only its tests need it.
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        s3_client(self.endpoint).create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.stop()


class Versitygw(S3Service):
    """Versitygw, in a process of its own over a folder of its own."""

    def __enter__(self) -> Self:
        if not VERSITYGW.exists():
            raise RuntimeError(
                "versitygw is not installed: run scripts/install_s3.sh (make test-scaled does)"
            )
        self._folder, port = Path(tempfile.mkdtemp(prefix="versitygw-of-tests-")), free_port()
        self.endpoint, self._log = f"http://127.0.0.1:{port}", self._folder / "log"
        (self._folder / "objects").mkdir()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [VERSITYGW, "--port", f"127.0.0.1:{port}", "posix", self._folder / "objects"],
                env={**os.environ, "ROOT_ACCESS_KEY": "testing", "ROOT_SECRET_KEY": "testing"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        await_ready("versitygw", self._process, self._log, self._has_bucket)
        return self

    def _has_bucket(self) -> bool:
        try:
            s3_client(self.endpoint).create_bucket(Bucket=BUCKET)
        except EndpointConnectionError:
            return False
        return True

    def __exit__(self, *_exception: object) -> None:
        try:
            stop("versitygw", self._process, self._log)
        finally:
            shutil.rmtree(self._folder)
