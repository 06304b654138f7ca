"""The engine that scans images: those that were pushed or asked for, and again those scanned continuously."""

from __future__ import annotations

from ecr_emulator.core import scans
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.scanning import ENGINE as NAME
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task


async def run_due(emulator: Emulator) -> int:
    """Perform what is due, one scan after the other: each takes a processor."""
    done = 0
    while (task := await emulator.metadata.read(_next, emulator.clock.now())) is not None:
        await scans.perform(emulator, task)
        done += 1
    return done


async def run_now(emulator: Emulator) -> int:
    """Perform all scans that wait, those too that wait for their next turn."""
    await emulator.metadata.write(_hasten, emulator.clock.now())
    return await run_due(emulator)


def _next(tx: Transaction, now: float) -> Task | None:
    return next(iter(tx.tasks.due(NAME, now, 1)), None)


def _hasten(tx: Transaction, now: float) -> None:
    tx.tasks.hasten(NAME, now)


ENGINE = Engine(NAME, run_due, run_now)
