"""Single flight: work that several callers want at the same time is done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Flights:
    """The work under way, by what it is for."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def begin(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start the work under ``key``, unless somebody has, and return it."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def settle(self, key: Hashable) -> None:
        """Wait for the end of the work under ``key``, if there is any, whatever comes of it."""
        if (task := self._tasks.get(key)) is not None:
            await asyncio.wait([task])

    async def join(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for the work under ``key``, which is started where nobody has.

        It goes on when a caller is cancelled. All who wait get its result, or its exception.
        """
        return await asyncio.shield(self.begin(key, start))

    def _landed(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            # Nobody may be left who would take it.
            task.exception()

    async def cancel(self) -> None:
        """End all work under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
