"""Ends the restoration of archived images, which takes its time."""

from __future__ import annotations

import math

from ecr_emulator.core import archive
from ecr_emulator.core.call import unattended
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task

# Tasks that are looked up at a time.
_BATCH = 100


async def run_due(emulator: Emulator) -> int:
    """Restore the images whose time has come."""
    return await _run(emulator, emulator.clock.now())


async def run_now(emulator: Emulator) -> int:
    """Restore all images that are being restored."""
    return await _run(emulator, math.inf)


async def _run(emulator: Emulator, due_by: float) -> int:
    done = 0
    while tasks := await emulator.metadata.read(_due, due_by):
        for task in tasks:
            call = unattended(Registry(task.account, task.region), emulator.clock.now())
            await emulator.metadata.write(archive.finish_restoring, call, task)
        done += len(tasks)
    return done


def _due(tx: Transaction, due_by: float) -> list[Task]:
    return tx.tasks.due(archive.ENGINE, due_by, _BATCH)


ENGINE = Engine(archive.ENGINE, run_due, run_now)
