"""A load balancer: each connection goes to the next server that takes it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import cast

from tests.faults.conftest import ServerProcess

# Attempts at finding a server for a client, and seconds between two.
_ATTEMPTS = 1000
_PAUSE = 0.02


class _Side(asyncio.Protocol):
    """One of the two connections; what comes in on it goes out on the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Until there is another side.
        self.transport.pause_reading()

    def join(self, other: _Side) -> None:
        self.other, other.other = other, self
        for side in (self, other):
            side.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


class Balancer:
    """Takes connections at ``address`` while ``running``; servers may come and go."""

    def __init__(self, servers: Sequence[ServerProcess]) -> None:
        self._servers = servers
        self._turn = 0
        self._sides: list[_Side] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(self._listen(), loop).result()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._close(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        balancer = self

        class FrontSide(_Side):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                task = loop.create_task(balancer._connect(self))
                balancer._tasks.add(task)
                task.add_done_callback(balancer._tasks.discard)

        server = await loop.create_server(FrontSide, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return server

    async def _connect(self, client: _Side) -> None:
        self._sides = [side for side in (*self._sides, client) if not side.transport.is_closing()]
        for _ in range(_ATTEMPTS):
            for _ in self._servers:
                self._turn += 1
                host, _, port = self._servers[self._turn % len(self._servers)].address.rpartition(":")
                with contextlib.suppress(OSError, ValueError):
                    _, back = await asyncio.get_running_loop().create_connection(_Side, host, int(port))
                    client.join(back)
                    return
            await asyncio.sleep(_PAUSE)
        client.transport.close()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self._tasks:
            task.cancel()
        for side in self._sides:
            side.transport.close()
        # For the transports to close their sockets, on both sides.
        await asyncio.sleep(0.1)
