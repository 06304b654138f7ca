"""Which events there are when something happens to an image: each is written by the transaction that does it.

Those of enhanced scanning are Amazon Inspector's, but for what tells of the scan frequency of repositories.

The engine ``events`` delivers them, from the outbox (``metadata/events.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ecr_emulator.core.call import Call
from ecr_emulator.core.registry import Registry
from ecr_emulator.events import builders
from ecr_emulator.events.builders import Event, FrequencyChange, Place, Subject
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.pull_through import PullThroughRule
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction

if TYPE_CHECKING:
    from ecr_emulator.core.deletions import Deletion
    from ecr_emulator.core.pushes import Push
    from ecr_emulator.core.replicas import Change


def on_push(tx: Transaction, call: Call, push: Push) -> None:
    """Tell of an image that a client pushed; replicas and cached images have events of their own."""
    if push.origin == "client":
        place = _place_in(push.repository, call.now)
        _add(tx, place, builders.image_action(place, _subject(push.image), "PUSH", push.tag))


def on_deletion(tx: Transaction, call: Call, deletion: Deletion) -> None:
    """Tell of an image or a tag that is gone: an event for each tag, or one for an image that had none."""
    place, subject = _place_in(deletion.repository, call.now), _subject(deletion.image)
    for tag in deletion.tags or (None,):
        _add(tx, place, builders.image_action(place, subject, "DELETE", tag))


def on_storage_class(tx: Transaction, repository: Repository, image: Image, now: float) -> None:
    """Tell of an image that was archived, or is active again."""
    place, subject = _place_in(repository, now), _subject(image)
    if image.status == "ARCHIVED":
        event = builders.storage_class_action(place, subject, "ARCHIVE")
    else:
        event = builders.storage_class_action(place, subject, "STANDARD", image.last_activated_at)
    _add(tx, place, event)


def on_scan(
    tx: Transaction,
    repository: Repository,
    image: Image,
    tags: Sequence[str],
    status: str,
    severity_counts: Mapping[str, int],
    now: float,
) -> None:
    """Tell of a basic scan that is over."""
    place = _place_in(repository, now)
    _add(tx, place, builders.image_scan(place, image.digest, tags, status, severity_counts))


def on_frequency_changes(
    tx: Transaction, registry: Registry, changes: Sequence[FrequencyChange], now: float
) -> None:
    """Tell of repositories that enhanced scanning scans at other times than before, if there are any."""
    if changes:
        event = builders.scan_resource_change(registry.account, registry.region, now, changes)
        tx.events.add(event, now, *(change.repository for change in changes))


def on_findings(
    tx: Transaction, repository: Repository, findings: Iterable[Mapping[str, Any]], now: float
) -> None:
    """Tell of findings of enhanced scanning that are new, updated or closed."""
    place = _place_in(repository, now)
    told = (builders.inspector_finding(place, finding) for finding in findings)
    tx.events.add_many(told, now, place.repository)


def on_initial_scan(
    tx: Transaction,
    repository: Repository,
    image: Image,
    tags: Sequence[str],
    severity_counts: Mapping[str, int],
    now: float,
) -> None:
    """Tell of an image's first enhanced scan, which is complete."""
    place = _place_in(repository, now)
    _add(tx, place, builders.inspector_scan(place, image.digest, tags, severity_counts))


def on_replication(tx: Transaction, change: Change, now: float, *, success: bool) -> None:
    """Tell the destination of a replication that is over."""
    place = _place(change.destination, change.repository_name, now)
    source = change.source
    event = builders.replication_action(
        place, change.digest, change.tag, source.account, source.region, success=success
    )
    _add(tx, place, event)


def on_pull_through(
    tx: Transaction,
    call: Call,
    repository_name: str,
    rule: PullThroughRule,
    tag: str | None,
    digest: str | None,
    failure: tuple[str, str] | None = None,
) -> None:
    """Tell of an attempt to fetch an image from an upstream; ``failure`` is its code and its reason."""
    place = _place(call.registry, repository_name, call.now)
    event = builders.pull_through_cache_action(
        place,
        rule.prefix,
        rule.upstream_host,
        tag=tag,
        digest=digest,
        failure=failure,
    )
    _add(tx, place, event)


def _add(tx: Transaction, place: Place, event: Event) -> None:
    tx.events.add(event, place.time, place.repository)


def _place_in(repository: Repository, now: float) -> Place:
    return _place(Registry(repository.account, repository.region), repository.name, now)


def _place(registry: Registry, repository_name: str, now: float) -> Place:
    return Place(
        registry.account, registry.region, repository_name, registry.repository_arn(repository_name), now
    )


def _subject(image: Image) -> Subject:
    return Subject(image.digest, image.media_type, image.artifact_type, image.subject_digest is not None)
