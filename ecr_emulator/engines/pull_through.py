"""Makes images whole that a pull has cached, so that they outlive their upstream."""

from __future__ import annotations

import logging
import math

from ecr_emulator.core import pulls
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.errors import EcrError
from ecr_emulator.core.registry import Registry
from ecr_emulator.core.upstream import UpstreamError
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task

_logger = logging.getLogger(__name__)

BATCH = 100
# Seconds after which an image is tried again that could not be fetched, by the number of attempts
# before; one that fails once more is left as it is, for pulls to fetch the rest.
RETRY_DELAYS = (60.0, 600.0, 3600.0, 6 * 3600.0)


async def run_due(emulator: Emulator) -> int:
    """Do the tasks that are due."""
    return await _run(emulator, emulator.clock.now())


async def run_now(emulator: Emulator) -> int:
    """Do all tasks, also those that were put off."""
    return await _run(emulator, math.inf)


async def _run(emulator: Emulator, until: float) -> int:
    done = 0
    failed: set[int] = set()
    # A task may leave further ones, as an index does for its images.
    while tasks := [
        task
        for task in await emulator.metadata.read(_due, until, BATCH + len(failed))
        if task.id not in failed
    ]:
        for task in tasks:
            if await _perform(emulator, task):
                done += 1
            else:
                failed.add(task.id)
    return done


def _due(tx: Transaction, until: float, limit: int) -> list[Task]:
    return tx.tasks.due(pulls.ENGINE, until, limit)


async def _perform(emulator: Emulator, task: Task) -> bool:
    """Do one task; one that fails is put off."""
    call = _call(emulator, Registry(task.account, task.region))
    try:
        await pulls.finish(emulator, call, task)
    except (UpstreamError, EcrError) as error:
        _logger.warning("a cached image is not whole yet: %s %s", task.payload, error.message)
    except Exception:
        _logger.exception("a cached image is not whole yet: %s", task.payload)
    else:
        return True
    await emulator.metadata.write(_put_off, task, call.now)
    return False


def _call(emulator: Emulator, registry: Registry) -> Call:
    role = "aws-service-role/pullthroughcache.ecr.amazonaws.com/AWSServiceRoleForECRPullThroughCache"
    return Call(
        registry=registry,
        caller_arn=f"arn:{registry.partition}:iam::{registry.account}:role/{role}",
        now=emulator.clock.now(),
        request_id="",
        origin="",
        secure=False,
        endpoint_of=lambda _registry: "",
        quotas=emulator.quotas,
        encryption=emulator.encryption,
    )


def _put_off(tx: Transaction, task: Task, now: float) -> None:
    if task.attempts < len(RETRY_DELAYS):
        tx.tasks.postpone(task, now + RETRY_DELAYS[task.attempts])
    else:
        tx.tasks.delete(task.id)


ENGINE = Engine(pulls.ENGINE, run_due, run_now)
