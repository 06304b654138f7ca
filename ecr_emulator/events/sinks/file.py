"""A file that gets each event as a line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ecr_emulator.events.sinks.base import SinkError, SinkSetupError


class FileSink:
    """Appends to the file of a URL, ``file:///PATH`` or ``file:PATH``. Raises SinkSetupError."""

    batch_size = 100

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name = self.label = url
        self._path = Path(unquote(parts.path))
        if parts.netloc or not parts.path or parts.query:
            raise SinkSetupError(f"event_sinks can't have {url!r}: it must have the form file:///PATH")
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise SinkSetupError(f"event_sinks can't have {url!r}: there can be no file {self._path}")

    async def send(self, events: Sequence[str]) -> None:
        """Append events, and have them on the disk. Raises SinkError."""
        try:
            await asyncio.to_thread(self._append, events)
        except OSError as error:
            raise SinkError(str(error)) from error

    def _append(self, events: Sequence[str]) -> None:
        with self._path.open("ab+") as file:
            text = "".join(f"{event}\n" for event in events).encode()
            # A crash, or a full disk, may have left half a line.
            if file.tell() and not self._ends_line(file.fileno(), file.tell()):
                text = b"\n" + text
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _ends_line(descriptor: int, size: int) -> bool:
        return os.pread(descriptor, 1, size - 1) == b"\n"

    async def close(self) -> None:
        """Do nothing: the file is open only while it is written to."""
