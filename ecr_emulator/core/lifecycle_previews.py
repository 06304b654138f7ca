"""Previews of lifecycle policies: what one would do now, without doing it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Sequence

from msgspec import Struct

from ecr_emulator.core import errors, images, lifecycle_runs, repositories
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.lifecycle import LifecycleImage
from ecr_emulator.metadata.images import TagStatus
from ecr_emulator.metadata.lifecycle_previews import NewResult, Result
from ecr_emulator.metadata.store import Transaction

_logger = logging.getLogger(__name__)

# Seconds for which the results of a preview can be had. The API has a status for previews that have
# expired, its documentation no time; images change by policies within a day.
LIFETIME = 24 * 3600.0
# Results that one transaction keeps.
BATCH = 5000


class PreviewedImage(Struct, frozen=True):
    """A result with the names of the image's tags."""

    result: Result
    tags: list[str]


class PreviewPage(Struct, frozen=True):
    """A preview with some of its results; ``status`` is the API's. The counts are of all results."""

    policy_text: str
    status: str
    images: list[PreviewedImage]
    expiring: int
    transitioning: int


def start(tx: Transaction, call: Call, name: str, text: str | None) -> str:
    """Begin a preview of a policy text that was parsed before, or of the policy that is set.

    Returns the text. Raises RepositoryNotFound-, LifecyclePolicyNotFound- and, until the last preview is
    done, LifecyclePolicyPreviewInProgressException.
    """
    repository = repositories.find(tx, call, name)
    if text is None:
        text, _ = repositories.get_lifecycle_policy(tx, call, name)
    preview = tx.lifecycle_previews.get(repository.id)
    if preview is not None and preview.status == "IN_PROGRESS":
        raise errors.LifecyclePolicyPreviewInProgressException(
            f"The previous lifecycle policy preview for the repository with name '{name}' in the registry "
            f"with id '{call.registry.account}' has not completed"
        )
    tx.lifecycle_previews.start(repository.id, text, call.now)
    return text


def get(
    tx: Transaction,
    call: Call,
    name: str,
    tag_status: TagStatus,
    image_ids: Collection[ImageId] | None,
    after: int,
    limit: int,
) -> PreviewPage:
    """Return a page of a preview past the position ``after``, or what it says of some images.

    Raises RepositoryNotFound-, LifecyclePolicyPreviewNotFoundException, and InvalidParameterException for
    an id with neither digest nor tag.
    """
    repository = repositories.find(tx, call, name)
    preview = tx.lifecycle_previews.get(repository.id)
    if preview is None:
        raise errors.LifecyclePolicyPreviewNotFoundException(
            f"Lifecycle policy preview does not exist for the repository with name '{name}' in the registry "
            f"with id '{call.registry.account}'"
        )
    status = preview.status
    if preview.ended_at is not None and call.now >= preview.ended_at + LIFETIME:
        status = "EXPIRED"
    if status != "COMPLETE":
        return PreviewPage(preview.policy_text, status, [], 0, 0)
    if image_ids is None:
        results = tx.lifecycle_previews.page(repository.id, tag_status, after, limit)
    else:
        named = []
        for image_id in image_ids:
            with contextlib.suppress(errors.ImageNotFoundException):
                named.append(images.resolve(tx, repository, image_id).id)
        results = tx.lifecycle_previews.of_images(repository.id, tag_status, named)
    tags = tx.tags.of_images([result.image_id for result in results])
    counts = tx.lifecycle_previews.counts(repository.id)
    return PreviewPage(
        preview.policy_text,
        status,
        [PreviewedImage(result, tags[result.image_id]) for result in results],
        counts.get("EXPIRE", 0),
        counts.get("TRANSITION", 0),
    )


async def complete_all(emulator: Emulator, now: float) -> int:
    """Evaluate the previews that are in progress; return how many these were."""
    waiting = await emulator.metadata.read(_in_progress)
    for repository_id in waiting:
        try:
            await _complete(emulator, repository_id, now)
        except Exception:
            _logger.exception("lifecycle policy preview failed")
            await emulator.metadata.write(_end, repository_id, "FAILED", now)
    return len(waiting)


def _in_progress(tx: Transaction) -> list[int]:
    return tx.lifecycle_previews.in_progress()


async def _complete(emulator: Emulator, repository_id: int, now: float) -> None:
    # An evaluation that a crash ended may have left some.
    await emulator.metadata.write(_clear, repository_id)
    found = await emulator.metadata.read(_policy_and_images, repository_id, now)
    if found is None:
        return
    text, candidates = found
    actions = await lifecycle_runs.decide(text, candidates.values(), now)
    results = [
        NewResult(
            position,
            action.digest,
            candidates[action.digest].storage_class,
            action.type,
            action.target_storage_class,
            action.rule_priority,
        )
        for position, action in enumerate(actions, 1)
    ]
    for start_at in range(0, len(results), BATCH):
        await emulator.metadata.write(_add, repository_id, results[start_at : start_at + BATCH])
    await emulator.metadata.write(_end, repository_id, "COMPLETE", now)


def _clear(tx: Transaction, repository_id: int) -> None:
    tx.lifecycle_previews.clear_results(repository_id)


def _policy_and_images(
    tx: Transaction, repository_id: int, now: float
) -> tuple[str, dict[str, LifecycleImage]] | None:
    preview = tx.lifecycle_previews.get(repository_id)
    if preview is None:
        return None
    return preview.policy_text, lifecycle_runs.images_of(tx, repository_id, now)


def _add(tx: Transaction, repository_id: int, results: Sequence[NewResult]) -> None:
    # The repository may be gone by now, and its preview with it.
    if tx.lifecycle_previews.get(repository_id) is not None:
        tx.lifecycle_previews.add_results(repository_id, results)


def _end(tx: Transaction, repository_id: int, status: str, now: float) -> None:
    tx.lifecycle_previews.end(repository_id, status, now)
