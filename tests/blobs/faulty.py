"""A proxy before an S3 service that fails as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Literal

import aiohttp
from aiohttp import web

Fault = Literal[
    "error",
    "slow down",
    "folder gone",
    "no upload",
    "hang",
    "lose the answer",
    "cut the answer",
    "ignore conditions",
]

_ERROR = "<Error><Code>{}</Code><Message>as a test wants it</Message></Error>"


@dataclass
class _Rule:
    fault: Fault
    times: int | None
    words: tuple[str, ...]


class FaultyS3:
    """Passes requests on, but for those that it is told to fail; ``failures`` counts these."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._rules: list[_Rule] = []
        self._ending = asyncio.Event()
        self.failures = 0
        self.url = ""

    def fail(self, fault: Fault, times: int | None = None, *words: str) -> None:
        """Fail the next few requests, or all, of which all words are in ``METHOD KEY?QUERY``."""
        self._rules.append(_Rule(fault, times, words))

    def behind(self, url: str) -> str:
        """Return where a blob store is, as seen through this proxy."""
        return url.replace(self._endpoint, self.url)

    def heal(self) -> None:
        self._rules = []

    def _fault(self, request: web.Request) -> Fault | None:
        text = f"{request.method} {request.path}?{request.query_string}"
        for rule in self._rules:
            if rule.times != 0 and all(word in text for word in rule.words):
                if rule.times is not None:
                    rule.times -= 1
                self.failures += 1
                return rule.fault
        return None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FaultyS3]:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield self
            finally:
                self._ending.set()
                await runner.cleanup()

    @contextlib.contextmanager
    def in_a_thread(self) -> Iterator[FaultyS3]:
        """Run with an event loop of its own, for servers that have another."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        context = self.running()
        asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", r"/{path:[\s\S]*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self._fault(request)
        body = await request.read()
        if fault == "error":
            return web.Response(status=500, text=_ERROR.format("InternalError"))
        if fault == "slow down":
            return web.Response(status=503, text=_ERROR.format("SlowDown"))
        if fault == "folder gone":
            return web.Response(status=409, text=_ERROR.format("ExistingObjectIsDirectory"))
        if fault == "no upload":
            return web.Response(status=404, text=_ERROR.format("NoSuchUpload"))
        if fault == "hang":
            await self._ending.wait()
            return self._break_off(request)
        url = self._endpoint + request.raw_path
        async with self._session.request(
            request.method,
            aiohttp.client.URL(url, encoded=True),
            headers=request.headers,
            data=io.BytesIO(body),
        ) as answer:
            content = await answer.read()
            if fault == "ignore conditions" and answer.status == 412:
                return web.Response(headers={"ETag": '"any"'})
            if fault == "lose the answer":
                return self._break_off(request)
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            if fault == "cut the answer":
                await response.write(content[: len(content) // 2])
                return self._break_off(request)
            if request.method != "HEAD":
                await response.write(content)
            return response

    def _break_off(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
