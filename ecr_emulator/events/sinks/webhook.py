"""A URL that gets each event as the body of a POST."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from ecr_emulator.events.sinks.base import SinkError, label_of, split
from ecr_emulator.outbound import Client

# Seconds for one request.
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class WebhookSink:
    """POSTs to an http or https URL, by Basic authentication if it has a user. Raises SinkSetupError."""

    batch_size = 10

    def __init__(self, url: str) -> None:
        self.name, self.label = url, label_of(split(url))
        self._client = Client(timeout=_TIMEOUT, trust_env=True)

    async def send(self, events: Sequence[str]) -> None:
        """POST events one by one; any status but 2xx is a failure. Raises SinkError."""
        session = await self._client.session()
        for number, event in enumerate(events):
            try:
                status = await self._post(session, event)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise SinkError(str(error) or type(error).__name__, number) from error
            if not 200 <= status < 300:
                raise SinkError(f"the answer was {status}", number)

    async def _post(self, session: aiohttp.ClientSession, event: str) -> int:
        headers = {"Content-Type": "application/json"}
        async with session.post(
            self.name, data=event.encode(), headers=headers, allow_redirects=False
        ) as response:
            return response.status

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
