"""An emulator that runs in a thread of the test process."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import urllib.request
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

from ecr_emulator.server import RunningServer, running
from ecr_emulator.settings import MEMORY, Settings

T = TypeVar("T")


class BackgroundServer:
    """A server in a background thread, from ``start`` to ``stop`` or for a ``with`` block.

    Without settings it is a throw-away one on a free port of 127.0.0.1. ``start`` raises
    StartError where it can't be had.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings(data_dir=MEMORY, port=0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ecr-emulator", daemon=True)
        self._context = running(self.settings)
        self._server: RunningServer | None = None

    def start(self) -> Self:
        """Start the thread and wait until the server listens."""
        self._thread.start()
        try:
            self._server = self._run(self._context.__aenter__())
        except BaseException:
            self._end_loop()
            raise
        return self

    def stop(self) -> None:
        """Let requests under way finish, stop the server and end the thread."""
        self._run(self._context.__aexit__(None, None, None))
        self._end_loop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The server's URL, an ``endpoint_url`` for boto3."""
        return self._running.url

    @property
    def address(self) -> str:
        """Host and port, with which the names of images begin."""
        return f"{self._running.host}:{self._running.port}"

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._running.port

    @property
    def ca_file(self) -> Path | None:
        """The certificate that clients have to trust, where ``tls`` is on and none was given.

        As in ``boto3.client("ecr", endpoint_url=server.url, verify=str(server.ca_file))``.
        """
        return self._running.emulator.ca_file

    def reset(self) -> None:
        """Remove every repository and put the clock back to real time."""
        self.manage("reset", {})

    def advance_clock(self, seconds: float) -> None:
        """Put the server's clock forward."""
        self.manage("clock", {"advance": seconds})

    def fail_next(
        self, operation: str, error: str, *, times: int | None = 1, message: str | None = None
    ) -> None:
        """Have the next calls of an operation answered with an error, on both planes.

        ``times`` None means all calls until a reset.
        """
        self.manage("faults", {"operation": operation, "error": error, "times": times, "message": message})

    def seed(self, description: Path | dict[str, Any]) -> None:
        """Bring registries to what a seed file, or a document of that form, describes.

        In a document, paths are below the working directory. Raises DescriptionError.
        """
        from ecr_emulator.core import seeding

        emulator = self._running.emulator
        if isinstance(description, Path):
            self._run(seeding.seed_from(emulator, description))
        else:
            self._run(seeding.seed(emulator, description, Path()))

    def manage(self, path: str, body: dict[str, Any]) -> Any:
        """POST to a management path, as in ``manage("clock", {"advance": 60})``; return the answer."""
        request = urllib.request.Request(
            f"{self.url}/_emulator/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, context=self._client_tls()) as response:
            return json.load(response)

    def _client_tls(self) -> ssl.SSLContext | None:
        """Return what trusts the server and nobody else, or None for plain HTTP."""
        if self.settings.tls == "off":
            return None
        context = ssl.create_default_context(cafile=self.ca_file or self.settings.tls_certificate)
        # Of a given certificate, the issuer may be unknown here, and the names not those of the URL.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = self.ca_file is not None
        return context

    @property
    def _running(self) -> RunningServer:
        if self._server is None:
            raise RuntimeError("the server is not started")
        return self._server

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
