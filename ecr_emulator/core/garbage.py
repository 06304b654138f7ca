"""Garbage: uploads that nobody goes on with, layers that no image uses, blobs that no layer has.

Collecting races with pushes and can't harm them. A blob is removed from metadata first, in a transaction that
finds no layer which has it, and from the store after that: its name is in no row any more, and no blob ever
gets it again. Who pushes the same bytes meanwhile publishes them under a name of its own.

What a client was told it need not upload must be there when its image comes. Layers are therefore left alone
for a time after a push last counted on them (``layers.touch``), as uploads are after their last part.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection

from msgspec import Struct

from ecr_emulator.blobs.base import UploadBusyError, UploadMissingError, published_at, upload_of
from ecr_emulator.core.emulator import Stores
from ecr_emulator.metadata.blobs import StoredBlob
from ecr_emulator.metadata.store import Transaction

# Rows and names that are looked at in one transaction.
_BATCH = 500
# Seconds of real time for which the file of an upload that has no row is left to a request that has made it
# and does not hold it yet.
_HOLD_TIME = 60.0
# Seconds of real time for which a blob without a row, and without an upload that clients know of, is left to
# who has just published it.
_COMMIT_TIME = 3600.0


class Garbage(Struct, frozen=True):
    """How much garbage there is, or was: ``size`` is bytes of blobs."""

    uploads: int
    layers: int
    blobs: int
    size: int


async def find(stores: Stores) -> Garbage:
    """Return what ``collect`` would remove."""
    before = _before(stores)
    uploads = layers = blobs = size = 0
    async for upload_ids in _stale_uploads(stores, before):
        uploads += len(upload_ids)
    async for upload_ids in _abandoned_uploads(stores, _HOLD_TIME):
        uploads += len(upload_ids)
    async for layer_ids in _unused_layers(stores, before):
        layers += len(layer_ids)
    async for unused in _unused_blobs(stores, before):
        blobs, size = blobs + len(unused), size + sum(blob.size for blob in unused)
    async for name in stray_names(stores):
        stray = await stores.blobs.open(name)
        if stray is not None:
            blobs, size = blobs + 1, size + stray.size
    return Garbage(uploads, layers, blobs, size)


async def collect(stores: Stores) -> Garbage:
    """Remove the garbage, and return how much it was. Where this is cut short, the next one goes on."""
    before = _before(stores)
    uploads = layers = 0
    async for upload_ids in _stale_uploads(stores, before):
        for upload_id in upload_ids:
            uploads += await _end(stores, upload_id, before)
    uploads += await discard_abandoned(stores, _HOLD_TIME)
    async for layer_ids in _unused_layers(stores, before):
        layers += await stores.metadata.write(_delete_layers, layer_ids, before)
    blobs, size = await _remove_blobs(stores)
    async for name in stray_names(stores):
        removed = await stores.blobs.remove(name)
        if removed is not None:
            blobs, size = blobs + 1, size + removed
    return Garbage(uploads, layers, blobs, size)


async def remove_freed(stores: Stores) -> None:
    """Remove the bytes of what is in metadata no more, as the end of many repositories leaves them."""
    await _remove_blobs(stores)
    await discard_abandoned(stores)


async def _remove_blobs(stores: Stores) -> tuple[int, int]:
    """Remove the blobs that no layer has; return how many there were, and their bytes."""
    blobs = size = 0
    async for unused in _unused_blobs(stores):
        for blob in await stores.metadata.write(_delete_blobs, unused):
            await stores.blobs.remove(blob.name)
            blobs, size = blobs + 1, size + blob.size
    return blobs, size


async def discard_abandoned(stores: Stores, idle: float = 0.0) -> int:
    """Remove the bytes of uploads that are no more, as a crash or the end of a repository leaves them.

    Not those of requests at work, nor what was written within ``idle`` seconds of real time.
    """
    discarded = 0
    async for upload_ids in _abandoned_uploads(stores, idle):
        for upload_id in upload_ids:
            discarded += await _end(stores, upload_id, float("-inf"))
    return discarded


def _before(stores: Stores) -> float:
    """Return the time since which nobody must have wanted what is garbage."""
    return stores.clock.now() - stores.settings.garbage_grace


async def _stale_uploads(stores: Stores, before: float) -> AsyncIterator[list[str]]:
    """Give the ids of uploads that nobody has gone on with since ``before``."""
    last = ""
    while upload_ids := await stores.metadata.read(_stale, before, last):
        last = upload_ids[-1]
        yield upload_ids


def _stale(tx: Transaction, before: float, last: str) -> list[str]:
    return tx.uploads.stale(before, last, _BATCH)


async def _abandoned_uploads(stores: Stores, idle: float) -> AsyncIterator[list[str]]:
    """Give the ids of uploads of which there are bytes and no row."""
    # Listed first: an upload that begins meanwhile has its row before its bytes.
    present = await stores.blobs.upload_ids(idle)
    for start in range(0, len(present), _BATCH):
        yield await stores.metadata.read(_without_row, present[start : start + _BATCH])


def _without_row(tx: Transaction, upload_ids: Collection[str]) -> list[str]:
    known = tx.uploads.known(upload_ids)
    return [upload_id for upload_id in upload_ids if upload_id not in known]


async def _end(stores: Stores, upload_id: str, before: float) -> bool:
    """End an upload that is garbage; false for one that a request is at work on, or that went on."""
    try:
        async with stores.blobs.upload(upload_id, patience=0):
            if await stores.metadata.write(_goes_on, upload_id, before):
                return False
    except (UploadBusyError, UploadMissingError):
        return False
    await stores.blobs.discard(upload_id)
    return True


def _goes_on(tx: Transaction, upload_id: str, before: float) -> bool:
    """End an upload where it is stale, and tell whether it is not."""
    tx.uploads.delete_stale(upload_id, before)
    return bool(tx.uploads.known([upload_id]))


async def _unused_layers(stores: Stores, before: float) -> AsyncIterator[list[int]]:
    """Give the layers that no image has, and that no push has counted on since ``before``."""
    last = 0
    while scanned := await stores.metadata.read(_scan_layers, before, last):
        last = scanned[-1][0]
        if unused := [layer_id for layer_id, is_unused in scanned if is_unused]:
            yield unused


def _scan_layers(tx: Transaction, before: float, last: int) -> list[tuple[int, bool]]:
    return tx.layers.scan(before, last, _BATCH)


def _delete_layers(tx: Transaction, layer_ids: Collection[int], before: float) -> int:
    return tx.layers.delete_unused(layer_ids, before)


async def _unused_blobs(stores: Stores, before: float | None = None) -> AsyncIterator[list[StoredBlob]]:
    """Give the blobs that no layer has, or with ``before`` only unused ones."""
    last: int | None = 0
    while last is not None:
        unused, last = await stores.metadata.read(_scan_blobs, last, before)
        if unused:
            yield unused


def _scan_blobs(tx: Transaction, last: int, before: float | None) -> tuple[list[StoredBlob], int | None]:
    return tx.blobs.scan_unused(last, _BATCH, before)


def _delete_blobs(tx: Transaction, unused: Collection[StoredBlob]) -> list[StoredBlob]:
    return tx.blobs.delete_unused([blob.id for blob in unused])


async def stray_names(stores: Stores) -> AsyncIterator[str]:
    """Give the names in the store that no blob has, as a crash leaves them between the store and metadata."""
    published_before = time.time() - _COMMIT_TIME
    async for names in stores.blobs.names():
        idle = [name for name in names if published_at(name) <= published_before]
        for name in await stores.metadata.read(_without_blob, idle) if idle else ():
            yield name


def _without_blob(tx: Transaction, names: Collection[str]) -> list[str]:
    known = tx.blobs.known(names)
    # Until an upload has ended, what it published may be about to get its row, whatever clocks say.
    uploads = tx.uploads.known({upload_of(name) for name in names if name not in known})
    return [name for name in names if name not in known and upload_of(name) not in uploads]
