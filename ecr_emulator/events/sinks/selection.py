"""Makes the sinks that a setting names."""

from __future__ import annotations

from collections.abc import Sequence

from ecr_emulator.events.sinks.aws import EventBridgeSink, QueueSink
from ecr_emulator.events.sinks.base import Sink, SinkSetupError
from ecr_emulator.events.sinks.file import FileSink
from ecr_emulator.events.sinks.webhook import WebhookSink


def open_sinks(urls: Sequence[str], region: str) -> tuple[Sink, ...]:
    """Return a sink for each URL, once; ``region`` is that of AWS services whose URL names none.

    Nothing is sent yet. Raises SinkSetupError for a URL that names no sink, a folder that is not there
    and a missing library.
    """
    return tuple(_open(url, region) for url in dict.fromkeys(urls))


def _open(url: str, region: str) -> Sink:
    scheme = url.partition(":")[0].lower()
    if scheme == "file":
        return FileSink(url)
    if scheme in ("http", "https"):
        return WebhookSink(url)
    if scheme in ("eventbridge+http", "eventbridge+https"):
        return EventBridgeSink(url, region)
    if scheme in ("sqs+http", "sqs+https"):
        return QueueSink(url, region)
    raise SinkSetupError(
        f"event_sinks can't have {url!r}: it begins with none of file:, http:, https:, eventbridge+http:, "
        "eventbridge+https:, sqs+http: and sqs+https:"
    )
