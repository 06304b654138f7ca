"""What S3 does when it fails, and what must not come of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import pytest

from ecr_emulator.blobs import bucket, leases, s3
from ecr_emulator.blobs.base import (
    BlobSetupError,
    BlobStoreUnavailableError,
    BlobStream,
    Published,
    UploadBusyError,
    UploadMissingError,
    digest_of,
)
from ecr_emulator.blobs.bucket import Part, S3Location
from ecr_emulator.blobs.s3 import S3Blobs
from tests.blobs.conftest import all_names, append, content, give, publish, s3_store
from tests.blobs.faulty import Fault, FaultyS3
from tests.s3 import BUCKET

# What comes after an append of several parts, and has to be read to be part of a blob.
SMALL = b"small"


@pytest.fixture
def store(
    s3_url: str,
    faulty: FaultyS3,
    small_parts: None,
    no_patience: None,
    runner: asyncio.Runner,
) -> Iterator[S3Blobs]:
    """A store without a blob, in a service that can be told to fail."""
    context: AbstractAsyncContextManager[S3Blobs] = s3_store(faulty.behind(s3_url))
    yield runner.run(context.__aenter__())
    faulty.heal()
    runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def upload_id() -> str:
    return str(uuid.uuid4())


# Each kind of request that a push is made of, by words in it.
STEPS = {
    "take the lease": ("PUT", "/lease"),
    "list the pieces": ("GET", "list-type"),
    "begin a piece of parts": ("POST", "/uploads/", "uploads"),
    "send a part": ("PUT", "/uploads/", "partNumber=2"),
    "complete a piece": ("POST", "/uploads/", "uploadId"),
    "begin a blob": ("POST", "/blobs/", "uploads"),
    "copy a part": ("PUT", "/blobs/", "partNumber=1"),
    "complete a blob": ("POST", "/blobs/", "uploadId"),
}


def large_parts() -> list[bytes]:
    """Bytes that are sent in three parts."""
    return [bytes([number]) * s3.PART_SIZE for number in range(2)] + [b"end"]


async def push(store: S3Blobs, upload_id: str, acknowledged: list[int]) -> Published:
    """Push in two appends, those that are not acknowledged yet."""
    large = large_parts()
    for chunks in ([*large], [SMALL])[len(acknowledged) :]:
        acknowledged.append(await append(store, upload_id, sum(acknowledged[-1:]), *chunks))
    return await publish(store, upload_id, acknowledged[-1], digest_of(b"".join([*large, SMALL])))


CASES: list[tuple[str, Fault]] = [
    *((step, "error") for step in STEPS),
    *((step, "lose the answer") for step in STEPS),
    ("take the lease", "slow down"),
    ("send a part", "slow down"),
    ("send a part", "hang"),
    ("complete a blob", "hang"),
]


@pytest.mark.parametrize(("step", "fault"), CASES)
async def test_a_push_that_s3_fails_can_go_on_later(
    store: S3Blobs,
    faulty: FaultyS3,
    upload_id: str,
    step: str,
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faulty.fail(fault, None, *STEPS[step])
    acknowledged: list[int] = []
    with pytest.raises(BlobStoreUnavailableError):
        await push(store, upload_id, acknowledged)
    faulty.heal()
    if fault in ("error", "slow down"):
        assert await all_names(store) == []
    # Where S3 took the lease down and could not tell, it has to run out.
    monkeypatch.setattr(bucket, "_seconds", lambda since, now: leases.DURATION + 2)
    published = await push(store, upload_id, acknowledged)
    assert digest_of(await content(store, published.name) or b"") == published.digest


@pytest.mark.parametrize("fault", ["error", "slow down", "hang", "lose the answer"])
async def test_a_push_does_not_notice_that_s3_fails_once(
    store: S3Blobs, faulty: FaultyS3, upload_id: str, fault: Fault
) -> None:
    for step in STEPS.values():
        faulty.fail(fault, 1, *step)
    published = await push(store, upload_id, [])
    assert faulty.failures == len(STEPS)
    assert set(await all_names(store)) == {published.name}
    assert digest_of(await content(store, published.name) or b"") == published.digest


async def test_a_push_does_not_notice_that_its_folder_goes_as_another_ends(
    store: S3Blobs, faulty: FaultyS3, upload_id: str
) -> None:
    # Versitygw removes folders once they are empty.
    faulty.fail("folder gone", 2 * bucket.ATTEMPTS, *STEPS["take the lease"])
    published = await push(store, upload_id, [])
    assert faulty.failures == 2 * bucket.ATTEMPTS
    assert digest_of(await content(store, published.name) or b"") == published.digest


async def test_a_service_whose_folder_never_comes_back_is_unavailable(
    store: S3Blobs, faulty: FaultyS3, upload_id: str
) -> None:
    faulty.fail("folder gone")
    with pytest.raises(BlobStoreUnavailableError):
        await push(store, upload_id, [])


async def test_a_service_that_has_forgotten_what_it_completed_is_understood(
    store: S3Blobs, faulty: FaultyS3, upload_id: str
) -> None:
    for step in ("complete a piece", "complete a blob"):
        faulty.fail("lose the answer", 1, *STEPS[step])
        faulty.fail("no upload", 1, *STEPS[step])
    published = await push(store, upload_id, [])
    assert faulty.failures == 4
    assert digest_of(await content(store, published.name) or b"") == published.digest


async def test_an_upload_that_is_discarded_meanwhile_is_missed(
    store: S3Blobs, faulty: FaultyS3, upload_id: str
) -> None:
    faulty.fail("no upload", None, *STEPS["complete a piece"])
    with pytest.raises(UploadMissingError):
        await push(store, upload_id, [])


async def test_a_blob_that_breaks_off_is_read_on(store: S3Blobs, faulty: FaultyS3, upload_id: str) -> None:
    published = await push(store, upload_id, [])
    faulty.fail("cut the answer", 5, "GET", "/blobs/")
    assert digest_of(await content(store, published.name) or b"") == published.digest
    blob = await store.open(published.name)
    assert isinstance(blob, BlobStream)
    faulty.heal()
    faulty.fail("error", None, "GET", "/blobs/")
    with pytest.raises(BlobStoreUnavailableError):
        await anext(blob.read(0, blob.size))


async def test_a_lease_is_kept_while_it_is_needed(
    store: S3Blobs, upload_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DURATION", 0.6)
    async with store.upload(upload_id) as upload:
        await asyncio.sleep(0.9)
        with pytest.raises(UploadBusyError):
            async with store.upload(upload_id, patience=0):
                pass
        assert await upload.append(0, give(SMALL)) == len(SMALL)


async def test_who_loses_the_lease_acknowledges_nothing(
    store: S3Blobs, faulty: FaultyS3, upload_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DURATION", 0.3)
    async with store.upload(upload_id) as upload:
        faulty.fail("error", None, "PUT", "/lease")
        await asyncio.sleep(0.4)
        with pytest.raises(UploadBusyError):
            await upload.append(0, give(b"too late"))
    faulty.heal()
    await append(store, upload_id, 0, SMALL)
    await publish(store, upload_id, len(SMALL), digest_of(SMALL))


async def test_bytes_of_another_at_the_same_place_never_get_into_a_blob(
    store: S3Blobs, upload_id: str
) -> None:
    async with store.upload(upload_id) as upload:
        await upload.append(0, give(b"mine"))
        # As of a server that was out for so long that it lost the upload without noticing.
        intruder = f"{upload._folder}{0:012}-ffffffffffffffff"
        await store.bucket.put(intruder, b"evil")
        await upload.publish(4, [digest_of(b"evil")])
    assert [await content(store, name) for name in await all_names(store)] == [b"evil"]


async def test_a_service_that_ignores_conditions_is_refused(faulty: FaultyS3, s3_url: str) -> None:
    faulty.fail("ignore conditions")
    with pytest.raises(BlobSetupError, match="If-None-Match"):
        async with s3_store(faulty.behind(s3_url)):
            pass


async def test_a_server_starts_though_the_answer_to_its_first_write_is_lost(
    faulty: FaultyS3, s3_url: str, no_patience: None
) -> None:
    faulty.fail("lose the answer", 1, "PUT", "check")
    async with s3_store(faulty.behind(s3_url)) as store:
        assert faulty.failures == 1
        assert await all_names(store) == []


async def test_a_bucket_that_is_not_there_is_refused(runner: asyncio.Runner, s3_url: str) -> None:
    with pytest.raises(BlobSetupError, match="NoSuchBucket"):
        async with s3_store(s3_url.replace(BUCKET, "no-such-bucket")):
            pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://bucket", "s3://BUCKET/PREFIX"),
        ("s3:///prefix", "s3://BUCKET/PREFIX"),
        ("s3://bucket?redirects=on", "redirects"),
        ("s3://bucket?redirect=yes", "redirect must be on or off"),
    ],
)
def test_a_location_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(BlobSetupError, match=message):
        S3Location.parse(text)


def test_a_location_has_a_prefix_and_options() -> None:
    assert S3Location.parse("s3://bucket") == S3Location("bucket", "", None, None, True)
    text = "s3://bucket/some/prefix/?endpoint=http://127.0.0.1:9000&region=eu-central-1&redirect=off"
    assert S3Location.parse(text) == S3Location(
        "bucket", "some/prefix/", "http://127.0.0.1:9000", "eu-central-1", False
    )


@pytest.mark.parametrize("number", [1, 2])
async def test_parts_are_read_to_their_end(runner: asyncio.Runner, store: S3Blobs, number: int) -> None:
    """Where they are hashed, which goes on after the last one was handed on."""
    ended = []

    async def parts() -> AsyncIterator[Part]:
        for position in range(1, number + 1):
            yield Part(bytes(s3.PART_SIZE), is_last=position == number)
        await asyncio.sleep(0)
        ended.append(True)

    assert await store.bucket.write("key", parts()) == s3.PART_SIZE * number
    assert ended == [True]
