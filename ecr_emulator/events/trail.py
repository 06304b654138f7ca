"""The audit trail: the newest entries in memory, and all of them in a file where a setting names one."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from collections import deque
from pathlib import Path

from msgspec import Struct

from ecr_emulator.events.audit import Action, PolicyExecution, Record

_logger = logging.getLogger(__name__)

Entry = Action | PolicyExecution

# Entries that are kept in memory.
KEPT = 1000


class Filter(Struct, frozen=True):
    """Which records are wanted; None is any. ``since`` in seconds since 1970."""

    event_name: str | None = None
    account: str | None = None
    region: str | None = None
    principal: str | None = None
    """The caller's ARN."""

    since: float | None = None

    def takes(self, entry: Entry) -> bool:
        """Tell whether an entry is wanted."""
        return (
            self.event_name in (None, entry.operation)
            and self.account in (None, entry.account)
            and self.region in (None, entry.region)
            and self.principal in (None, entry.caller_arn)
            and (self.since is None or entry.time >= self.since)
        )


class Trail:
    """Keeps what is added, and has a thread that appends it to a file, so that no call waits for a disk.

    Records are made when somebody reads them, not while a call waits. Raises OSError for a file that can't
    be written to.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._kept: deque[Entry] = deque(maxlen=KEPT)
        self._writer = None if file is None else _Writer(file)

    def add(self, entry: Entry) -> None:
        """Add what happened."""
        self._kept.append(entry)
        if self._writer is not None:
            self._writer.add(entry)

    def find(self, wanted: Filter, limit: int) -> list[Record]:
        """Return the newest ``limit`` records in memory that are wanted, in their order."""
        found = [entry for entry in self._kept if wanted.takes(entry)]
        return [entry.record() for entry in found[max(len(found) - limit, 0) :]]

    def reset(self, account: str | None, region: str | None) -> None:
        """Forget what an account and a region have, None meaning any; files keep it."""
        wanted = Filter(account=account, region=region)
        kept = [entry for entry in self._kept if not wanted.takes(entry)]
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
        self._entries: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, entry: Entry) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_forever, name="audit-writer")
            self._thread.start()
        self._entries.put(entry)

    def close(self) -> None:
        self._entries.put(None)
        if self._thread is not None:
            self._thread.join()

    def _write_forever(self) -> None:
        stopping = False
        while not stopping:
            waiting = [self._entries.get()]
            while not self._entries.empty():
                waiting.append(self._entries.get())
            stopping = None in waiting
            self._write([entry for entry in waiting if entry is not None])

    def _write(self, entries: list[Entry]) -> None:
        # Opened each time: the file may have been rotated.
        try:
            with self._file.open("a") as file:
                file.writelines(f"{json.dumps(entry.record())}\n" for entry in entries)
        except Exception:
            # Later ones are written, if they can be.
            _logger.exception("%d audit records are lost", len(entries))
