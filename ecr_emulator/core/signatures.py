"""Signatures: making them, and telling how far that has come.

Every signing profile has a key of its own. Its certificate is signed by the server's root, which is
made with the first signature and stays for good: who trusts it does so over restarts and resets.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct

from ecr_emulator.blobs.base import digest_of
from ecr_emulator.core import images, layers, manifest
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.manifest import Descriptor
from ecr_emulator.core.signing import Profile, parse_profile
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.signing import SigningStatus
from ecr_emulator.metadata.store import Transaction

_ROOT = "signing-root"


class Work(Struct, frozen=True):
    """An image to be signed with a profile: what a push left to be done."""

    task_id: int
    repository: str
    digest: str
    profile_arn: str


def statuses(
    tx: Transaction, call: Call, repository_name: str, image_id: ImageId
) -> tuple[str, list[SigningStatus]]:
    """Return an image's digest and its statuses, one for each profile it is or was to be signed with.

    Raises what ``images.describe`` raises.
    """
    [found] = images.describe(tx, call, repository_name, [image_id])
    return found.image.digest, tx.signing_statuses.of_image(found.image.id)


async def sign(emulator: Emulator, call: Call, work: Work) -> None:
    """Sign an image that waits for it, and put the signature beside it as a referrer.

    The signature's manifest, the image's status and the end of the task are one transaction: a crash
    before it leaves blobs that no image names. An image that is no more, or signed, ends the task.
    """
    image = await emulator.metadata.read(_waiting_image, call, work)
    if image is not None:
        profile = parse_profile(work.profile_arn)
        root = await _root(emulator)
        signer = await _signer(emulator, profile, root)
        content, blobs = await asyncio.to_thread(_sign, image, work.profile_arn, signer, root, call.now)
        for blob in blobs:
            await layers.store(emulator, call, work.repository, digest_of(blob), layers.one_chunk(blob))
        await emulator.metadata.write(_complete, call, work, content)
    else:
        await emulator.metadata.write(_drop, work)


def give_up(tx: Transaction, call: Call, work: Work, code: str, reason: str) -> None:
    """End a task that can't be done."""
    image = _waiting_image(tx, call, work)
    if image is not None:
        tx.signing_statuses.put(image.id, SigningStatus(work.profile_arn, "FAILED", code, reason))
    _drop(tx, work)


def _waiting_image(tx: Transaction, call: Call, work: Work) -> Image | None:
    repository = tx.repositories.get(call.registry.account, call.registry.region, work.repository)
    image = None if repository is None else tx.images.by_digest(repository.id, work.digest)
    if image is None:
        return None
    waiting = SigningStatus(work.profile_arn, "IN_PROGRESS")
    return image if waiting in tx.signing_statuses.of_image(image.id) else None


def _complete(tx: Transaction, call: Call, work: Work, content: bytes) -> None:
    image = _waiting_image(tx, call, work)
    if image is not None:
        images.put(tx, call, work.repository, manifest.parse(content), None)
        tx.signing_statuses.put(image.id, SigningStatus(work.profile_arn, "COMPLETE"))
    _drop(tx, work)


def _drop(tx: Transaction, work: Work) -> None:
    tx.tasks.delete(work.task_id)


async def trusted_certificate(emulator: Emulator) -> str:
    """Return the root's certificate in PEM, by which every signature can be verified."""
    root = await _root(emulator)
    return root[root.index("-----BEGIN CERTIFICATE-----") :]


async def _root(emulator: Emulator) -> str:
    """Return the root's key and certificate, made where there is none."""
    root = await emulator.metadata.read(_find_root)
    if root is None:
        root = await emulator.metadata.write(_keep_root, await asyncio.to_thread(_new_root))
    return root


def _find_root(tx: Transaction) -> str | None:
    return tx.server_values.get(_ROOT)


def _keep_root(tx: Transaction, made: str) -> str:
    """Keep a root, unless another was kept meanwhile; return the one that is."""
    kept = _find_root(tx)
    if kept is None:
        tx.server_values.put(_ROOT, made)
    return kept or made


async def _signer(emulator: Emulator, profile: Profile, root: str) -> str:
    """Return a profile's key and certificate, made where there is none."""
    signer = await emulator.metadata.read(_find_signer, profile)
    if signer is None:
        made = await asyncio.to_thread(_new_signer, profile, root)
        signer = await emulator.metadata.write(_keep_signer, profile, made)
    return signer


def _find_signer(tx: Transaction, profile: Profile) -> str | None:
    owner = profile.registry
    return tx.registry_values.get(owner.account, owner.region, f"signing-profile:{profile.name}")


def _keep_signer(tx: Transaction, profile: Profile, made: str) -> str:
    kept = _find_signer(tx, profile)
    if kept is None:
        owner = profile.registry
        tx.registry_values.put(owner.account, owner.region, f"signing-profile:{profile.name}", made)
    return kept or made


# The first signature waits for the cryptography library to load, and not the server's start.


def _new_root() -> str:
    from ecr_emulator.core import notary

    return notary.new_authority()


def _new_signer(profile: Profile, root: str) -> str:
    from ecr_emulator.core import notary

    return notary.new_signer(root, profile.registry.account, profile.name)


def _sign(
    image: Image, profile_arn: str, signer: str, root: str, now: float
) -> tuple[bytes, tuple[bytes, ...]]:
    from ecr_emulator.core import notary

    target = Descriptor(image.digest, image.manifest_size, image.media_type)
    signature = notary.sign(target, profile_arn, signer, root, now)
    return signature.manifest, signature.blobs
