"""Replicas: copying images to other registries, deleting them there, and how far that has come.

Blobs are stored once for all registries with the same key, so that a copy is rows: an image's manifest, its
layers and its tag. What fails is tried again for some minutes before it counts as failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ecr_emulator.core import (
    backfills,
    errors,
    events,
    iam,
    images,
    registry_policy,
    repositories,
    templates,
)
from ecr_emulator.core.call import Call, unattended
from ecr_emulator.core.clock import format_time
from ecr_emulator.core.encryption import Encryption
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.quotas import Quotas
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.backfills import BackfillReplication
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.layers import Layer
from ecr_emulator.metadata.replication import ReplicationState
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task

# Seconds before each further attempt. ECR replicates most images within 30 minutes (user guide).
RETRY_DELAYS = (15.0, 60.0, 120.0, 240.0)

# The code that ECR gives where the destination's policy refuses. It documents no codes; the others are
# this emulator's own.
ACCESS_DENIED = "DESTINATION_REGISTRY_ACCESS_DENIED"
SOURCE_GONE = "SOURCE_IMAGE_NOT_FOUND"
REFERENCED = "IMAGE_REFERENCED_BY_MANIFEST_LIST"
INTERNAL_ERROR = "INTERNAL_ERROR"
# Later attempts can't end otherwise.
_FINAL = (SOURCE_GONE,)
# Of several tags the one that is least far speaks for the image.
_PROGRESS = ("IN_PROGRESS", "FAILED", "COMPLETE")


class ReencryptionNeededError(Exception):
    """Layers have first to be encrypted with the key of the repository that they are copied to."""

    def __init__(self, layers: Sequence[Layer], key_name: str) -> None:
        super().__init__(key_name)
        self.layers = layers
        self.key_name = key_name


class Change(Struct, frozen=True):
    """What happened to an image of one registry, and is to happen in another."""

    source: Registry
    destination: Registry
    repository_name: str
    digest: str
    tag: str | None


class _Work(Struct, frozen=True):
    """What a task is about; ``part`` is the backfill's replication that it belongs to."""

    change: Change
    is_deletion: bool
    part: BackfillReplication | None


def perform(tx: Transaction, quotas: Quotas, encryption: Encryption, task: Task, now: float) -> None:
    """Do a task of the replication engine: end it, or put it off where it fails.

    Raises ReencryptionNeededError where it can be done only after that.
    """
    if task.payload["do"] == "prepare":
        backfills.prepare(tx, task.payload["backfill"], now)
        tx.tasks.delete(task.id)
        return
    work = _read(tx, task)
    if work is None:
        tx.tasks.delete(task.id)
        return
    if work.is_deletion:
        failure_code = _delete(tx, work.change, now)
    else:
        call = unattended(work.change.destination, now, quotas, encryption)
        failure_code = _copy(tx, call, work.change)
    _settle(tx, task, work, failure_code, now)


def fail(tx: Transaction, task: Task, now: float) -> None:
    """Put off or give up a task whose ``perform`` broke."""
    if task.payload["do"] != "prepare":
        work = _read(tx, task)
        if work is not None:
            _settle(tx, task, work, INTERNAL_ERROR, now)
            return
    if not _put_off(tx, task, now):
        backfills.give_up(tx, task.payload["backfill"], INTERNAL_ERROR, now)


def _read(tx: Transaction, task: Task) -> _Work | None:
    """Return what a task is about, or None where nobody wants it any more."""
    payload: dict[str, Any] = task.payload
    source = Registry(task.account, task.region)
    if payload["do"] != "backfill":
        destination = Registry(payload["account"], payload["region"])
        change = Change(source, destination, payload["repository"], payload["digest"], payload["tag"])
        return _Work(change, payload["do"] == "delete", None)
    part = backfills.wanted(tx, payload["replication"])
    if part is None:
        return None
    change = Change(source, backfills.destination_of(tx, part), part.repository_name, part.digest, part.tag)
    return _Work(change, False, part)


def _settle(tx: Transaction, task: Task, work: _Work, failure_code: str | None, now: float) -> None:
    """Record how an attempt ended."""
    if failure_code is None or failure_code in _FINAL:
        tx.tasks.delete(task.id)
        is_over = True
    else:
        is_over = not _put_off(tx, task, now)
    if work.part is not None:
        if is_over:
            backfills.finish(tx, work.part, failure_code, now)
        else:
            tx.backfills.set_tried(work.part.id)
    change = work.change
    image = None if work.is_deletion else _find(tx, change.source, change)[1]
    if image is not None:
        status = "COMPLETE" if failure_code is None else "FAILED" if is_over else "IN_PROGRESS"
        account, region = change.destination.account, change.destination.region
        shown_code = failure_code if is_over else None
        tx.replications.put(image.id, account, region, change.tag, status, shown_code)
    if is_over and not work.is_deletion:
        success = failure_code is None
        events.on_replication(tx, change, now, success=success)


def _put_off(tx: Transaction, task: Task, now: float) -> bool:
    """Leave a task for later; false where it was tried often enough, and is given up."""
    if task.attempts >= len(RETRY_DELAYS):
        tx.tasks.delete(task.id)
        return False
    tx.tasks.postpone(task, now + RETRY_DELAYS[task.attempts])
    return True


def _find(tx: Transaction, registry: Registry, change: Change) -> tuple[Repository | None, Image | None]:
    """Return the repository and the image of a change, as far as a registry has them."""
    repository = tx.repositories.get(registry.account, registry.region, change.repository_name)
    return repository, None if repository is None else tx.images.by_digest(repository.id, change.digest)


def _copy(tx: Transaction, call: Call, change: Change) -> str | None:
    """Copy an image with what it lists, and the tag if that still is the image's.

    Returns the code of a failure.
    """
    origin, image = _find(tx, change.source, change)
    if origin is None or image is None:
        return SOURCE_GONE
    repository, _ = _find(tx, change.destination, change)
    if not _may(tx, change, "ecr:ReplicateImage", call.now):
        return ACCESS_DENIED
    if repository is None:
        if not _may(tx, change, "ecr:CreateRepository", call.now):
            return ACCESS_DENIED
        repository = templates.find_or_create(tx, call, change.repository_name, templates.Case.REPLICATION)
    is_tagged = change.tag is not None and tx.tags.image_id(origin.id, change.tag) == image.id
    _copy_image(tx, call, origin, image, repository, change.tag if is_tagged else None)
    return None


def _copy_image(
    tx: Transaction,
    call: Call,
    origin: Repository,
    image: Image,
    repository: Repository,
    tag: str | None,
) -> None:
    parsed = images.stored_manifest(tx, image)
    for listed in parsed.children:
        child = tx.images.by_digest(origin.id, listed.digest)
        if child is not None:
            _copy_image(tx, call, origin, child, repository, None)
    _copy_layers(tx, call, tx.layers.among(origin.id, {blob.digest for blob in parsed.blobs}), repository)
    # A tag that is immutable where it is stays, and the image comes without it (user guide).
    for name in (tag, None):
        try:
            images.put(tx, call, repository.name, parsed, name, check_references=False, replicated=True)
        except errors.ImageTagAlreadyExistsException:
            continue
        except errors.ImageAlreadyExistsException:
            pass
        return


def _copy_layers(tx: Transaction, call: Call, layers: Sequence[Layer], repository: Repository) -> None:
    key_name = repositories.key_name(call, repository)
    lacking = []
    for layer in layers:
        if layer.encryption_key == key_name:
            tx.layers.insert(repository.id, layer.digest, layer.blob_id, call.now)
        elif blob := tx.blobs.get(layer.digest, key_name):
            tx.layers.insert(repository.id, layer.digest, blob.id, call.now)
        else:
            lacking.append(layer)
    if lacking:
        raise ReencryptionNeededError(lacking, key_name)


def _delete(tx: Transaction, change: Change, now: float) -> str | None:
    """Delete a replica, or take its tag away. Returns the code of a failure."""
    origin, image = _find(tx, change.source, change)
    if origin and image and (change.tag is None or tx.tags.image_id(origin.id, change.tag) == image.id):
        # It was pushed again since.
        return None
    repository, replica = _find(tx, change.destination, change)
    if repository is None or replica is None:
        return None
    if not _may(tx, change, "ecr:ReplicateImage", now):
        return ACCESS_DENIED
    call = unattended(change.destination, now)
    if change.tag is not None:
        if tx.tags.image_id(repository.id, change.tag) == replica.id:
            images.remove_tag(tx, call, repository, replica, change.tag, replicated=True)
    elif tx.images.referring_indexes(repository.id, replica.digest):
        return REFERENCED
    else:
        images.remove(tx, call, repository, replica, replicated=True)
    return None


def _may(tx: Transaction, change: Change, action: str, now: float) -> bool:
    """Tell whether the destination lets the source's account do something to the repository.

    Replication gives no aws:SourceAccount or aws:SourceArn to the conditions of its policy.
    """
    destination = change.destination
    text = registry_policy.find(tx, destination)
    request = iam.Request(
        principal=change.source.root_arn,
        action=action,
        resource=destination.repository_arn(change.repository_name),
        account=destination.account,
        keys={
            "aws:PrincipalArn": change.source.root_arn,
            "aws:PrincipalAccount": change.source.account,
            "aws:CurrentTime": format_time(now),
            "aws:EpochTime": str(int(now)),
            "aws:SecureTransport": "true",
        },
    )
    return iam.evaluate(request, iam.parse("registry", text) if text else ()).allowed


def describe(
    tx: Transaction, call: Call, repository_name: str, image_id: ImageId
) -> tuple[Image, list[ReplicationState]]:
    """Return an image, and how it stands with each destination that a push of it went to.

    Raises RepositoryNotFound-, ImageNotFound- and InvalidParameterException.
    """
    image = images.describe(tx, call, repository_name, [image_id])[0].image
    states: dict[tuple[str, str], ReplicationState] = {}
    for state in tx.replications.of_image(image.id):
        known = states.setdefault((state.account, state.region), state)
        if _PROGRESS.index(state.status) < _PROGRESS.index(known.status):
            states[state.account, state.region] = state
    return image, list(states.values())
