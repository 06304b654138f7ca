"""The engine that scans images: those pushed or asked for, and again those scanned continuously."""

from __future__ import annotations

from ecr_emulator.core import scans
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.scanning import ENGINE as NAME
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.scans import Scan
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task


async def run_due(emulator: Emulator) -> int:
    """Perform the scans that are due, one after the other; return their number."""
    while (task := await emulator.metadata.read(_next_task, emulator.clock.now())) is not None:
        await scans.take_up(emulator, task)
    done = 0
    while (scan := await emulator.metadata.read(_next_scan, emulator.clock.now())) is not None:
        await scans.perform(emulator, scan)
        done += 1
    return done


async def run_now(emulator: Emulator) -> int:
    """Perform all scans that wait, those too that wait for their next turn."""
    await emulator.metadata.write(_hasten, emulator.clock.now())
    return await run_due(emulator)


def _next_task(tx: Transaction, now: float) -> Task | None:
    return next(iter(tx.tasks.due(NAME, now, 1)), None)


def _next_scan(tx: Transaction, now: float) -> Scan | None:
    return tx.scans.next_due(now)


def _hasten(tx: Transaction, now: float) -> None:
    tx.scans.hasten(now)


ENGINE = Engine(NAME, run_due, run_now)
