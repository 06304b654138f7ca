"""Runs the engines while the server does."""

from __future__ import annotations

import asyncio
import logging

from ecr_emulator.core.emulator import Emulator
from ecr_emulator.engines import (
    Engine,
    archive,
    events,
    garbage,
    lifecycle,
    pull_through,
    replication,
    scans,
    signing,
)

_logger = logging.getLogger(__name__)

ENGINES: tuple[Engine, ...] = (
    lifecycle.ENGINE,
    archive.ENGINE,
    replication.ENGINE,
    pull_through.ENGINE,
    signing.ENGINE,
    scans.ENGINE,
    events.ENGINE,
    garbage.ENGINE,
)
# Seconds between two looks at what is due.
INTERVAL = 0.5
# Seconds between two attempts to run an engine that runs in another server.
LOCK_INTERVAL = 0.05


class UnknownEngineError(LookupError):
    """There is no engine of this name."""


class Worker:
    """Lets each engine run once at a time, in all servers over one store."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._engines = {engine.name: engine for engine in ENGINES}
        self._turns = {name: asyncio.Lock() for name in self._engines}

    async def run_now(self, name: str) -> int:
        """Let one engine do its work now; return how much it did. Raises UnknownEngineError."""
        engine = self._engines.get(name)
        if engine is None:
            raise UnknownEngineError(name)
        while True:
            async with self._turns[name], self._emulator.locks.hold(name) as is_held:
                if is_held:
                    return await engine.run_now(self._emulator)
            await asyncio.sleep(LOCK_INTERVAL)

    async def run_forever(self) -> None:
        """Let each engine do what is due, whatever time another takes, until this is cancelled."""
        async with asyncio.TaskGroup() as group:
            for engine in self._engines.values():
                group.create_task(self._run_forever(engine))

    async def _run_forever(self, engine: Engine) -> None:
        while True:
            try:
                async with (
                    self._turns[engine.name],
                    self._emulator.locks.hold(engine.name) as is_held,
                ):
                    if is_held:
                        await engine.run_due(self._emulator)
            except Exception:
                _logger.exception("engine failed", extra={"operation": engine.name})
            await asyncio.sleep(INTERVAL)
