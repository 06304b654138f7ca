"""Evaluates lifecycle policies, at least once in 24 hours each, and previews of them at once."""

from __future__ import annotations

import logging
import math

from ecr_emulator.core import lifecycle_previews, lifecycle_runs
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.store import Transaction

_logger = logging.getLogger(__name__)

# Seconds until an evaluation that failed is tried again.
RETRY_INTERVAL = 3600.0


async def run_due(emulator: Emulator) -> int:
    """Evaluate the policies that are due, and the previews that wait."""
    return await _run(emulator, emulator.clock.now())


async def run_now(emulator: Emulator) -> int:
    """Evaluate every policy, and the previews that wait."""
    return await _run(emulator, math.inf)


async def _run(emulator: Emulator, due_by: float) -> int:
    now = emulator.clock.now()
    previews = await lifecycle_previews.complete_all(emulator, now)
    due = await emulator.metadata.read(_due, due_by)
    for repository_id in due:
        try:
            await lifecycle_runs.run(emulator, repository_id, now)
        except Exception:
            # One policy must not hold up the others.
            _logger.exception("evaluation of a lifecycle policy failed")
            await emulator.metadata.write(_postpone, repository_id, now + RETRY_INTERVAL)
    return previews + len(due)


def _due(tx: Transaction, due_by: float) -> list[int]:
    return tx.repositories.lifecycle_due(due_by)


def _postpone(tx: Transaction, repository_id: int, due_at: float) -> None:
    tx.repositories.postpone_lifecycle(repository_id, due_at)


ENGINE = Engine("lifecycle", run_due, run_now)
