"""Reading the bodies of requests, whose clients may be slow but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, web

# Bytes that a body has to bring in time, so that one byte now and then is not enough.
LEAST_PROGRESS = 1024


class SlowBodyError(ConnectionError):
    """The client has not sent enough of the body for too long: it counts as gone."""


class BodyTooLargeError(Exception):
    """The body has more bytes than are read."""


async def chunks(request: web.BaseRequest, patience: float) -> AsyncIterator[bytes]:
    """Give a body's bytes as they come.

    Raises SlowBodyError where waiting for the next 1024 bytes, or for the end, takes more than ``patience``
    seconds. The time in which the server does not wait does not count.
    """
    loop = asyncio.get_running_loop()
    waited, received = 0.0, 0
    while True:
        since = loop.time()
        try:
            async with asyncio.timeout(patience - waited):
                # As it was received: readany would join, and so copy, what has come in meanwhile.
                chunk, ends_piece = await request.content.readchunk()
        except TimeoutError:
            raise SlowBodyError(f"less than {LEAST_PROGRESS} bytes of the body in {patience} s") from None
        if not chunk:
            # An empty body says for ever that a piece ends.
            if ends_piece and not request.content.at_eof():
                continue
            return
        waited, received = waited + loop.time() - since, received + len(chunk)
        if received >= LEAST_PROGRESS:
            waited, received = 0.0, 0
        yield chunk


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
