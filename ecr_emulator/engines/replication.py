"""Copies to other registries what pushes, deletions and backfills left to be copied."""

from __future__ import annotations

import logging

from ecr_emulator.core import layers, replicas, replication
from ecr_emulator.core.call import unattended
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.encryption import Encryption
from ecr_emulator.core.quotas import Quotas
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
        failures = await emulator.metadata.write(_perform, tasks, emulator.quotas, emulator.encryption, now)
        attempts += len(tasks)
        for task, failure in failures:
            if isinstance(failure, replicas.ReencryptionNeededError):
                # After which the task, which is still due, is done.
                attempts -= 1
                if (error := await _reencrypt(emulator, task, failure, now)) is not None:
                    await emulator.metadata.write(replicas.fail, task, now)
            else:
                error = failure
            if error is not None:
                _logger.error("replication failed", exc_info=error, extra={"operation": replication.ENGINE})
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


def _perform(
    tx: Transaction, tasks: list[Task], quotas: Quotas, encryption: Encryption, now: float
) -> list[tuple[Task, Exception]]:
    """Do tasks one after the other, and return those that broke with what broke them."""
    failures = []
    for task in tasks:
        error = tx.attempt(replicas.perform, quotas, encryption, task, now)
        if error is None:
            continue
        if not isinstance(error, replicas.ReencryptionNeededError):
            replicas.fail(tx, task, now)
        failures.append((task, error))
    return failures


ENGINE = Engine(replication.ENGINE, run_due=run, run_now=run)
