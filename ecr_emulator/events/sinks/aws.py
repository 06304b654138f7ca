"""EventBridge and SQS, those of AWS or what stands for them, by aiobotocore."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs

from ecr_emulator.events.sinks.base import SinkError, SinkSetupError, label_of, split

# Most entries of PutEvents and of SendMessageBatch.
_BATCH_SIZE = 10
# Most bytes of all of them.
_MAX_BATCH = 256 << 10
# Seconds to connect, and for an answer.
_TIMEOUT = 10.0


class EventBridgeSink:
    """Puts events on the bus of ``eventbridge+http://HOST/BUS``. Raises SinkSetupError.

    EventBridge gives them an id, an account and a region of its own.
    """

    batch_size = _BATCH_SIZE

    def __init__(self, url: str, region: str) -> None:
        self.name = url
        self._service = _Service("events", url, region)
        self.label = self._service.label
        self._bus = self._service.path.removeprefix("/")

    async def send(self, events: Sequence[str]) -> None:
        """Put events. Raises SinkError."""
        await _send_in_batches(events, self._put)

    async def _put(self, events: Sequence[str]) -> None:
        answer = await self._service.call("put_events", Entries=[self._entry(event) for event in events])
        for entry in answer["Entries"]:
            if "ErrorCode" in entry:
                raise SinkError(f"{entry['ErrorCode']}: {entry.get('ErrorMessage', '')}")

    def _entry(self, content: str) -> dict[str, Any]:
        event = json.loads(content)
        return {
            "Time": event["time"],
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Resources": event["resources"],
            "Detail": json.dumps(event["detail"]),
            "EventBusName": self._bus,
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()


class QueueSink:
    """Sends events to the SQS queue of ``sqs+http://HOST/QUEUE-URL``'s rest. Raises SinkSetupError."""

    batch_size = _BATCH_SIZE

    def __init__(self, url: str, region: str) -> None:
        self.name = url
        self._service = _Service("sqs", url, region)
        self.label = self._service.label
        self._queue_url = f"{self._service.endpoint}{self._service.path}"

    async def send(self, events: Sequence[str]) -> None:
        """Send events. Raises SinkError."""
        await _send_in_batches(events, self._send)

    async def _send(self, events: Sequence[str]) -> None:
        entries = [self._entry(str(number), event) for number, event in enumerate(events)]
        answer = await self._service.call("send_message_batch", QueueUrl=self._queue_url, Entries=entries)
        for failed in answer.get("Failed", ()):
            raise SinkError(f"{failed['Code']}: {failed.get('Message', '')}")

    def _entry(self, number: str, event: str) -> dict[str, str]:
        entry = {"Id": number, "MessageBody": event}
        if self._queue_url.endswith(".fifo"):
            entry |= {"MessageGroupId": "ecr", "MessageDeduplicationId": json.loads(event)["id"]}
        return entry

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()


async def _send_in_batches(events: Sequence[str], send: Callable[[Sequence[str]], Awaitable[None]]) -> None:
    """Send events that may be too large to be sent at once. Raises SinkError."""
    delivered = 0
    for batch in _batches(events):
        try:
            await send(batch)
        except SinkError as error:
            raise SinkError(str(error), delivered) from error
        delivered += len(batch)


def _batches(events: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for event in events:
        length = len(event.encode())
        if batch and size + length > _MAX_BATCH:
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch


class _Service:
    """A service behind a URL. Credentials are found as any AWS SDK finds them."""

    def __init__(self, name: str, url: str, region: str) -> None:
        parts = split(url)
        query = parse_qs(parts.query, keep_blank_values=True)
        if query.keys() - {"region"} or parts.path in ("", "/") or "@" in parts.netloc:
            raise SinkSetupError(
                f"event_sinks can't have {url!r}: it must have the form {parts.scheme}://HOST/NAME or "
                f"{parts.scheme}://HOST/NAME?region=REGION"
            )
        if importlib.util.find_spec("aiobotocore") is None:
            raise SinkSetupError(
                f"event_sinks with {url!r} need aiobotocore: pip install 'ecr-emulator[events]'"
            )
        self.label = label_of(parts)
        self.endpoint = f"{parts.scheme.partition('+')[2]}://{parts.netloc}"
        self.path = parts.path
        self._name = name
        self._region = query.get("region", [region])[0]
        self._client: Any = None
        self._closing = contextlib.AsyncExitStack()

    async def call(self, operation: str, **members: Any) -> Any:
        """Call an operation and return its output. Raises SinkError."""
        if self._client is None:
            await self._connect()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await getattr(self._client, operation)(**members)
        except (BotoCoreError, ClientError) as error:
            raise SinkError(str(error)) from error

    async def _connect(self) -> None:
        session = await asyncio.to_thread(self._open_session)
        self._client = await self._closing.enter_async_context(self._new_client(session))

    def _open_session(self) -> Any:
        """Return a session that has read from the disk what it needs, in a thread."""
        # To import it takes longer than to start the server.
        from aiobotocore.session import get_session

        session = get_session()
        asyncio.run(self._try_out(session))
        return session

    async def _try_out(self, session: Any) -> None:
        async with self._new_client(session):
            """What was read stays with the session."""

    def _new_client(self, session: Any) -> Any:
        from aiobotocore.config import AioConfig

        # The engine is who tries again.
        config = AioConfig(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries={"total_max_attempts": 1})
        return session.create_client(
            self._name, region_name=self._region, endpoint_url=self.endpoint, config=config
        )

    async def close(self) -> None:
        await self._closing.aclose()
