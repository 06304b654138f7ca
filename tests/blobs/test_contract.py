"""What every blob store does."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecr_emulator.blobs import pieces, s3
from ecr_emulator.blobs.base import (
    BlobStore,
    BlobStream,
    DigestMismatchError,
    UploadBusyError,
    UploadMissingError,
    digest_of,
)
from tests.blobs.conftest import all_names, append, content, give, publish


@pytest.fixture
def upload_id() -> str:
    return str(uuid.uuid4())


async def test_what_was_appended_is_published_whole(store: BlobStore, upload_id: str) -> None:
    async with store.upload(upload_id) as upload:
        assert await upload.append(0, give(b"one", b"", b"two")) == 6
        published = await upload.publish(6, [digest_of(b"onetwo")])
    assert published.digest == digest_of(b"onetwo")
    assert published.name.startswith(f"sha256/{published.digest[7:9]}/{published.digest[7:]}.")
    assert await content(store, published.name) == b"onetwo"


async def test_a_blob_is_read_from_one_position_to_another(store: BlobStore, upload_id: str) -> None:
    await append(store, upload_id, 0, b"0123456789")
    published = await publish(store, upload_id, 10, digest_of(b"0123456789"))
    blob = await store.open(published.name)
    if isinstance(blob, BlobStream):
        assert b"".join([chunk async for chunk in blob.read(3, 7)]) == b"3456"
        assert [chunk async for chunk in blob.read(4, 4)] == []


async def test_an_upload_goes_on_on_another_server(
    store: BlobStore, other: BlobStore, upload_id: str
) -> None:
    assert await append(store, upload_id, 0, b"one") == 3
    assert await append(other, upload_id, 3, b"two") == 6
    assert await append(store, upload_id, 6, b"three") == 11
    published = await publish(other, upload_id, 11, digest_of(b"onetwothree"))
    assert await content(store, published.name) == b"onetwothree"


async def test_an_upload_without_bytes_becomes_the_empty_blob(store: BlobStore, upload_id: str) -> None:
    assert await append(store, upload_id, 0) == 0
    published = await publish(store, upload_id, 0, digest_of(b""))
    assert await content(store, published.name) == b""


async def test_the_first_digest_that_the_bytes_have_names_the_blob(store: BlobStore, upload_id: str) -> None:
    await append(store, upload_id, 0, b"bytes")
    sha512 = digest_of(b"bytes", "sha512")
    published = await publish(store, upload_id, 5, digest_of(b"other"), sha512, digest_of(b"bytes"))
    assert published.digest == sha512
    assert await content(store, published.name) == b"bytes"


async def test_other_bytes_than_named_are_refused_and_can_be_added_to(
    store: BlobStore, upload_id: str
) -> None:
    await append(store, upload_id, 0, b"one")
    with pytest.raises(DigestMismatchError) as refused:
        await publish(store, upload_id, 3, digest_of(b"onetwo"))
    assert refused.value.actual == digest_of(b"one")
    assert await all_names(store) == []
    await append(store, upload_id, 3, b"two")
    await publish(store, upload_id, 6, digest_of(b"onetwo"))


async def test_each_blob_has_a_name_of_its_own(store: BlobStore, upload_id: str) -> None:
    names = set()
    for each in (upload_id, str(uuid.uuid4())):
        await append(store, each, 0, b"bytes")
        names |= {(await publish(store, each, 5, digest_of(b"bytes"))).name for _ in range(2)}
        await store.discard(each)
    assert len(names) == 4
    assert await all_names(store) == sorted(names)
    removed, *left = sorted(names)
    assert await store.remove(removed) == 5
    assert await store.remove(removed) is None
    assert await content(store, removed) is None
    assert [await content(store, name) for name in left] == [b"bytes"] * 3


async def test_what_a_block_that_raises_has_appended_is_dropped(
    store: BlobStore, other: BlobStore, upload_id: str
) -> None:
    await append(store, upload_id, 0, b"one")
    with contextlib.suppress(ZeroDivisionError):
        async with store.upload(upload_id) as upload:
            assert await upload.append(3, give(b"lost")) == 7
            raise ZeroDivisionError
    with pytest.raises(UploadMissingError):
        await publish(other, upload_id, 7, digest_of(b"onelost"))
    await append(store, upload_id, 3, b"two")
    published = await publish(store, upload_id, 6, digest_of(b"onetwo"))
    assert await content(store, published.name) == b"onetwo"


async def test_what_breaks_off_leaves_the_upload_as_it_was(store: BlobStore, upload_id: str) -> None:
    async def breaks_off() -> AsyncIterator[bytes]:
        yield b"lost"
        raise ConnectionResetError

    await append(store, upload_id, 0, b"one")
    with pytest.raises(ConnectionResetError):
        async with store.upload(upload_id) as upload:
            await upload.append(3, breaks_off())
    await append(store, upload_id, 3, b"two")
    await publish(store, upload_id, 6, digest_of(b"onetwo"))


async def test_bytes_past_those_acknowledged_are_dropped(
    store: BlobStore, other: BlobStore, upload_id: str
) -> None:
    await append(store, upload_id, 0, b"one")
    # Which was never acknowledged, as its server was killed.
    await append(store, upload_id, 3, b"unacknowledged")
    await append(other, upload_id, 3, b"two")
    await append(store, upload_id, 6, b"three")
    published = await publish(store, upload_id, 11, digest_of(b"onetwothree"))
    assert await content(store, published.name) == b"onetwothree"


@pytest.mark.parametrize("size", [4, 100])
async def test_bytes_that_are_not_there_are_missed(store: BlobStore, upload_id: str, size: int) -> None:
    await append(store, upload_id, 0, b"one")
    with pytest.raises(UploadMissingError):
        await append(store, upload_id, size, b"more")
    with pytest.raises(UploadMissingError):
        await publish(store, upload_id, size, digest_of(b"one"))


async def test_a_request_that_finds_an_upload_held_gives_up_or_waits(
    store: BlobStore, other: BlobStore, upload_id: str
) -> None:
    for second in (store, other):
        async with store.upload(upload_id):
            with pytest.raises(UploadBusyError):
                async with second.upload(upload_id, patience=0):
                    pass
            waiting = asyncio.ensure_future(append(second, upload_id, 0, b"bytes"))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        assert await waiting == 5


async def test_one_of_many_requests_holds_an_upload_at_a_time(
    store: BlobStore, other: BlobStore, upload_id: str
) -> None:
    holders = 0

    async def hold(each: BlobStore) -> None:
        nonlocal holders
        async with each.upload(upload_id, patience=60):
            holders += 1
            assert holders == 1
            await asyncio.sleep(0.01)
            holders -= 1

    await asyncio.gather(*(hold(each) for each in (store, other) * 4))


async def test_an_upload_that_is_discarded_is_gone(
    store: BlobStore, other: BlobStore, upload_id: str
) -> None:
    await append(store, upload_id, 0, b"bytes")
    kept = await publish(store, upload_id, 5, digest_of(b"bytes"))
    assert await store.upload_ids() == [upload_id]
    assert await store.upload_ids(idle=3600) == []
    await other.discard(upload_id)
    await other.discard(upload_id)
    assert await store.upload_ids() == []
    with pytest.raises(UploadMissingError):
        await append(store, upload_id, 5, b"more")
    assert await content(store, kept.name) == b"bytes"


async def test_a_blob_that_is_not_there_is_none(store: BlobStore) -> None:
    name = f"sha256/ab/ab{'0' * 62}.0123456789abcdef"
    assert await store.open(name) is None
    assert await store.remove(name) is None


def interesting_sizes() -> list[int]:
    bounds = (0, pieces.MIN_PART, s3.PART_SIZE, pieces.MAX_COPY, pieces.MAX_COPY + pieces.MIN_PART)
    return [max(0, bound + more) for bound in bounds for more in (-1, 0, 1, pieces.MIN_PART // 2)]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 19), st.booleans(), st.booleans()), max_size=5),
    seed=st.integers(min_value=0, max_value=255),
)
def test_any_appends_and_cuts_are_the_bytes_that_they_should_be(
    steps: list[tuple[int, bool, bool]],
    seed: int,
    store: BlobStore,
    other: BlobStore,
    runner: asyncio.Runner,
    small_parts: None,
) -> None:
    sizes = interesting_sizes()

    async def scenario() -> None:
        upload_id, expected = str(uuid.uuid4()), b""
        for number, (choice, cuts, elsewhere) in enumerate(steps):
            if cuts:
                expected = expected[: len(expected) // 2]
            sent = random.Random(seed + number).randbytes(sizes[choice])
            size = await append(
                other if elsewhere else store, upload_id, len(expected), sent[:100], sent[100:]
            )
            expected += sent
            assert size == len(expected)
        for server in (store, other):
            published = await publish(server, upload_id, len(expected), digest_of(expected))
            assert await content(server, published.name) == expected
        half = expected[: len(expected) // 2]
        published = await publish(store, upload_id, len(half), digest_of(half))
        assert await content(other, published.name) == half
        await store.discard(upload_id)

    runner.run(scenario())
