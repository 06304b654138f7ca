"""A URL that gets each event as the body of a POST."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from ecr_emulator.events.sinks.base import SinkError, label_of, split

# Seconds for one request.
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class WebhookSink:
    """POSTs to an http or https URL, by Basic authentication if it has a user. Raises SinkSetupError."""

    # The others would be sent again where one fails.
    batch_size = 1

    def __init__(self, url: str) -> None:
        self.name, self.label = url, label_of(split(url))
        self._session: aiohttp.ClientSession | None = None

    async def send(self, events: Sequence[str]) -> None:
        """POST events one by one; any status but 2xx is a failure. Raises SinkError."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True)
        for event in events:
            try:
                async with self._session.post(
                    self.name,
                    data=event.encode(),
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,
                ) as response:
                    status = response.status
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise SinkError(str(error) or type(error).__name__) from error
            if not 200 <= status < 300:
                raise SinkError(f"the answer was {status}")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
