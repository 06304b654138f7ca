"""Collects garbage, every hour by the server's clock."""

from __future__ import annotations

from ecr_emulator.core import garbage
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.engines import Engine
from ecr_emulator.metadata.store import Transaction

# Seconds between two collections.
INTERVAL = 3600.0
_LAST_RUN = "garbage-collected-at"


async def run_due(emulator: Emulator) -> int:
    """Collect garbage where an hour has gone by since that was done."""
    last = await emulator.metadata.read(_last_run)
    now = emulator.clock.now()
    # The clock can be set back.
    if last is not None and last <= now < last + INTERVAL:
        return 0
    return await run_now(emulator)


async def run_now(emulator: Emulator) -> int:
    """Collect garbage; return how many uploads, layers and blobs went."""
    now = emulator.clock.now()
    collected = await garbage.collect(emulator)
    await emulator.metadata.write(_note_run, now)
    return collected.uploads + collected.layers + collected.blobs


def _last_run(tx: Transaction) -> float | None:
    value = tx.server_values.get(_LAST_RUN)
    return None if value is None else float(value)


def _note_run(tx: Transaction, now: float) -> None:
    tx.server_values.put(_LAST_RUN, repr(now))


ENGINE = Engine("garbage", run_due, run_now)
