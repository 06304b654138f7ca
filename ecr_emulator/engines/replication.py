"""Copies to other registries what pushes, deletions and backfills left to be copied."""

from __future__ import annotations

import asyncio
import logging

from ecr_emulator.core import layers, replicas, replication
from ecr_emulator.core.call import unattended
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
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
        arguments = (emulator.quotas, emulator.encryption)
        outcomes = await asyncio.gather(
            *(emulator.metadata.write(replicas.perform, *arguments, task, now) for task in tasks),
            return_exceptions=True,
        )
        for task, outcome in zip(tasks, outcomes, strict=True):
            failure = outcome if isinstance(outcome, Exception) else None
            if isinstance(failure, replicas.ReencryptionNeededError):
                # After which the task, which is still due, is done.
                failure = await _reencrypt(emulator, task, failure, now)
            else:
                attempts += 1
            if failure is not None:
                _logger.error("replication failed", exc_info=failure, extra={"operation": replication.ENGINE})
                await emulator.metadata.write(replicas.fail, task, now)
    return attempts


async def _reencrypt(
    emulator: Emulator, task: Task, needed: replicas.ReencryptionNeededError, now: float
) -> Exception | None:
    """Encrypt layers with another key; return why that failed."""
    registry = Registry(task.account, task.region)
    call = unattended(registry, now, emulator.quotas, emulator.encryption)
    try:
        for layer in needed.layers:
            await layers.reencrypt(emulator, call, layer, needed.key_name)
    except Exception as error:
        return error
    return None


def _due(tx: Transaction, now: float) -> list[Task]:
    return tx.tasks.due(replication.ENGINE, now, _BATCH)


ENGINE = Engine(replication.ENGINE, run_due=run, run_now=run)
