"""Copies to other registries what pushes, deletions and backfills left to be copied."""

from __future__ import annotations

import logging

from ecr_emulator.core import replicas, replication
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.quotas import Quotas
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task

_logger = logging.getLogger(__name__)

# Tasks that share one commit; each is undone alone where it fails.
_BATCH = 50


async def run(emulator: Emulator) -> int:
    """Do all that is due, in the order in which it was left; return how many attempts that took."""
    attempts = 0
    while tasks := await emulator.metadata.read(_due, emulator.clock.now()):
        now = emulator.clock.now()
        for error in await emulator.metadata.write(_perform, tasks, emulator.quotas, now):
            _logger.error("replication failed", exc_info=error, extra={"operation": replication.ENGINE})
        attempts += len(tasks)
    return attempts


def _due(tx: Transaction, now: float) -> list[Task]:
    return tx.tasks.due(replication.ENGINE, now, _BATCH)


def _perform(tx: Transaction, tasks: list[Task], quotas: Quotas, now: float) -> list[Exception]:
    """Do tasks one after the other, and return what broke some of them."""
    failures = []
    for task in tasks:
        if (error := tx.attempt(replicas.perform, quotas, task, now)) is not None:
            replicas.fail(tx, task, now)
            failures.append(error)
    return failures


ENGINE = Engine(replication.ENGINE, run_due=run, run_now=run)
