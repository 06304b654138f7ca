"""Signs the images that were pushed to repositories with a signing rule."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from ecr_emulator.core import signatures
from ecr_emulator.core.call import Call, unattended
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.errors import EcrError, ServerException
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.signatures import Work
from ecr_emulator.core.signing import ENGINE_NAME
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task

_logger = logging.getLogger(__name__)

# Seconds after which a signing that failed is tried again; once they are used up it has failed for good.
RETRY_DELAYS = (10.0, 60.0)
_BATCH = 100


async def run_due(emulator: Emulator) -> int:
    """Sign what is due, the longest due first; return how many tasks were tried."""
    tried = 0
    while tasks := await emulator.metadata.read(_due, emulator.clock.now()):
        for task in tasks:
            await _do(emulator, task)
            tried += 1
    return tried


def _due(tx: Transaction, now: float) -> list[Task]:
    return tx.tasks.due(ENGINE_NAME, now, _BATCH)


async def _do(emulator: Emulator, task: Task) -> None:
    payload = task.payload
    work = Work(task.id, payload["repository"], payload["digest"], payload["profile"])
    registry, now = Registry(task.account, task.region), emulator.clock.now()
    own = unattended(registry, now, emulator.quotas, emulator.encryption)
    call = replace(own, caller_arn=payload["caller"])
    try:
        await signatures.sign(emulator, call, work)
    except Exception as error:
        _logger.warning("signing failed", extra={"request_id": call.request_id}, exc_info=True)
        await emulator.metadata.write(_put_off, call, task, work, error)


def _put_off(tx: Transaction, call: Call, task: Task, work: Work, error: Exception) -> None:
    if task.attempts < len(RETRY_DELAYS):
        tx.tasks.postpone(task, call.now + RETRY_DELAYS[task.attempts])
    else:
        code = error.code if isinstance(error, EcrError) else ServerException.__name__
        signatures.give_up(tx, call, work, code, f"The image could not be signed: {error}")


ENGINE = Engine(ENGINE_NAME, run_due, run_due)
