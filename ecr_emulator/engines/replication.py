"""Copies to other registries what pushes, deletions and backfills left to be copied."""

from __future__ import annotations

import asyncio
import logging

from ecr_emulator.core import replicas, replication
from ecr_emulator.core.emulator import Emulator
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
        outcomes = await asyncio.gather(
            *(emulator.metadata.write(replicas.perform, emulator.quotas, task, now) for task in tasks),
            return_exceptions=True,
        )
        for task, outcome in zip(tasks, outcomes, strict=True):
            if isinstance(outcome, Exception):
                _logger.error("replication failed", exc_info=outcome, extra={"operation": replication.ENGINE})
                await emulator.metadata.write(replicas.fail, task, now)
        attempts += len(tasks)
    return attempts


def _due(tx: Transaction, now: float) -> list[Task]:
    return tx.tasks.due(replication.ENGINE, now, _BATCH)


ENGINE = Engine(replication.ENGINE, run_due=run, run_now=run)
