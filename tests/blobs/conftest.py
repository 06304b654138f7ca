"""Fixtures of the blob stores' contract: each of them, opened as by one server or by two.

S3 is moto's server, and versitygw where ``scripts/install_s3.sh`` has built it and the environment variable
``ECR_EMULATOR_TEST_S3`` asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiobotocore.session import AioSession, get_session
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from moto.server import ThreadedMotoServer

from ecr_emulator.blobs import bucket, pieces, reading, s3
from ecr_emulator.blobs.base import BlobStore, Published
from ecr_emulator.blobs.bucket import S3Location
from ecr_emulator.blobs.filesystem import FilesystemBlobs
from ecr_emulator.blobs.s3 import S3Blobs
from tests.blobs.faulty import FaultyS3
from tests.serving import CREDENTIALS, ROOT, await_ready, free_port, stop

VERSITYGW = ROOT / "build" / "bin" / "versitygw"
SERVICES = ["moto"]
if os.environ.get("ECR_EMULATOR_TEST_S3") == "versitygw":
    SERVICES.append("versitygw")
BUCKET = "registry"

OpenStore = Callable[[], AbstractAsyncContextManager[BlobStore]]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run tests that are coroutines on the loop of the fixture ``runner``."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    pyfuncitem.funcargs["runner"].run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of a test."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    s3_client(endpoint).create_bucket(Bucket=BUCKET)
    yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def versitygw_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("versitygw"), free_port()
    endpoint, log = f"http://127.0.0.1:{port}", folder / "log"
    (folder / "objects").mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [VERSITYGW, "--port", f"127.0.0.1:{port}", "posix", folder / "objects"],
            env={**os.environ, "ROOT_ACCESS_KEY": "testing", "ROOT_SECRET_KEY": "testing"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def ready() -> bool:
        try:
            s3_client(endpoint).create_bucket(Bucket=BUCKET)
        except EndpointConnectionError:
            return False
        return True

    await_ready("versitygw", process, log, ready)
    yield endpoint
    stop("versitygw", process, log)


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


@pytest.fixture(params=SERVICES)
def s3_url(request: pytest.FixtureRequest, credentials: None) -> str:
    """Where a test's blobs are, in each S3 service."""
    return _s3_url(request, request.param)


def _s3_url(request: pytest.FixtureRequest, service: str) -> str:
    endpoint = request.getfixturevalue(f"{service}_endpoint")
    return f"s3://{BUCKET}/{uuid.uuid4().hex}?endpoint={endpoint}&region=us-east-1"


@pytest.fixture(scope="session")
def sdk() -> AioSession:
    """The SDK, which reads its models of AWS's services once for all tests."""
    return get_session()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, sdk: AioSession) -> None:
    """The credentials that the S3 services take, in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bucket, "get_session", lambda: sdk)


@pytest.fixture
def small_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of bytes in place of MiB, or in services that insist on these no larger ones than need be."""
    if "versitygw" in request.node.name:
        monkeypatch.setattr(pieces, "MAX_COPY", 2 * pieces.MIN_PART)
        monkeypatch.setattr(s3, "PART_SIZE", pieces.MIN_PART)
        return
    monkeypatch.setattr(pieces, "MIN_PART", 300)
    monkeypatch.setattr(pieces, "MAX_COPY", 2000)
    monkeypatch.setattr(s3, "PART_SIZE", 700)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 300)


@pytest.fixture
def faulty(s3_url: str, runner: asyncio.Runner) -> Iterator[FaultyS3]:
    """The S3 service behind a proxy that can be told to fail."""
    location = S3Location.parse(s3_url)
    assert location.endpoint is not None
    context = FaultyS3(location.endpoint).running()
    yield runner.run(context.__aenter__())
    runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that tries again at once, and waits for no answer for long."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr(bucket, "READ_PAUSE", 0)
    monkeypatch.setattr(bucket, "ANSWER_TIMEOUT", 0.3)
    monkeypatch.setattr(bucket, "CLEAN_UP_TIMEOUT", 0.2)


@contextlib.asynccontextmanager
async def s3_store(url: str) -> AsyncIterator[S3Blobs]:
    store = await S3Blobs.connect(S3Location.parse(url))
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def file_store(folder: Path) -> AsyncIterator[FilesystemBlobs]:
    store = FilesystemBlobs(folder)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=["filesystem", *SERVICES])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, credentials: None) -> OpenStore:
    """Opens the same store, each time as another server does."""
    if request.param == "filesystem":
        return lambda: file_store(tmp_path)
    url = _s3_url(request, request.param)
    return lambda: s3_store(url)


@pytest.fixture
def store(open_store: OpenStore, runner: asyncio.Runner) -> Iterator[BlobStore]:
    """A store without a blob."""
    yield from _opened(open_store, runner)


@pytest.fixture
def other(open_store: OpenStore, runner: asyncio.Runner) -> Iterator[BlobStore]:
    """The same store, as another server has it."""
    yield from _opened(open_store, runner)


def _opened(open_store: OpenStore, runner: asyncio.Runner) -> Iterator[BlobStore]:
    context = open_store()
    yield runner.run(context.__aenter__())
    runner.run(context.__aexit__(None, None, None))


async def give(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def append(store: BlobStore, upload_id: str, offset: int, *chunks: bytes) -> int:
    async with store.upload(upload_id) as upload:
        return await upload.append(offset, give(*chunks))


async def publish(store: BlobStore, upload_id: str, size: int, *digests: str) -> Published:
    async with store.upload(upload_id) as upload:
        return await upload.publish(size, digests)


async def content(store: BlobStore, name: str) -> bytes | None:
    """The bytes of a blob, in whatever way the store gives them."""
    blob = await store.open(name)
    if blob is None:
        return None
    read = b"".join([chunk async for chunk in reading.chunks(blob)])
    assert len(read) == blob.size
    return read


async def all_names(store: BlobStore) -> list[str]:
    return sorted([name async for names in store.names() for name in names])
