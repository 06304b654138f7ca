"""The port to sinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import SplitResult, urlsplit


class SinkSetupError(Exception):
    """A sink can't be used as it is named; the message tells a person why."""


class SinkError(Exception):
    """Not all events could be delivered; the message is for the log."""

    def __init__(self, message: str, delivered: int = 0) -> None:
        super().__init__(message)
        self.delivered = delivered
        """How many have arrived for certain, from the first on."""


class Sink(Protocol):
    """Where events go."""

    name: str
    """The URL that it was made from, by which its events wait for it."""

    label: str
    """What logs and metrics call it: the URL without secrets."""

    batch_size: int
    """How many events it takes at a time."""

    async def send(self, events: Sequence[str]) -> None:
        """Deliver events, JSON texts, in their order. Raises SinkError where not all have arrived."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def split(url: str) -> SplitResult:
    """Return the parts of a sink's URL. Raises SinkSetupError for one without a host."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SinkSetupError(f"event_sinks can't have {url!r}: {error}") from None
    if not host:
        raise SinkSetupError(f"event_sinks can't have {url!r}: it names no host")
    return parts


def label_of(parts: SplitResult) -> str:
    """Return a URL without user, password and query."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
