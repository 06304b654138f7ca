"""The server's clock, which tests set and advance; everything that waits for time obeys it.

Its offset from real time is kept with the metadata, so that servers over one store have one clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from ecr_emulator.metadata.store import Transaction

_OFFSET = "clock-offset"


class Clock:
    """Real time plus an offset, in seconds."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() + self.offset


def offset_of(now: float) -> float:
    """Return the offset of a clock that shows ``now``."""
    return now - time.time()


def find_offset(tx: Transaction) -> float | None:
    """Return the offset that is kept."""
    text = tx.server_values.get(_OFFSET)
    return None if text is None else float(text)


def set_offset(tx: Transaction, offset: float) -> float:
    """Keep an offset; return it.

    Where that puts the clock back, what engines have to do waits no longer for it than before.
    """
    back = (find_offset(tx) or 0.0) - offset
    if back > 0:
        tx.tasks.bring_forward(back)
        tx.scans.bring_forward(back)
        tx.repositories.bring_lifecycle_forward(back)
    tx.server_values.put(_OFFSET, repr(offset))
    return offset


def advance(tx: Transaction, seconds: float) -> float:
    """Put the clock forward; return its offset."""
    return set_offset(tx, (find_offset(tx) or 0.0) + seconds)


def parse_time(text: str) -> float:
    """Return the seconds since 1970 of an ISO 8601 time, UTC where it names no zone.

    Raises ValueError.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def format_time(seconds: float) -> str:
    """Return the ISO 8601 time of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
