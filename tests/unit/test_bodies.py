"""How long a body may keep its reader waiting."""

import asyncio
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from ecr_emulator import bodies

PATIENCE = 0.15
ENOUGH = b"x" * bodies.LEAST_PROGRESS


def body():
    """Return a request and the stream of its body."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.transport = Mock(asyncio.Transport)
    content = StreamReader(protocol, 1 << 16, loop=loop)
    return SimpleNamespace(content=content, content_length=None, transport=protocol.transport), content


async def feed(content, chunks, pause):
    for chunk in chunks:
        content.feed_data(chunk)
        await asyncio.sleep(pause)
    content.feed_eof()


async def read(request, pause=0.0):
    received = b""
    async for chunk in bodies.chunks(request, PATIENCE):
        received += chunk
        await asyncio.sleep(pause)
    return received


async def read_fed(chunks, pause):
    request, content = body()
    feeding = asyncio.create_task(feed(content, chunks, pause))
    try:
        return await read(request)
    finally:
        feeding.cancel()


def test_a_body_may_take_long_that_gets_on():
    assert asyncio.run(read_fed([ENOUGH] * 4, PATIENCE * 0.6)) == ENOUGH * 4


@pytest.mark.parametrize("chunks", [[b"x"] * 8, [ENOUGH, b"x", b"x", b"x", b"x"]])
def test_a_byte_now_and_then_is_too_little(chunks):
    with pytest.raises(bodies.SlowBodyError):
        asyncio.run(read_fed(chunks, PATIENCE * 0.6))


def test_the_end_has_to_come_too():
    async def run():
        request, content = body()
        content.feed_data(ENOUGH)
        await read(request)

    with pytest.raises(bodies.SlowBodyError):
        asyncio.run(run())


def test_the_time_in_which_nobody_waits_does_not_count():
    async def run():
        request, content = body()
        for _ in range(3):
            content.feed_data(b"x")
        content.feed_eof()
        return await read(request, pause=PATIENCE * 1.5)

    assert asyncio.run(run()) == b"xxx"


def test_who_is_cancelled_is_not_told_of_a_slow_body():
    async def run():
        request, _ = body()
        reading = asyncio.create_task(read(request))
        await asyncio.sleep(PATIENCE / 3)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        # Its timer is gone with it.
        await asyncio.sleep(PATIENCE * 1.5)

    asyncio.run(run())


def test_a_task_goes_on_after_a_slow_body():
    async def run():
        request, _ = body()
        with pytest.raises(bodies.SlowBodyError):
            await read(request)
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    assert asyncio.run(run()) == 0


@pytest.mark.parametrize(("length", "is_large"), [(None, True), (1 << 20, True), (1000, False)])
def test_more_of_a_large_body_is_received_at_a_time(length, is_large):
    class Transport:
        max_size = 5

    async def run():
        request, content = body()
        request.content_length, request.transport = length, Transport()
        content.feed_data(ENOUGH)
        content.feed_eof()
        sizes = [request.transport.max_size async for _ in bodies.chunks(request, PATIENCE)]
        return sizes, request.transport.max_size

    assert asyncio.run(run()) == ([1 << 20] if is_large else [5], 5)
