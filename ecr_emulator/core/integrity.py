"""Integrity: whether the bytes have their digests, and the rows say what the manifests say.

All that is said of rows alone is seen in one transaction, so that a server at work beside is no damage. What
is said of bytes is looked at again in a new transaction: the blob may have been collected meanwhile.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from msgspec import Struct

from ecr_emulator.blobs import reading
from ecr_emulator.blobs.base import Blob, CorruptBlobError, digest_of
from ecr_emulator.core import errors, garbage, images, manifest, pull_through
from ecr_emulator.core.call import unattended
from ecr_emulator.core.emulator import Stores
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.blobs import KnownBlob
from ecr_emulator.metadata.images import Image, ImageFilter
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tables import TABLES

# Rows that are looked at in one transaction.
_BATCH = 200
# Rows of the same problem that are reported.
_MOST = 100
# Repositories that a blob's problem names.
_NAMED = 3


class Finding(Struct, frozen=True):
    """What is wrong with something. Without ``is_damage`` it may be meant to be so, or be garbage."""

    subject: str
    problem: str
    is_damage: bool = True


class Tally(Struct):
    """How much was looked at; ``size`` is bytes of blobs."""

    repositories: int = 0
    images: int = 0
    blobs: int = 0
    size: int = 0


async def check(stores: Stores, tally: Tally, *, fast: bool = False) -> AsyncIterator[Finding]:
    """Give what is wrong with the stores, counting what was looked at.

    With ``fast`` blobs are not read: they only have to be there, with the right size.
    """
    if damage := await stores.metadata.damage():
        # Queries may fail now, or find the wrong rows.
        for problem in damage[:_MOST]:
            yield Finding("metadata", problem)
        return
    for finding in await stores.metadata.read(_lost_rows):
        yield finding
    async for finding in _repositories(stores, tally):
        yield finding
    async for finding in _images(stores, tally):
        yield finding
    async for finding in _blobs(stores, tally, fast=fast):
        yield finding
    strays = 0
    async for _ in garbage.stray_names(stores):
        strays += 1
    if strays:
        yield Finding("blobs", f"{strays} without a row, which are garbage", is_damage=False)


def _lost_rows(tx: Transaction) -> list[Finding]:
    """Return the rows that refer to none, or to the wrong one."""
    findings = [
        Finding(
            f"table {table.name}",
            f"{', '.join(f'{name} {value}' for name, value in key.items())}: "
            f"the row of {reference.table} is missing",
        )
        for table in TABLES
        for reference in table.references
        for key in tx.tables.orphans(table, reference, _MOST)
    ]
    for repository_id, tag in tx.tags.astray(_MOST):
        findings.append(
            Finding(f"{_name(tx, repository_id)}:{tag}", "the tag's image is another repository's")
        )
    for repository_id, digest in tx.layers.mismatched(_MOST):
        findings.append(
            Finding(f"{_name(tx, repository_id)}@{digest}", "the layer's blob has another digest")
        )
    return findings


def _name(tx: Transaction, repository_id: int) -> str:
    repository = tx.repositories.by_id(repository_id)
    return f"repository {repository_id}" if repository is None else _full_name(repository)


def _full_name(repository: Repository) -> str:
    return f"{repository.account}/{repository.region}/{repository.name}"


async def _repositories(stores: Stores, tally: Tally) -> AsyncIterator[Finding]:
    last = 0
    while counted := await stores.metadata.read(_count_images, last):
        for repository, number in counted:
            last = repository.id
            tally.repositories += 1
            if number != repository.image_count:
                problem = f"it has {number} images, and counts {repository.image_count}"
                yield Finding(_full_name(repository), problem)
            for finding in await stores.metadata.read(_check_counts, repository):
                yield finding


def _check_counts(tx: Transaction, repository: Repository) -> list[Finding]:
    """Compare how many images layers count with how many manifests name them."""
    images_of, active_images_of = Counter[str](), Counter[str]()
    last = 0
    while page := tx.images.page(repository.id, ImageFilter(), last, _BATCH):
        last = page[-1].id
        for image in page:
            named = images.named_layers(tx, image)
            images_of.update(named)
            if image.status == "ACTIVE":
                active_images_of.update(named)
    findings: list[Finding] = []
    for noted in tx.layers.counts(repository.id):
        number, active = images_of.pop(noted.digest, 0), active_images_of[noted.digest]
        if (number, active) != (noted.image_count, noted.active_image_count):
            findings.append(
                Finding(
                    f"{_full_name(repository)}@{noted.digest}",
                    f"{number} images name the layer, {active} of them active, and it counts "
                    f"{noted.image_count}, {noted.active_image_count} of them active",
                )
            )
    findings += [
        Finding(f"{_full_name(repository)}@{digest}", f"{number} images name the layer, and none is counted")
        for digest, number in sorted(images_of.items())
    ]
    return findings[:_MOST]


def _count_images(tx: Transaction, last: int) -> list[tuple[Repository, int]]:
    return [(each, tx.images.count(each.id)) for each in tx.repositories.scan(last, _BATCH)]


async def _images(stores: Stores, tally: Tally) -> AsyncIterator[Finding]:
    # Where pushes need not be whole, nor are images.
    is_strict = stores.settings.layer_check == "strict"
    last: int | None = 0
    while last is not None:
        findings, number, last = await stores.metadata.read(_check_images, last, is_strict)
        tally.images += number
        for finding in findings:
            yield finding


def _check_images(tx: Transaction, after: int, is_strict: bool) -> tuple[list[Finding], int, int | None]:
    """Look at some images past an id; return the findings, the number of images, and the last one's id."""
    page = tx.images.scan(after, _BATCH)
    findings: list[Finding] = []
    for image in page:
        repository = tx.repositories.by_id(image.repository_id)
        if repository is not None:
            subject = f"{_full_name(repository)}@{image.digest}"
            missing = list(_missing(tx, image))
            contradictions = _contradictions(tx, image, is_whole=not missing)
            findings += [Finding(subject, problem) for problem in contradictions]
            if missing:
                # An image of an upstream registry is there before its layers are.
                call = unattended(Registry(repository.account, repository.region), 0.0)
                is_damage = is_strict and pull_through.rule_for(tx, call, repository.name) is None
                findings += [Finding(subject, problem, is_damage) for problem in missing]
    return findings, len(page), page[-1].id if page else None


def _missing(tx: Transaction, image: Image) -> Iterator[str]:
    for digest in images.missing_layers(tx, image):
        yield f"the layer {digest} is missing"
    for digest in tx.images.missing_children(image.id):
        yield f"the image {digest}, which it lists, is missing"


def _contradictions(tx: Transaction, image: Image, *, is_whole: bool) -> Iterator[str]:
    """Give what an image's rows and its manifest do not agree on."""
    try:
        content = tx.images.manifest(image.id)
    except LookupError:
        yield "it has no manifest"
        return
    algorithm = image.digest.partition(":")[0]
    if (actual := digest_of(content, algorithm)) != image.digest:
        yield f"the manifest has the digest {actual}"
        return
    try:
        parsed = manifest.parse(content, image.media_type, algorithm)
    except errors.EcrError as error:
        yield f"the manifest is none: {error.message}"
        return
    described = images.described_by(parsed)
    noted = {name: getattr(image, name) for name in described}
    if differing := sorted(name for name in described if described[name] != noted[name]):
        yield f"the manifest has another {', '.join(differing)}"
    if parsed.images != set(tx.images.children(image.repository_id, image.id)):
        yield "the manifest lists other images"
        return
    if is_whole and (size := _size(tx, image, parsed)) != image.size:
        yield f"its size is {size}, and noted as {image.size}"


def _size(tx: Transaction, image: Image, parsed: manifest.Manifest) -> int:
    if parsed.is_index:
        return max(tx.images.present(image.repository_id, parsed.images).values(), default=0)
    layers = tx.layers.present(image.repository_id, {blob.digest for blob in parsed.blobs})
    return images.compressed_size(parsed, layers)


async def _blobs(stores: Stores, tally: Tally, *, fast: bool) -> AsyncIterator[Finding]:
    last = 0
    while page := await stores.metadata.read(_page_of_blobs, last):
        for known in page:
            last = known.id
            tally.blobs += 1
            tally.size += known.size
            problem = await _problem(stores, known, fast=fast)
            if problem is not None:
                users = await stores.metadata.read(_users, known)
                if users is not None:
                    used = f"used by {', '.join(users)}" if users else "unused"
                    yield Finding(f"blob {known.digest}", f"{problem} ({used})")


def _page_of_blobs(tx: Transaction, last: int) -> list[KnownBlob]:
    return tx.blobs.page(last, _BATCH)


async def _problem(stores: Stores, known: KnownBlob, *, fast: bool) -> str | None:
    try:
        blob = await stores.open_blob(known.name, known.encryption_key)
        if blob is None:
            return "its bytes are missing"
        if blob.size != known.size:
            return f"it has {blob.size} bytes instead of {known.size}"
        actual = known.digest if fast else await _digest(blob, known.digest.partition(":")[0])
    except errors.KmsException as error:
        return f"it can't be decrypted: {error.message}"
    except CorruptBlobError as error:
        return f"it can't be decrypted: {error}"
    except OSError as error:
        return f"its bytes can't be read: {error.strerror or error}"
    return None if actual == known.digest else f"its bytes have the digest {actual}"


async def _digest(blob: Blob, algorithm: str) -> str:
    hasher = hashlib.new(algorithm)
    async for chunk in reading.chunks(blob):
        hasher.update(chunk)
    return f"{algorithm}:{hasher.hexdigest()}"


def _users(tx: Transaction, known: KnownBlob) -> list[str] | None:
    """Return some repositories that use a blob, or None where it is not there any more."""
    if known.name not in tx.blobs.known([known.name]):
        return None
    return [_name(tx, repository_id) for repository_id in tx.layers.repositories_of(known.id, _NAMED)]
