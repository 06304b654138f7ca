"""The HTTP client for other servers: it is opened when it is first needed, which most servers never do."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp


class Client:
    """Opens a session of aiohttp with some options, which trusts the certificates that the system trusts."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None

    async def session(self) -> aiohttp.ClientSession:
        """Return the session, always the same."""
        if self._session is None:
            import aiohttp

            context = await asyncio.to_thread(_trust)
            # Another task may have opened it meanwhile.
            if self._session is None:
                connector = aiohttp.TCPConnector(ssl=context)
                self._session = aiohttp.ClientSession(connector=connector, **self._options)
        return self._session

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return what all clients verify servers with. It reads files."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextlib.contextmanager
def no_certificates_read() -> Iterator[None]:
    """For the block, which imports aiohttp, let new contexts have none of the system's certificates.

    aiohttp reads them twice as it is imported: 40 ms, for two contexts that no Client uses. Without
    certificates these trust nobody. For a process that is ours alone, and has no other thread yet.
    """
    ssl.SSLContext.set_default_verify_paths = _read_nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        # It hides the method of the class above.
        del ssl.SSLContext.set_default_verify_paths


def _read_nothing(self: ssl.SSLContext) -> None:
    """Stand for SSLContext.set_default_verify_paths."""
