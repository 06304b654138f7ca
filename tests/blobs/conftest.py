"""Fixtures of the blob stores' contract: each of them, opened as by one server or by two.

S3 is moto's server, and versitygw too with ``--store scaled``.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from aiobotocore.session import AioSession

from ecr_emulator.blobs import bucket, pieces, reading, s3
from ecr_emulator.blobs.base import BlobStore, Published
from ecr_emulator.blobs.bucket import S3Location
from ecr_emulator.blobs.filesystem import FilesystemBlobs
from ecr_emulator.blobs.s3 import S3Blobs
from tests.blobs.faulty import FaultyS3
from tests.s3 import Moto, S3Service, new_sdk

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
def moto() -> Iterator[Moto]:
    with Moto() as service:
        yield service


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    scaled = ["versitygw"] if metafunc.config.getoption("--store") == "scaled" else []
    for name, stores in (("s3_url", []), ("open_store", ["filesystem"])):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, [*stores, "moto", *scaled], indirect=True)


@pytest.fixture
def s3_url(request: pytest.FixtureRequest, credentials: None) -> str:
    """Where a test's blobs are, in each S3 service."""
    return _new_url(request)


def _new_url(request: pytest.FixtureRequest) -> str:
    service: S3Service = request.getfixturevalue(request.param)
    return service.new_url()


@pytest.fixture(scope="session")
def sdk() -> AioSession:
    """The SDK, which reads its models of AWS's services once for all tests."""
    return new_sdk()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, sdk: AioSession) -> None:
    """The credentials that the S3 services take."""
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


@pytest.fixture
def open_store(request: pytest.FixtureRequest, tmp_path: Path, credentials: None) -> OpenStore:
    """Opens the same store, each time as another server does."""
    if request.param == "filesystem":
        return lambda: file_store(tmp_path)
    url = _new_url(request)
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
