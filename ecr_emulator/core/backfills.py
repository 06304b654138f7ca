"""Replication backfills: copying what a registry had before its replication rules.

A backfill is a list of replications, each a task of the replication engine; ``core/replicas.py`` does
them. The rules are those of the documentation of the operations, and of "Replication backfill" in the
ECR user guide.
"""

from __future__ import annotations

import uuid

from ecr_emulator.core import errors, replication
from ecr_emulator.core.call import Call
from ecr_emulator.core.manifest import INDEX_TYPES
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.backfills import Backfill, BackfillReplication
from ecr_emulator.metadata.store import Transaction

MAX_RUNNING = 10
# Seconds for which a backfill that has ended is still shown.
RETENTION = 90 * 86400.0
# Half of the replications failed, of at least so many.
_THRESHOLD = 100
# ECR documents that it gives up then, and no code for it.
THRESHOLD_EXCEEDED = "FAILURE_THRESHOLD_EXCEEDED"

_REPOSITORIES_AT_ONCE = 1000


def start(tx: Transaction, call: Call, destination: Registry) -> Backfill:
    """Begin a backfill to one destination of the registry's rules.

    Raises InvalidParameterException where it is none, ReplicationBackfillInProgressException while one
    runs to the same region, and LimitExceededException while ten run.
    """
    registry = call.registry
    rules = replication.rules_of(tx, registry)
    if not any(destination in replication.destinations_of(rule) for rule in rules):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'destination' failed to satisfy constraint: 'Destination must be "
            "configured in the replication configuration of the registry'"
        )
    tx.backfills.delete_ended(registry.account, registry.region, call.now - RETENTION)
    running = tx.backfills.running(registry.account, registry.region)
    if any(backfill.destination_region == destination.region for backfill in running):
        raise errors.ReplicationBackfillInProgressException(
            f"A replication backfill to the region '{destination.region}' is already in progress in the "
            f"registry with id '{registry.account}'"
        )
    if len(running) >= MAX_RUNNING:
        raise errors.LimitExceededException(
            f"The registry with id '{registry.account}' already has the maximum number of {MAX_RUNNING} "
            "replication backfills in progress"
        )
    backfill_id = str(uuid.uuid4())
    number = tx.backfills.insert(
        backfill_id,
        registry.account,
        registry.region,
        destination.account,
        destination.region,
        "PREPARING",
        call.now,
    )
    payload = {"do": "prepare", "backfill": number}
    tx.tasks.add(replication.ENGINE, registry.account, registry.region, payload)
    return find(tx, call, backfill_id)


def find(tx: Transaction, call: Call, backfill_id: str) -> Backfill:
    """Return a backfill. Raises ReplicationBackfillNotFoundException."""
    registry = call.registry
    backfill = tx.backfills.get(registry.account, registry.region, backfill_id.lower())
    if backfill is None or (backfill.ended_at is not None and backfill.ended_at <= call.now - RETENTION):
        raise errors.ReplicationBackfillNotFoundException(
            f"The replication backfill with id '{backfill_id}' does not exist in the registry with id "
            f"'{registry.account}'"
        )
    return backfill


def stop(tx: Transaction, call: Call, backfill_id: str) -> Backfill:
    """End a backfill, but for replications that were begun; what was copied stays.

    Raises ReplicationBackfillNotFound- and ReplicationBackfillInvalidStatusException.
    """
    backfill = find(tx, call, backfill_id)
    if backfill.status not in ("PREPARING", "IN_PROGRESS"):
        raise errors.ReplicationBackfillInvalidStatusException(
            f"The replication backfill with id '{backfill_id}' can't be stopped because its status is "
            f"{backfill.status}"
        )
    if tx.backfills.has_tried(backfill.number):
        tx.backfills.set_status(backfill.number, "STOPPING")
    else:
        tx.backfills.set_status(backfill.number, "STOPPED", ended_at=call.now)
    return find(tx, call, backfill_id)


def page(tx: Transaction, call: Call, before: int | None, limit: int) -> list[tuple[Backfill, list[str]]]:
    """Return a page of backfills, the newest first, each with the failure codes of its replications."""
    registry = call.registry
    found = tx.backfills.page(registry.account, registry.region, call.now - RETENTION, before, limit)
    return [(backfill, tx.backfills.failure_codes(backfill.number)) for backfill in found]


def results(
    tx: Transaction, call: Call, backfill_id: str, status: str | None, after: int, limit: int
) -> tuple[Backfill, list[str], list[BackfillReplication]]:
    """Return a backfill, its failure codes, and a page of its results once it has ended.

    Raises ReplicationBackfillNotFoundException.
    """
    backfill = find(tx, call, backfill_id)
    has_ended = backfill.ended_at is not None
    outcomes = tx.backfills.outcomes(backfill.number, status, after, limit) if has_ended else []
    return backfill, tx.backfills.failure_codes(backfill.number), outcomes


def prepare(tx: Transaction, number: int, now: float) -> None:
    """Find out which images a backfill has to copy, and leave a task for each."""
    backfill = tx.backfills.by_number(number)
    if backfill is None or backfill.status != "PREPARING":
        return
    source = Registry(backfill.account, backfill.region)
    destination = Registry(backfill.destination_account, backfill.destination_region)
    rules = replication.rules_of(tx, source)
    total, after = 0, ""
    while found := tx.repositories.page(source.account, source.region, after, _REPOSITORIES_AT_ONCE):
        for repository in found:
            if destination in replication.destinations(rules, repository.name):
                total += tx.backfills.add_images(number, repository.id, INDEX_TYPES)
        after = found[-1].name
    tx.backfills.set_total(number, total)
    for replication_id in tx.backfills.replication_ids(number):
        payload = {"do": "backfill", "replication": replication_id}
        tx.tasks.add(replication.ENGINE, source.account, source.region, payload)
    if total:
        tx.backfills.set_status(number, "IN_PROGRESS")
    else:
        tx.backfills.set_status(number, "COMPLETE", ended_at=now)


def give_up(tx: Transaction, number: int, failure_code: str, now: float) -> None:
    """End a backfill that could not be prepared."""
    tx.backfills.set_status(number, "FAILED", ended_at=now, failure_code=failure_code)


def wanted(tx: Transaction, replication_id: int) -> BackfillReplication | None:
    """Return a replication that is still to be done: one of a running backfill, or a begun one."""
    part = tx.backfills.replication(replication_id)
    backfill = None if part is None else tx.backfills.by_number(part.backfill_number)
    if part is None or backfill is None or backfill.ended_at is not None:
        return None
    return None if backfill.status == "STOPPING" and part.status != "IN_PROGRESS" else part


def destination_of(tx: Transaction, part: BackfillReplication) -> Registry:
    """Return where a replication of a backfill goes."""
    backfill = tx.backfills.by_number(part.backfill_number)
    assert backfill is not None  # noqa: S101 - a foreign key
    return Registry(backfill.destination_account, backfill.destination_region)


def finish(tx: Transaction, part: BackfillReplication, failure_code: str | None, now: float) -> None:
    """Record the outcome of a replication, and end its backfill where it was the last.

    A backfill fails where half of its replications do, of 100 or more. Otherwise it is complete,
    whatever the outcomes.
    """
    tx.backfills.finish(part, failure_code)
    backfill = tx.backfills.by_number(part.backfill_number)
    assert backfill is not None  # noqa: S101 - a foreign key
    number, done = backfill.number, backfill.completed + backfill.failed
    if backfill.status == "STOPPING":
        if not tx.backfills.has_tried(number):
            tx.backfills.set_status(number, "STOPPED", ended_at=now)
    elif done >= _THRESHOLD and 2 * backfill.failed >= done:
        tx.backfills.set_status(number, "FAILED", ended_at=now, failure_code=THRESHOLD_EXCEEDED)
    elif done == backfill.total:
        tx.backfills.set_status(number, "COMPLETE", ended_at=now)
