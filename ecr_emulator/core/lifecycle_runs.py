"""Running lifecycle policies: what ``core.lifecycle`` decides is done to the images of a repository.

An evaluation reads the images at one moment, decides outside of any transaction, and then acts in
transactions of a bounded size. An image that changed in between is left to the next evaluation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from ecr_emulator.core import audit, events, images, lifecycle
from ecr_emulator.core.call import unattended
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.lifecycle import LifecycleAction, LifecycleImage
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.repositories import LIFECYCLE_INTERVAL
from ecr_emulator.metadata.images import ImageHistory
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction

# Images that one transaction deletes or archives, so that other writers wait for milliseconds only.
BATCH = 500


async def run(emulator: Emulator, repository_id: int, now: float) -> None:
    """Evaluate a repository's lifecycle policy: delete and archive images.

    A policy that is set or removed meanwhile ends the evaluation of the one before. After a crash
    the evaluation is still due, and goes on with what is left.
    """
    found = await emulator.metadata.read(_policy_and_images, repository_id, now)
    if found is None:
        return
    text, seen_images = found
    actions = await decide(text, seen_images.values(), now)
    for start in range(0, len(actions), BATCH):
        batch = actions[start : start + BATCH]
        seen = {action.digest: seen_images[action.digest] for action in batch}
        acted = await emulator.metadata.write(_act, repository_id, text, batch, seen, now)
        if acted is None:
            return
        repository, done = acted
        audit.note_lifecycle(emulator, repository, text, done, seen, now)
    await emulator.metadata.write(_finish, repository_id, text, now)


async def decide(text: str, images: Collection[LifecycleImage], now: float) -> list[LifecycleAction]:
    """Return what a policy text does to images, off the event loop: there may be 100,000."""
    return await asyncio.to_thread(
        lambda: lifecycle.evaluate(lifecycle.parse(text), images, datetime.fromtimestamp(now, UTC))
    )


def images_of(
    tx: Transaction, repository_id: int, now: float, digests: Collection[str] | None = None
) -> dict[str, LifecycleImage]:
    """Return what a policy looks at in a repository's images, by digest."""
    histories = tx.images.histories(repository_id, digests)
    tags = tx.tags.of_images([history.id for history in histories])
    return {history.digest: _lifecycle_image(history, tags[history.id], now) for history in histories}


def _lifecycle_image(history: ImageHistory, tags: list[str], now: float) -> LifecycleImage:
    # An image that is being restored counts as restored: a policy would else send it straight back.
    activated_at = now if history.status == "ACTIVATING" else history.last_activated_at
    return LifecycleImage(
        digest=history.digest,
        tags=tags,
        pushed_at=datetime.fromtimestamp(history.pushed_at, UTC),
        last_pulled_at=_moment(history.last_pulled_at),
        archived_at=_moment(history.last_archived_at),
        activated_at=_moment(activated_at),
        storage_class="ARCHIVE" if history.status == "ARCHIVED" else "STANDARD",
        referenced=history.referenced,
        subject=history.subject_digest,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _policy_and_images(
    tx: Transaction, repository_id: int, now: float
) -> tuple[str, dict[str, LifecycleImage]] | None:
    repository = tx.repositories.by_id(repository_id)
    if repository is None or repository.lifecycle_policy_text is None:
        return None
    return repository.lifecycle_policy_text, images_of(tx, repository_id, now)


def _repository_with(tx: Transaction, repository_id: int, text: str) -> Repository | None:
    """Return the repository while its policy is this one."""
    repository = tx.repositories.by_id(repository_id)
    return repository if repository is not None and repository.lifecycle_policy_text == text else None


def _act(
    tx: Transaction,
    repository_id: int,
    text: str,
    actions: Sequence[LifecycleAction],
    seen: dict[str, LifecycleImage],
    now: float,
) -> tuple[Repository, list[LifecycleAction]] | None:
    """Do some of the actions and return those; None if the policy is not the one they come from any more."""
    repository = _repository_with(tx, repository_id, text)
    if repository is None:
        return None
    call = unattended(Registry(repository.account, repository.region), now)
    current = images_of(tx, repository_id, now, seen)
    done = [action for action in actions if current.get(action.digest) == seen[action.digest]]
    digests: dict[str, list[str]] = {"EXPIRE": [], "TRANSITION": []}
    for action in done:
        digests[action.type].append(action.digest)
    for image in filter(None, (tx.images.by_digest(repository.id, digest) for digest in digests["EXPIRE"])):
        images.remove(tx, call, repository, image)
    for image in filter(
        None, (tx.images.by_digest(repository.id, digest) for digest in digests["TRANSITION"])
    ):
        events.on_storage_class(tx, repository, images.archive(tx, image, now), now)
    return repository, done


def _finish(tx: Transaction, repository_id: int, text: str, now: float) -> None:
    if _repository_with(tx, repository_id, text) is not None:
        tx.repositories.set_lifecycle_evaluated(repository_id, now, now + LIFECYCLE_INTERVAL)
