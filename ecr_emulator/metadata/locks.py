"""Locks by which servers over one metadata store keep out of each other's way, in whatever process.

They are for work that takes more than one transaction. A server may lose one in the middle of its work,
with its connection, so what each transaction of such work does must be right without them too: locks see
to it that work is not done twice for nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol


class Locks(Protocol):
    """Locks by name. Those of a server that dies are free."""

    def hold(self, name: str) -> AbstractAsyncContextManager[bool]:
        """Hold a lock for a block, whose value is false where another server holds it."""
        ...

    async def close(self) -> None:
        """Let go of what the locks take."""
        ...


class FileLocks:
    """Locks for servers on one machine: files in a folder, that the system unlocks when a process ends."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._prefix = prefix

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock for a block, whose value is false where another server holds it."""
        descriptor = os.open(self._folder / f"{self._prefix}.{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield _try_lock(descriptor)
        finally:
            os.close(descriptor)

    async def close(self) -> None:
        """Do nothing: a file is open as long as its lock is held."""


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
