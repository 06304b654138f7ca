"""Layers: uploading them part by part, checking, reading and removing them.

UploadLayerPart and a PATCH on ``/v2/`` append to the same upload; a layer belongs to the
repository it was uploaded to, and its bytes are stored once for all repositories.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Sequence

from msgspec import Struct

from ecr_emulator.blobs import reading
from ecr_emulator.blobs.base import (
    Blob,
    BlobStoreUnavailableError,
    DigestMismatchError,
    Position,
    Published,
    UploadBusyError,
    UploadMissingError,
    is_digest,
)
from ecr_emulator.core import account_settings, authorization, errors, pull_through, repositories, templates
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator, Stores
from ecr_emulator.core.encryption import LayerUpload
from ecr_emulator.metadata.layers import Layer
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import MetadataUnavailableError, Transaction
from ecr_emulator.metadata.uploads import Upload

_logger = logging.getLogger(__name__)

# ECR's service quotas: bytes of a part that it suggests, least bytes of one that is not the last,
# number of parts, bytes of a layer (52,000 MiB).
PART_SIZE = 10 * 1024 * 1024
MIN_PART_SIZE = 5 * 1024 * 1024
MAX_PARTS = 4200
MAX_SIZE = 52_000 * 1024 * 1024
# Seconds for which it need not be noted again that a push counts on a layer: a small part of the time that
# garbage collection leaves it alone, so that a push costs few writes for the layers that are there.
TOUCH_INTERVAL = 3600.0


class Availability(Struct, frozen=True):
    """Whether a digest is a layer of a repository; ``size`` and ``media_type`` where it is.

    ``archived`` says that only archived images use it.
    """

    digest: str
    size: int | None
    media_type: str | None
    archived: bool


async def initiate(emulator: Emulator, call: Call, repository_name: str) -> str:
    """Begin an upload and return its id; the first push to a repository may create it, by a template.

    Raises RepositoryNotFoundException and KmsException.
    """
    upload_id = str(uuid.uuid4())
    try:
        # Its bytes are not on the disk either before it is complete.
        await emulator.metadata.write_lazily(_insert_upload, call, repository_name, upload_id)
    except errors.RepositoryNotFoundException:
        await emulator.metadata.write(_create_for_upload, call, repository_name, upload_id)
    return upload_id


def _insert_upload(tx: Transaction, call: Call, repository_name: str, upload_id: str) -> None:
    repository = repositories.find(tx, call, repository_name)
    tx.uploads.insert(upload_id, repository.id, repositories.key_name(call, repository), call.now)


def _create_for_upload(tx: Transaction, call: Call, repository_name: str, upload_id: str) -> None:
    templates.find_or_create(tx, call, repository_name, templates.Case.CREATE_ON_PUSH)
    _insert_upload(tx, call, repository_name, upload_id)


def find_upload(tx: Transaction, call: Call, repository_name: str, upload_id: str) -> Upload:
    """Return an upload. Raises RepositoryNotFoundException and UploadNotFoundException."""
    repository = repositories.find(tx, call, repository_name)
    upload = tx.uploads.get(repository.id, upload_id.lower())
    if upload is None:
        raise _upload_not_found(call, repository_name, upload_id)
    return upload


def _upload_not_found(call: Call, repository_name: str, upload_id: str) -> errors.UploadNotFoundException:
    return errors.UploadNotFoundException(
        f"The upload with upload id '{upload_id}' does not exist in the repository with name "
        f"'{repository_name}' in the registry with id '{call.registry.account}'"
    )


def _invalid_part(
    call: Call, repository_name: str, upload: Upload, reason: str
) -> errors.InvalidLayerPartException:
    return errors.InvalidLayerPartException(
        reason,
        registryId=call.registry.account,
        repositoryName=repository_name,
        uploadId=upload.id,
        lastValidByteReceived=max(upload.size - 1, 0),
    )


class Part(Struct, frozen=True):
    """Bytes to be appended to an upload.

    ``first_byte`` is the position that the caller believes it goes on from, ``length`` the number
    of bytes it says it sends.
    """

    chunks: AsyncIterable[bytes]
    first_byte: int | None = None
    length: int | None = None


async def append(emulator: Emulator, call: Call, repository_name: str, upload_id: str, part: Part) -> int:
    """Append a part to an upload and return its new size; all of its bytes are kept, or none.

    Raises RepositoryNotFound-, UploadNotFoundException, InvalidLayerPartException (a gap, a wrong length,
    another request at work on the upload), LimitExceeded- and KmsException. What ``part.chunks`` raises is
    passed on.
    """
    unknown = None
    async with _held(emulator, call, repository_name, upload_id) as (held, upload):
        reached = await _receive(call, repository_name, held, upload, part)
        try:
            if not await emulator.metadata.write_lazily(_advance, upload, reached, call.now):
                raise _upload_not_found(call, repository_name, upload_id)
        except MetadataUnavailableError as error:
            # Where it was committed the bytes have to stay; where not, the next part takes their place.
            unknown = error
    if unknown is not None:
        raise unknown
    return reached.size


async def _receive(
    call: Call, repository_name: str, held: LayerUpload, upload: Upload, part: Part
) -> Position:
    """Write a part to the store; return how far the upload has come with it."""
    if part.first_byte is not None and part.first_byte != upload.size:
        reason = f"First byte of the layer part is {part.first_byte} instead of {upload.size}"
        raise _invalid_part(call, repository_name, upload, reason)
    if upload.part_count >= MAX_PARTS:
        raise errors.LimitExceededException(f"A layer can have at most {MAX_PARTS} parts")
    reached = await held.append(_bounded(part.chunks, MAX_SIZE - upload.size))
    if part.length is not None and reached.size - upload.size != part.length:
        reason = f"The layer part has {reached.size - upload.size} bytes instead of {part.length}"
        raise _invalid_part(call, repository_name, upload, reason)
    return reached


@contextlib.asynccontextmanager
async def _held(
    emulator: Emulator, call: Call, repository_name: str, upload_id: str
) -> AsyncIterator[tuple[LayerUpload, Upload]]:
    """Hold an upload for one request; give its state, which nobody else can change meanwhile.

    Raises RepositoryNotFound-, UploadNotFound-, KmsException, and InvalidLayerPartException where
    another request keeps holding it.
    """
    upload = await emulator.metadata.peek(find_upload, call, repository_name, upload_id)
    try:
        async with emulator.blobs.upload(upload.id) as writer:
            try:
                upload = await emulator.metadata.peek(find_upload, call, repository_name, upload_id)
            except errors.EcrError:
                # It ended before it was held, which has made its file anew.
                await emulator.blobs.discard(upload.id)
                raise
            position = Position(upload.size, upload.stored_size)
            with call.encryption.upload(writer, upload.id, upload.encryption_key, position) as held:
                yield held, upload
    except UploadBusyError:
        raise _invalid_part(call, repository_name, upload, "Another layer part is being uploaded") from None
    except UploadMissingError:
        raise _upload_not_found(call, repository_name, upload_id) from None


def _advance(tx: Transaction, upload: Upload, reached: Position, now: float) -> bool:
    return tx.uploads.advance(upload, reached.size, reached.stored_size, now)


async def _bounded(chunks: AsyncIterable[bytes], limit: int) -> AsyncIterable[bytes]:
    async for chunk in chunks:
        limit -= len(chunk)
        if limit < 0:
            raise errors.LimitExceededException(f"A layer can have at most {MAX_SIZE} bytes")
        yield chunk


async def complete(
    emulator: Emulator,
    call: Call,
    repository_name: str,
    upload_id: str,
    digests: Sequence[str],
    *,
    last_part: Part | None = None,
    min_part_size: int = 0,
) -> str:
    """Turn an upload into a layer of the repository, if its bytes have one of the digests; return that.

    ``last_part`` is appended first, and dropped again where that fails. ``min_part_size`` is the least that
    any part before must have but the last of them, in bytes. Raises RepositoryNotFound-, UploadNotFound-,
    EmptyUpload-, LayerPartTooSmall-, InvalidLayer-, KmsException and, where the repository has the layer,
    LayerAlreadyExistsException, which ends the upload too; for a ``last_part`` what ``append`` raises too.
    """
    if malformed := [named for named in digests if not is_digest(named)]:
        await emulator.metadata.peek(find_upload, call, repository_name, upload_id)
        raise errors.InvalidLayerException(f"The layer digest '{malformed[0]}' is not valid")
    try:
        async with _held(emulator, call, repository_name, upload_id) as (held, upload):
            if upload.part_count == 0 and last_part is None:
                raise errors.EmptyUploadException(
                    f"The upload with upload id '{upload_id}' does not contain any layer parts"
                )
            if upload.smallest_part is not None and upload.smallest_part < min_part_size:
                raise errors.LayerPartTooSmallException(
                    "All layer parts except the last part should be at least "
                    f"{min_part_size // (1024 * 1024)}MB"
                )
            size = upload.size
            if last_part is not None:
                size = (await _receive(call, repository_name, held, upload, last_part)).size
            published = await held.publish(digests)
            try:
                known, kept = await emulator.metadata.write(
                    _finish, call, repository_name, upload, size, published
                )
            except errors.EcrError:
                # Undone, for certain.
                await emulator.blobs.remove(published.name)
                raise
    except DigestMismatchError:
        raise errors.InvalidLayerException(
            "None of the provided layer digests match the calculated layer digest"
        ) from None
    await _clean_up(emulator, upload.id, None if kept else published)
    if known:
        raise errors.LayerAlreadyExistsException(
            f"The layer with digest '{published.digest}' already exists in the repository with name "
            f"'{repository_name}' in the registry with id '{call.registry.account}'"
        )
    return published.digest


async def _clean_up(stores: Stores, upload_id: str, unwanted: Published | None = None) -> None:
    """Remove what an upload leaves; garbage collection finds it after a crash, or where the store fails.

    The upload has ended in metadata, so that a failure here is none of the request's.
    """
    try:
        if unwanted is not None:
            await stores.blobs.remove(unwanted.name)
        await stores.blobs.discard(upload_id)
    except BlobStoreUnavailableError as error:
        _logger.warning("the bytes of an upload that has ended are left to garbage collection: %s", error)


def add(
    tx: Transaction, repository: Repository, published: Published, key_name: str, size: int, now: float
) -> bool:
    """Make a blob that was just published, encrypted with a key, a layer of a repository.

    Returns whether the store has it now by this name; another may have been there before.
    """
    blob_id, is_new = keep(tx, published, key_name, size)
    tx.layers.insert(repository.id, published.digest, blob_id, now)
    return is_new


def keep(tx: Transaction, published: Published, key_name: str, size: int) -> tuple[int, bool]:
    """Return the id of the blob with the bytes and the key of one just published, and whether it is this."""
    stored = tx.blobs.get(published.digest, key_name)
    if stored is not None:
        return stored.id, False
    return tx.blobs.insert(published.digest, key_name, published.name, size), True


def _finish(
    tx: Transaction, call: Call, repository_name: str, upload: Upload, size: int, published: Published
) -> tuple[bool, bool]:
    """End the upload and add the layer; tell whether the repository had it, and whether the blob is kept."""
    repository = repositories.find(tx, call, repository_name)
    if not tx.uploads.delete(upload.id):
        raise _upload_not_found(call, repository_name, upload.id)
    # What is in the archive can be uploaded again, to push its image again or another.
    layer = tx.layers.get(repository.id, published.digest)
    known = layer is not None and not layer.is_archived
    return known, add(tx, repository, published, upload.encryption_key, size, call.now)


def adopt(tx: Transaction, call: Call, repository: Repository, digests: Collection[str]) -> set[str]:
    """Make blobs that the store has layers of a repository, whoever uploaded them; return the others.

    Raises KmsException.
    """
    missing = set(digests) - tx.layers.present(repository.id, digests).keys()
    key_name = repositories.key_name(call, repository)
    for digest in list(missing):
        stored = tx.blobs.get(digest, key_name)
        if stored is not None:
            tx.layers.insert(repository.id, digest, stored.id, call.now)
            missing.remove(digest)
    return missing


async def store(
    stores: Stores, call: Call, repository_name: str, digest: str, chunks: AsyncIterable[bytes]
) -> None:
    """Make a layer of the repository out of bytes that come from another registry.

    Raises RepositoryNotFoundException, KmsException, DigestMismatchError and LimitExceededException. What
    ``chunks`` raises is passed on.
    """
    key_name = await stores.metadata.read(_key_name, call, repository_name)

    def insert(tx: Transaction, published: Published, size: int) -> bool:
        return add(tx, repositories.find(tx, call, repository_name), published, key_name, size, call.now)

    await _take(stores, call, digest, key_name, chunks, insert)


def _key_name(tx: Transaction, call: Call, repository_name: str) -> str:
    return repositories.key_name(call, repositories.find(tx, call, repository_name))


async def reencrypt(emulator: Emulator, call: Call, layer: Layer, key_name: str) -> None:
    """Make another blob of a layer's bytes, encrypted with another key; no layer has it yet.

    Raises KmsException, and ServerException where the bytes are missing.
    """
    blob = await emulator.open_blob(layer.blob_name, layer.encryption_key)
    if blob is None:
        raise _bytes_missing(layer.digest)

    def insert(tx: Transaction, published: Published, size: int) -> bool:
        return keep(tx, published, key_name, size)[1]

    await _take(emulator, call, layer.digest, key_name, reading.chunks(blob), insert)


async def _take(
    stores: Stores,
    call: Call,
    digest: str,
    key_name: str,
    chunks: AsyncIterable[bytes],
    insert: Callable[[Transaction, Published, int], bool],
) -> None:
    """Publish bytes that no client uploads; ``insert`` tells whether the blob is kept."""
    # Not an upload that anybody could go on with: where a crash leaves it, the next start removes it.
    upload_id = str(uuid.uuid4())
    unwanted = None
    try:
        async with stores.blobs.upload(upload_id) as writer:
            with call.encryption.upload(writer, upload_id, key_name, Position()) as held:
                reached = await held.append(_bounded(chunks, MAX_SIZE))
                published = await held.publish([digest])
                if not await stores.metadata.write(insert, published, reached.size):
                    unwanted = published
    finally:
        await _clean_up(stores, upload_id, unwanted)


async def one_chunk(content: bytes) -> AsyncIterator[bytes]:
    """Give bytes that are in memory as a stream."""
    yield content


async def mount(emulator: Emulator, call: Call, repository_name: str, digest: str, source_name: str) -> bool:
    """Make a layer of another repository of the registry one of this repository's, if that is possible.

    It is while BLOB_MOUNTING is ENABLED, from repositories with the same encryption that no
    pull-through cache rule is for (ECR user guide, Blob mounting), and that the caller may download
    layers from. Where it is not, false tells the caller to upload the layer.
    """
    return await emulator.metadata.write(_mount, call, repository_name, digest, source_name)


def _mount(tx: Transaction, call: Call, repository_name: str, digest: str, source_name: str) -> bool:
    registry = call.registry
    if account_settings.get(tx, call, "BLOB_MOUNTING") != "ENABLED":
        return False
    target = tx.repositories.get(registry.account, registry.region, repository_name)
    source = tx.repositories.get(registry.account, registry.region, source_name)
    if target is None or source is None or _encryption(target) != _encryption(source):
        return False
    if pull_through.rule_for(tx, call, source.name) is not None:
        return False
    if not authorization.may(tx, call, "ecr:GetDownloadUrlForLayer", source.name):
        return False
    layer = tx.layers.get(source.id, digest)
    # Layers may be from before the server was given its keys, or other ones.
    key_name = repositories.key_name(call, target)
    if layer is None or layer.is_archived or layer.encryption_key != key_name:
        return False
    tx.layers.insert(target.id, digest, layer.blob_id, call.now)
    return True


def _encryption(repository: Repository) -> tuple[str, str | None]:
    return repository.encryption_type, repository.kms_key


async def cancel(emulator: Emulator, call: Call, repository_name: str, upload_id: str) -> None:
    """End an upload without a layer. Raises RepositoryNotFound- and UploadNotFoundException."""
    upload = await emulator.metadata.write(_delete_upload, call, repository_name, upload_id)
    await _clean_up(emulator, upload.id)


def _delete_upload(tx: Transaction, call: Call, repository_name: str, upload_id: str) -> Upload:
    upload = find_upload(tx, call, repository_name, upload_id)
    tx.uploads.delete(upload.id)
    return upload


async def check(
    emulator: Emulator, call: Call, repository_name: str, digests: Sequence[str]
) -> list[Availability]:
    """Tell a push which digests are layers of the repository. Raises RepositoryNotFoundException."""
    await touch(emulator, call, repository_name, digests)
    return await emulator.metadata.peek(_check, call, repository_name, digests)


async def touch(emulator: Emulator, call: Call, repository_name: str, digests: Sequence[str]) -> None:
    """Note that a push counts on layers, before it is told whether they are there.

    Those that are will be kept for its image, which may come later. Raises RepositoryNotFoundException.
    """
    untouched = await emulator.metadata.peek(_untouched, call, repository_name, digests)
    if untouched:
        await emulator.metadata.write(_touch, call, repository_name, untouched)


def _untouched(tx: Transaction, call: Call, repository_name: str, digests: Sequence[str]) -> list[str]:
    repository = repositories.find(tx, call, repository_name)
    return tx.layers.untouched(repository.id, digests, call.now - TOUCH_INTERVAL)


def _touch(tx: Transaction, call: Call, repository_name: str, digests: Sequence[str]) -> None:
    tx.layers.touch(repositories.find(tx, call, repository_name).id, digests, call.now)


def _check(tx: Transaction, call: Call, repository_name: str, digests: Sequence[str]) -> list[Availability]:
    repository = repositories.find(tx, call, repository_name)
    present = {layer.digest: layer for layer in tx.layers.among(repository.id, digests)}
    return [_availability(digest, present.get(digest)) for digest in digests]


def _availability(digest: str, layer: Layer | None) -> Availability:
    if layer is None:
        return Availability(digest, None, None, archived=False)
    return Availability(digest, layer.size, layer.media_type, layer.is_archived)


def find(tx: Transaction, call: Call, repository_name: str, digest: str) -> Layer:
    """Return a layer. Raises RepositoryNotFoundException and LayersNotFoundException."""
    return _layer(tx, repositories.find(tx, call, repository_name), digest)


def _layer(tx: Transaction, repository: Repository, digest: str) -> Layer:
    layer = tx.layers.get(repository.id, digest)
    if layer is None:
        raise _layer_not_found(repository, digest)
    return layer


def find_accessible(tx: Transaction, call: Call, repository_name: str, digest: str) -> Layer:
    """Return a layer that can be read.

    Raises what ``find`` raises, and LayerInaccessibleException for one that only archived images use.
    """
    return _accessible(tx, repositories.find(tx, call, repository_name), digest)


def _accessible(tx: Transaction, repository: Repository, digest: str) -> Layer:
    layer = _layer(tx, repository, digest)
    if layer.is_archived:
        raise _inaccessible(repository, digest, "archived")
    return layer


def find_in_image(tx: Transaction, call: Call, repository_name: str, digest: str) -> Layer:
    """Return a layer that an image uses.

    Raises what ``find_accessible`` raises, and LayerInaccessibleException for a layer without an image.
    """
    repository = repositories.find(tx, call, repository_name)
    layer = _accessible(tx, repository, digest)
    if not layer.image_count:
        raise _inaccessible(repository, digest, "not associated with an image")
    return layer


def _inaccessible(repository: Repository, digest: str, reason: str) -> errors.LayerInaccessibleException:
    return errors.LayerInaccessibleException(
        f"The layer with digest '{digest}' in the repository with name '{repository.name}' in the "
        f"registry with id '{repository.account}' is {reason}"
    )


def _layer_not_found(repository: Repository, digest: str) -> errors.LayersNotFoundException:
    return errors.LayersNotFoundException(
        f"The layer with digest '{digest}' does not exist within the repository with name "
        f"'{repository.name}' in the registry with id '{repository.account}'"
    )


async def open_blob(emulator: Emulator, call: Call, repository_name: str, digest: str) -> Blob:
    """Return what a layer can be read from. Raises what ``find_accessible`` raises, and KmsException."""
    layer = await emulator.metadata.peek(find_accessible, call, repository_name, digest)
    while (blob := await emulator.open_blob(layer.blob_name, layer.encryption_key)) is None:
        # Has the layer gone between the two, or got another blob?
        found = await emulator.metadata.peek(find_accessible, call, repository_name, digest)
        if found.blob_id == layer.blob_id:
            raise _bytes_missing(digest)
        layer = found
    return blob


def _bytes_missing(digest: str) -> errors.ServerException:
    return errors.ServerException(f"The bytes of the layer with digest '{digest}' are missing")


def delete(tx: Transaction, call: Call, repository_name: str, digest: str) -> None:
    """Remove a layer from a repository.

    Raises RepositoryNotFoundException, LayersNotFoundException, and InvalidParameterException
    while an image uses it.
    """
    layer = find(tx, call, repository_name, digest)
    repository = repositories.find(tx, call, repository_name)
    if layer.image_count:
        raise errors.InvalidParameterException(f"The layer with digest '{digest}' is used by an image")
    tx.layers.delete(repository.id, layer.digest)
