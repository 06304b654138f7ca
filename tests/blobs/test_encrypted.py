"""Encrypted uploads on every blob store."""

from __future__ import annotations

import contextlib
import uuid

import pytest

from ecr_emulator.blobs import reading
from ecr_emulator.blobs.base import BlobStore, Position, UploadMissingError, digest_of
from ecr_emulator.blobs.cipher import Cipher
from ecr_emulator.blobs.encrypted import EncryptedUpload, States, decrypted
from tests.blobs.conftest import give

CIPHER = Cipher(bytes(range(32)), layers=2)
FIRST, SECOND = b"first " * 30_000, b"second " * 1_000_000


async def append(store, states, position, upload_id, *chunks):
    async with store.upload(upload_id) as writer:
        return await EncryptedUpload(writer, upload_id, position, CIPHER, states).append(give(*chunks))


async def test_an_upload_goes_on_and_is_published_by_any_server_and_again(
    store: BlobStore, other: BlobStore
) -> None:
    upload_id, whole = str(uuid.uuid4()), FIRST + SECOND
    states = States()
    position = await append(store, states, Position(), upload_id, FIRST)
    with contextlib.suppress(ZeroDivisionError):
        async with store.upload(upload_id) as writer:
            upload = EncryptedUpload(writer, upload_id, position, CIPHER, states)
            await upload.append(give(b"lost" * 100_000))
            raise ZeroDivisionError
    position = await append(other, States(), position, upload_id, SECOND)
    for server, known in ((store, states), (other, States()), (other, States())):
        async with server.upload(upload_id) as writer:
            upload = EncryptedUpload(writer, upload_id, position, CIPHER, known)
            published = await upload.publish([digest_of(whole)])
        blob = await decrypted(await server.open(published.name), CIPHER)
        assert blob.size == len(whole)
        assert await reading.part(blob, 0, blob.size) == whole
        assert await reading.part(blob, 100_000, 300_000) == whole[100_000:300_000]
    await store.discard(upload_id)
    with pytest.raises(UploadMissingError):
        async with store.upload(upload_id) as writer:
            await EncryptedUpload(writer, upload_id, position, CIPHER, States()).publish([digest_of(whole)])


async def test_an_empty_upload_is_an_encrypted_blob(store: BlobStore) -> None:
    upload_id = str(uuid.uuid4())
    position = await append(store, States(), Position(), upload_id)
    async with store.upload(upload_id) as writer:
        published = await EncryptedUpload(writer, upload_id, position, CIPHER, States()).publish(
            [digest_of(b"")]
        )
    blob = await decrypted(await store.open(published.name), CIPHER)
    assert (blob.size, await reading.part(blob, 0, 0)) == (0, b"")
