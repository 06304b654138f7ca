"""The audit trail: the newest actions in memory, and all of them in a file where a setting names one."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ecr_emulator.events.audit import Action, Record, record

_logger = logging.getLogger(__name__)

# Actions that are kept in memory.
KEPT = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted; None is any. ``since`` in seconds since 1970."""

    event_name: str | None = None
    account: str | None = None
    region: str | None = None
    principal: str | None = None
    """The caller's ARN."""

    since: float | None = None

    def takes(self, action: Action) -> bool:
        """Tell whether an action is wanted."""
        return (
            self.event_name in (None, action.operation)
            and self.account in (None, action.account)
            and self.region in (None, action.region)
            and self.principal in (None, action.caller_arn)
            and (self.since is None or action.time >= self.since)
        )


class Trail:
    """Keeps what is added, and has a thread that appends it to a file, so that no call waits for a disk.

    Records are made when somebody reads them, not while a call waits. Raises OSError for a file that can't
    be written to.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._kept: deque[Action] = deque(maxlen=KEPT)
        self._writer = None if file is None else _Writer(file)

    def add(self, action: Action) -> None:
        """Add an action."""
        self._kept.append(action)
        if self._writer is not None:
            self._writer.add(action)

    def find(self, wanted: Filter, limit: int) -> list[Record]:
        """Return the newest ``limit`` records in memory that are wanted, in their order."""
        found = [action for action in self._kept if wanted.takes(action)]
        return [record(action) for action in found[max(len(found) - limit, 0) :]]

    def reset(self, account: str | None, region: str | None) -> None:
        """Forget what an account and a region have, None meaning any; files keep it."""
        wanted = Filter(account=account, region=region)
        kept = [action for action in self._kept if not wanted.takes(action)]
        self._kept.clear()
        self._kept.extend(kept)

    async def close(self) -> None:
        """Write to the file what it has not got yet."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)


class _Writer:
    def __init__(self, file: Path) -> None:
        # What can't be opened is told when the server starts.
        with file.open("a"):
            pass
        self._file = file
        self._actions: queue.SimpleQueue[Action | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, action: Action) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_forever, name="audit-writer")
            self._thread.start()
        self._actions.put(action)

    def close(self) -> None:
        self._actions.put(None)
        if self._thread is not None:
            self._thread.join()

    def _write_forever(self) -> None:
        stopping = False
        while not stopping:
            waiting = [self._actions.get()]
            while not self._actions.empty():
                waiting.append(self._actions.get())
            stopping = None in waiting
            self._write([action for action in waiting if action is not None])

    def _write(self, actions: list[Action]) -> None:
        # Opened each time: the file may have been rotated.
        try:
            with self._file.open("a") as file:
                file.writelines(f"{json.dumps(record(action))}\n" for action in actions)
        except OSError:
            _logger.exception("%d audit records are lost", len(actions))
