"""Reading the bodies of requests, whose clients may be slow but not for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, TypeVar, cast

from aiohttp import HttpVersion11, web

# Bytes that a body has to bring in time, so that one byte now and then is not enough.
LEAST_PROGRESS = 1024
# Bytes of a large body that are received at a time, where there are so many: four times asyncio's number, for
# a tenth less time. A small request would have to have so much memory made ready for it.
_RECEIVED_AT_ONCE = 1024 * 1024
# Seconds after which a request that does not wait now, but has no time left for it, is looked at again.
_LOOK_AGAIN = 0.1

T = TypeVar("T")


class SlowBodyError(ConnectionError):
    """The client has not sent enough of the body for too long: it counts as gone."""


class BodyTooLargeError(Exception):
    """The body has more bytes than are read."""


async def chunks(request: web.BaseRequest, patience: float) -> AsyncIterator[bytes]:
    """Give a body's bytes as they come.

    Raises SlowBodyError where waiting for the next 1024 bytes, or for the end, takes more than ``patience``
    seconds. The time in which the server does not wait does not count.
    """
    content, length = request.content, request.content_length
    waiting = _Waiting(patience)
    received = 0
    with contextlib.ExitStack() as stack:
        stack.callback(waiting.end)
        if request.transport is not None and (length is None or length >= _RECEIVED_AT_ONCE):
            stack.enter_context(_received_at_once(request.transport))
        while True:
            # As it was received: readany would join, and so copy, what has come in meanwhile.
            chunk, ends_piece = await waiting.until(content.readchunk())
            if not chunk:
                # An empty body says for ever that a piece ends.
                if ends_piece and not content.at_eof():
                    continue
                return
            received += len(chunk)
            if received >= LEAST_PROGRESS:
                waiting.forgive()
                received = 0
            yield chunk


@contextlib.contextmanager
def _received_at_once(transport: asyncio.Transport) -> Iterator[None]:
    """For the block, let more of a connection be received at a time than asyncio does by itself.

    It reads that from an attribute of the transport's class. A transport of TLS does not, and stays as it is.
    """
    transport.max_size = _RECEIVED_AT_ONCE  # type: ignore[attr-defined]
    try:
        yield
    finally:
        # The block of a body that was given up may end during that of the next one.
        with contextlib.suppress(AttributeError):
            del transport.max_size  # type: ignore[attr-defined]


class _Waiting:
    """Counts the seconds that a client makes its request wait, and ends that after some.

    By one timer for all the body, since one for each chunk would take longer than reading the chunk does.
    """

    def __init__(self, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience = self._left = patience
        self._since = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._is_over = False
        self._timer = self._loop.call_later(patience, self._look)

    async def until(self, arrival: Awaitable[T]) -> T:
        """Wait for something. Raises SlowBodyError."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancellations = task.cancelling()
        self._since, self._task = self._loop.time(), task
        try:
            return await arrival
        except asyncio.CancelledError:
            if self._is_over and task.uncancel() <= cancellations:
                raise SlowBodyError(
                    f"less than {LEAST_PROGRESS} bytes of the body in {self._patience} s"
                ) from None
            raise
        finally:
            self._left -= self._loop.time() - self._since
            self._task = None

    def forgive(self) -> None:
        """Begin to count anew."""
        self._left = self._patience

    def end(self) -> None:
        """Count no more."""
        self._timer.cancel()

    def _look(self) -> None:
        left = self._left
        if self._task is not None:
            left -= self._loop.time() - self._since
            if left <= 0:
                self._is_over = True
                self._task.cancel()
                return
        self._timer = self._loop.call_later(max(left, _LOOK_AGAIN), self._look)


async def read(request: web.BaseRequest, patience: float, limit: int) -> bytes:
    """Return a body of at most ``limit`` bytes. Raises SlowBodyError and BodyTooLargeError."""
    if request.content.is_eof():
        # All of it came with the head.
        whole = request.content.read_nowait()
        if len(whole) > limit:
            raise BodyTooLargeError
        return whole
    content = bytearray()
    async for chunk in chunks(request, patience):
        content += chunk
        if len(content) > limit:
            raise BodyTooLargeError
    return bytes(content)


async def invite(request: web.BaseRequest) -> None:
    """Tell a client to send the body that it keeps until it is told so. Raises HTTPExpectationFailed."""
    if request.version < HttpVersion11:
        return
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # It is no part of the answer.
    request.writer.output_size = 0
