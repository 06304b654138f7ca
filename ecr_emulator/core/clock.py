"""The server's clock, which tests set and advance; everything that waits for time obeys it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Real time plus an offset, in seconds."""

    def __init__(self, start: float | None = None) -> None:
        self._offset = 0.0 if start is None else start - time.time()

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        return time.time() + self._offset

    def set(self, now: float) -> None:
        """Make ``now`` the current time, from which the clock goes on."""
        self._offset = now - time.time()

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self._offset += seconds

    def reset(self) -> None:
        """Go back to real time."""
        self._offset = 0.0


def parse_time(text: str) -> float:
    """Return the seconds since 1970 of an ISO 8601 time, UTC where it names no zone.

    Raises ValueError.
    """
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def format_time(seconds: float) -> str:
    """Return the ISO 8601 time of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
