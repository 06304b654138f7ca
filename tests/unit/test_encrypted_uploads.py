"""Encrypted uploads over files: what is left of them by failures, and who can go on with them."""

import asyncio
import hashlib

import pytest

from ecr_emulator.blobs import reading
from ecr_emulator.blobs.base import (
    CorruptBlobError,
    DigestMismatchError,
    Position,
    UploadMissingError,
    digest_of,
)
from ecr_emulator.blobs.cipher import CHUNK_SIZE
from ecr_emulator.blobs.filesystem import FilesystemBlobs
from ecr_emulator.core.encryption import Encryption
from ecr_emulator.core.registry import Registry

KEY = bytes(range(32))
FIRST, SECOND = b"first " * 30_000, b"second " * 30_000
WHOLE = FIRST + SECOND


class Process:
    """A server process over a folder: another one knows only what is in the files and the position."""

    def __init__(self, folder, *, encrypts=True):
        self.blobs = FilesystemBlobs(folder, durable=False)
        self.encryption = Encryption({"AES256": KEY, "alias/app": KEY} if encrypts else {})
        self.key_name = self.encryption.key_name(Registry("1" * 12, "us-east-1"), "KMS_DSSE", "alias/app")

    async def hold(self, step, position):
        async with self.blobs.upload("upload") as writer:
            with self.encryption.upload(writer, "upload", self.key_name, position) as upload:
                return await step(upload)

    async def append(self, position, *chunks):
        return await self.hold(lambda upload: upload.append(given(*chunks)), position)

    async def publish(self, position, *digests):
        return await self.hold(lambda upload: upload.publish(digests), position)


async def given(*chunks):
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


async def blob_of(process, name):
    blob = await process.encryption.decrypted(await process.blobs.open(name), process.key_name)
    return await reading.part(blob, 0, blob.size)


def test_any_process_goes_on_with_an_upload(tmp_path):
    async def scenario():
        position = await Process(tmp_path).append(Position(), FIRST)
        assert position.size == len(FIRST)
        position = await Process(tmp_path).append(position, SECOND[:10], SECOND[10:])
        process = Process(tmp_path)
        published = await process.publish(position, digest_of(b"other"), digest_of(WHOLE))
        assert published.digest == digest_of(WHOLE)
        assert await blob_of(process, published.name) == WHOLE

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [10, CHUNK_SIZE, CHUNK_SIZE + 1, 5 * CHUNK_SIZE])
@pytest.mark.parametrize("knows", [True, False])
def test_an_append_that_fails_leaves_what_was_acknowledged(tmp_path, size, knows):
    async def scenario():
        process = Process(tmp_path)
        position = await process.append(Position(), FIRST)
        with pytest.raises(RuntimeError, match="gone"):
            await process.append(position, b"x" * size, RuntimeError("gone"))
        # As a kill leaves it, without the chance to cut the file.
        file = tmp_path / "uploads" / "upload"
        assert file.stat().st_size == position.stored_size
        with file.open("ab") as opened:
            opened.write(b"x" * size)
        process = process if knows else Process(tmp_path)
        position = await process.append(position, SECOND)
        published = await process.publish(position, digest_of(WHOLE))
        assert await blob_of(process, published.name) == WHOLE

    asyncio.run(scenario())


@pytest.mark.parametrize("knows", [True, False])
def test_an_upload_can_be_published_again_and_go_on(tmp_path, knows):
    async def scenario():
        process = Process(tmp_path)
        position = await process.append(Position(), WHOLE)
        one = await process.publish(position, digest_of(WHOLE))
        process = process if knows else Process(tmp_path)
        other = await process.publish(position, digest_of(WHOLE))
        assert one.name != other.name
        process = process if knows else Process(tmp_path)
        position = await process.append(position, b"more")
        longer = await process.publish(position, digest_of(WHOLE + b"more"))
        for name in (one.name, other.name):
            assert await blob_of(process, name) == WHOLE
        assert await blob_of(process, longer.name) == WHOLE + b"more"

    asyncio.run(scenario())


def test_what_fails_after_a_publication_leaves_the_blob_whole(tmp_path):
    async def scenario():
        process = Process(tmp_path)
        names = []

        async def publish_and_fail(upload):
            await upload.append(given(WHOLE))
            names.append((await upload.publish([digest_of(WHOLE)])).name)
            raise RuntimeError("nobody knows whether the row was written")

        with pytest.raises(RuntimeError, match="nobody knows"):
            await process.hold(publish_and_fail, Position())
        assert await blob_of(process, names[0]) == WHOLE

    asyncio.run(scenario())


def test_an_upload_goes_on_after_a_crash_on_the_way_to_its_blob(tmp_path):
    async def scenario():
        process = Process(tmp_path)
        position = await process.append(Position(), FIRST)
        await process.blobs.remove((await process.publish(position, digest_of(FIRST))).name)
        # The trailer is there, the blob is not.
        assert (tmp_path / "uploads" / "upload").stat().st_size > position.stored_size
        process = Process(tmp_path)
        position = await process.append(position, SECOND)
        published = await process.publish(position, digest_of(WHOLE))
        assert await blob_of(process, published.name) == WHOLE

    asyncio.run(scenario())


@pytest.mark.parametrize("content", [b"", b"x", WHOLE])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("knows", [True, False])
def test_the_digest_is_that_of_the_plaintext(tmp_path, content, algorithm, knows):
    async def scenario():
        process = Process(tmp_path)
        position = await process.append(Position(), content)
        process = process if knows else Process(tmp_path)
        with pytest.raises(DigestMismatchError, match=hashlib.new(algorithm, content).hexdigest()):
            await process.publish(position, digest_of(b"other", algorithm))
        for _ in range(2):
            published = await process.publish(position, digest_of(content, algorithm))
            assert await blob_of(process, published.name) == content
        # Not even that is told by the store.
        assert digest_of(content, algorithm).partition(":")[2] not in published.name

    asyncio.run(scenario())


def test_an_upload_that_was_changed_in_the_store_is_no_blob(tmp_path):
    async def scenario():
        position = await Process(tmp_path).append(Position(), WHOLE)
        file = tmp_path / "uploads" / "upload"
        stored = bytearray(file.read_bytes())
        stored[100_000] ^= 1
        original = file.read_bytes()
        file.write_bytes(stored)
        with pytest.raises(CorruptBlobError):
            await Process(tmp_path).publish(position, digest_of(WHOLE))
        file.write_bytes(original[:-1])
        with pytest.raises(UploadMissingError):
            await Process(tmp_path).append(position, b"more")

    asyncio.run(scenario())


@pytest.mark.parametrize("encrypts", [True, False])
@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
def test_bytes_that_nobody_acknowledged_count_for_no_digest(tmp_path, encrypts, failure):
    """Or else a blob with other bytes could be put under a digest, for all who push what has that."""

    async def scenario():
        one, other = (Process(tmp_path, encrypts=encrypts) for _ in range(2))
        position = await one.append(Position(), FIRST)

        async def append_and_fail(upload):
            await upload.append(given(b"what it is said to be"))
            raise failure

        with pytest.raises(failure):
            await one.hold(append_and_fail, position)
        position = await other.append(position, b"what it really is ...")
        with pytest.raises(DigestMismatchError):
            await one.publish(position, digest_of(FIRST + b"what it is said to be"))
        published = await one.publish(position, digest_of(FIRST + b"what it really is ..."))
        assert await blob_of(one, published.name) == FIRST + b"what it really is ..."

    asyncio.run(scenario())
