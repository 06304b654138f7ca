"""Garbage: uploads that nobody goes on with, layers that no image uses, blobs that no layer has.

Collecting races with pushes and can't harm them. A blob is in the store before the transaction that makes
it a layer, and that transaction looks whether it still is there (``layers.add``). A blob is removed while
metadata is held, so that no such transaction is under way, and only if no layer that was committed has it.
A push that comes second so finds the blob gone, and publishes it again from its upload's own file.

What a client was told it need not upload must be there when its image comes. Layers are therefore left alone
for a time after a push last counted on them (``layers.touch``), as uploads are after their last part.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from ecr_emulator.blobs.base import BlobStore, UploadBusyError, UploadMissingError
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.metadata.layers import LayerKey
from ecr_emulator.metadata.store import Transaction

# Rows and names that are looked at in one transaction, and files that are removed in one: while these are,
# no push is acknowledged.
_BATCH = 500
_REMOVED_AT_ONCE = 50
# Seconds of real time for which the file of an upload that has no row is left to a request that has made it
# and does not hold it yet.
_HOLD_TIME = 60.0


@dataclass(frozen=True, slots=True)
class Garbage:
    """How much garbage there is, or was: ``size`` is bytes of blobs."""

    uploads: int
    layers: int
    blobs: int
    size: int


async def find(emulator: Emulator) -> Garbage:
    """Return what ``collect`` would remove."""
    before = _before(emulator)
    uploads = layers = blobs = size = 0
    async for upload_ids in _stale_uploads(emulator, before):
        uploads += len(upload_ids)
    async for upload_ids in _abandoned_uploads(emulator, _HOLD_TIME):
        uploads += len(upload_ids)
    async for keys in _unused_layers(emulator, before):
        layers += len(keys)
    async for digests in emulator.blobs.digests():
        for digest in await emulator.metadata.read(_unnamed, digests, before):
            blob = await emulator.blobs.open(digest)
            if blob is not None:
                blobs, size = blobs + 1, size + blob.size
    return Garbage(uploads, layers, blobs, size)


async def collect(emulator: Emulator) -> Garbage:
    """Remove the garbage, and return how much it was. Where this is cut short, the next one goes on."""
    before = _before(emulator)
    uploads = layers = blobs = size = 0
    async for upload_ids in _stale_uploads(emulator, before):
        for upload_id in upload_ids:
            uploads += await _end(emulator, upload_id, before)
    uploads += await discard_abandoned(emulator, _HOLD_TIME)
    async for keys in _unused_layers(emulator, before):
        layers += await emulator.metadata.write(_delete_layers, keys, before)
    async for digests in emulator.blobs.digests():
        unnamed = await emulator.metadata.read(_unnamed, digests)
        for start in range(0, len(unnamed), _REMOVED_AT_ONCE):
            some = unnamed[start : start + _REMOVED_AT_ONCE]
            sizes = await emulator.metadata.hold(_remove_blobs, emulator.blobs, some)
            blobs, size = blobs + len(sizes), size + sum(sizes)
    return Garbage(uploads, layers, blobs, size)


async def discard_abandoned(emulator: Emulator, idle: float = 0.0) -> int:
    """Remove the bytes of uploads that are no more, as a crash or the end of a repository leaves them.

    Not those of requests at work, nor what was written within ``idle`` seconds of real time.
    """
    discarded = 0
    async for upload_ids in _abandoned_uploads(emulator, idle):
        for upload_id in upload_ids:
            discarded += await _end(emulator, upload_id, float("-inf"))
    return discarded


def _before(emulator: Emulator) -> float:
    """Return the time since which nobody must have wanted what is garbage."""
    return emulator.clock.now() - emulator.settings.garbage_grace


async def _stale_uploads(emulator: Emulator, before: float) -> AsyncIterator[list[str]]:
    """Give the ids of uploads that nobody has gone on with since ``before``."""
    last = ""
    while upload_ids := await emulator.metadata.read(_stale, before, last):
        last = upload_ids[-1]
        yield upload_ids


def _stale(tx: Transaction, before: float, last: str) -> list[str]:
    return tx.uploads.stale(before, last, _BATCH)


async def _abandoned_uploads(emulator: Emulator, idle: float) -> AsyncIterator[list[str]]:
    """Give the ids of uploads of which there are bytes and no row."""
    # Listed first: an upload that begins meanwhile has its row before its bytes.
    present = await emulator.blobs.upload_ids(idle)
    for start in range(0, len(present), _BATCH):
        yield await emulator.metadata.read(_without_row, present[start : start + _BATCH])


def _without_row(tx: Transaction, upload_ids: Collection[str]) -> list[str]:
    known = tx.uploads.known(upload_ids)
    return [upload_id for upload_id in upload_ids if upload_id not in known]


async def _end(emulator: Emulator, upload_id: str, before: float) -> bool:
    """End an upload that is garbage; false for one that a request is at work on, or that went on."""
    try:
        async with emulator.blobs.upload(upload_id, patience=0):
            if await emulator.metadata.write(_goes_on, upload_id, before):
                return False
    except (UploadBusyError, UploadMissingError):
        return False
    await emulator.blobs.discard(upload_id)
    return True


def _goes_on(tx: Transaction, upload_id: str, before: float) -> bool:
    """End an upload where it is stale, and tell whether it is not."""
    tx.uploads.delete_stale(upload_id, before)
    return bool(tx.uploads.known([upload_id]))


async def _unused_layers(emulator: Emulator, before: float) -> AsyncIterator[list[LayerKey]]:
    """Give the layers that no image has, and that no push has counted on since ``before``."""
    last: LayerKey = (0, "")
    while scanned := await emulator.metadata.read(_scan_layers, before, last):
        last = scanned[-1][0]
        if unused := [key for key, is_unused in scanned if is_unused]:
            yield unused


def _scan_layers(tx: Transaction, before: float, last: LayerKey) -> list[tuple[LayerKey, bool]]:
    return tx.layers.scan(before, last, _BATCH)


def _delete_layers(tx: Transaction, keys: Collection[LayerKey], before: float) -> int:
    return tx.layers.delete_unused(keys, before)


def _unnamed(tx: Transaction, digests: Collection[str], before: float | None = None) -> list[str]:
    return tx.layers.unnamed(digests, before)


def _remove_blobs(tx: Transaction, blobs: BlobStore, digests: Collection[str]) -> list[int]:
    """Remove those of the blobs that no layer has, and return their sizes."""
    removed = (blobs.remove(digest) for digest in tx.layers.unnamed(digests))
    return [size for size in removed if size is not None]
