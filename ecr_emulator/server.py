"""A running server: opens the stores, listens, sends each request to its plane, and shuts down."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import ipaddress
import logging
import os
import random
import select
import shutil
import ssl
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from msgspec import Struct

from ecr_emulator import bodies, logs, management, stores
from ecr_emulator.control import access, model, operations
from ecr_emulator.control import endpoint as control_endpoint
from ecr_emulator.core import garbage, quotas, shared
from ecr_emulator.core.clock import offset_of, parse_time
from ecr_emulator.core.downloads import PATH_PREFIX as DOWNLOADS_PREFIX
from ecr_emulator.core.emulator import Emulator, StoresError
from ecr_emulator.core.memo import Memo
from ecr_emulator.core.rates import Rates
from ecr_emulator.core.secrets import Secrets, SecretsFileError
from ecr_emulator.engines import events as events_engine
from ecr_emulator.engines.upstreams import HttpUpstreams
from ecr_emulator.engines.worker import Worker
from ecr_emulator.events.sinks.base import Sink, SinkSetupError
from ecr_emulator.events.sinks.selection import open_sinks
from ecr_emulator.events.trail import Trail
from ecr_emulator.identity import credentials, sigv4
from ecr_emulator.identity.proxied import proxied_request
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metrics import Metrics
from ecr_emulator.oci import downloads
from ecr_emulator.oci import endpoint as oci_endpoint
from ecr_emulator.scanners.base import ScannerSetupError
from ecr_emulator.scanners.selection import ChosenScanner
from ecr_emulator.settings import MEMORY, Settings

if TYPE_CHECKING:
    from ecr_emulator.tls import ServerTls

_logger = logging.getLogger(__name__)

# Seconds that requests under way are given when the server is told to stop, and that those are
# given which came in meanwhile.
SHUTDOWN_TIMEOUT = 10.0
LAST_TIMEOUT = 1.0
# Bytes of a body that are received ahead of who reads it: with aiohttp's own 64 KiB a connection is told to
# wait and to go on all the time, and pushing a layer takes a third longer.
_READ_BUFFER = 256 * 1024
# What the log shows, as that of nginx does, for a client that went away in the middle of its request.
CLIENT_GONE = 499
# Of no other folder there, such as that of a scan, which another server may be at work on.
_THROWAWAY_PREFIX = "ecr-emulator-data-"


class StartError(Exception):
    """The server can't start; the message tells a person why."""


class RunningServer(Struct, frozen=True):
    """A server that listens."""

    url: str
    host: str
    port: int
    emulator: Emulator


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[RunningServer]:
    """Serve until the block ends, then let requests under way finish. Raises StartError."""
    with _data_folder(settings.data_dir) as folder:
        tls = await _tls(settings, folder)
        emulator = await _open(settings, folder)
        emulator.ca_file = tls.ca_file if tls else None
        worker = Worker(emulator)
        metrics = Metrics()
        under_way: set[asyncio.Task[Any]] = set()
        # Not an Application, whose router would take a tenth of the time of a request answered at once.
        server = web.Server(
            handler(emulator, worker, metrics, under_way),
            request_factory=proxied_request if settings.behind_proxy == "on" else None,
            access_log_class=_access_logger(metrics),
            access_log=logging.getLogger("ecr_emulator.access"),
            auto_decompress=False,
            keepalive_timeout=settings.idle_timeout,
            read_bufsize=_READ_BUFFER,
        )
        runner = web.ServerRunner(server, shutdown_timeout=LAST_TIMEOUT)
        try:
            await _seed(emulator)
            await runner.setup()
            port = await _listen(runner, settings, tls.context if tls else None)
            _warn_of_strangers(runner, settings)
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            url = f"{'https' if tls else 'http'}://{host}:{port}"
            async with _working(emulator, worker):
                yield RunningServer(url, settings.host, port, emulator)
        finally:
            await _drain(runner, under_way)
            await _hang_up(runner)
            if settings.engines == "on":
                await _deliver_last_events(emulator)
            await emulator.flights.cancel()
            for sink in emulator.sinks:
                await sink.close()
            await emulator.trail.close()
            await emulator.upstreams.close()
            await emulator.close()


async def _deliver_last_events(emulator: Emulator) -> None:
    """Deliver what the last requests left; what takes too long is delivered after the next start."""
    try:
        async with asyncio.timeout(LAST_TIMEOUT):
            await events_engine.run_now(emulator)
    except TimeoutError:
        _logger.warning("some events are not delivered yet")
    except Exception:
        _logger.exception("some events are not delivered yet")


async def _drain(runner: web.BaseRunner, under_way: set[asyncio.Task[Any]]) -> None:
    """Stop listening and let requests under way finish, which aiohttp gives no more of their bodies."""
    for site in list(runner.sites):
        await site.stop()
    if under_way:
        await asyncio.wait(under_way, timeout=SHUTDOWN_TIMEOUT)


async def _hang_up(runner: web.BaseRunner) -> None:
    """Close all connections, once what was written to them has gone out.

    Over TLS asyncio would wait until clients close their sides too, which those that are idle don't.
    """
    connections = runner.server.connections if runner.server else []
    encrypted = [
        connection.transport
        for connection in connections
        if connection.transport and connection.transport.get_extra_info("sslcontext")
    ]
    await runner.cleanup()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_TIMEOUT):
            while not all(map(_has_gone_out, encrypted)):  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)
    for transport in encrypted:
        transport.abort()
    await asyncio.sleep(0)  # The loop closes the sockets.


def _has_gone_out(transport: asyncio.Transport) -> bool:
    """Tell whether all that was written to a TLS connection is with the system.

    What was encrypted waits, where no method tells of it, as long as the socket takes no more.
    """
    if transport.get_write_buffer_size():
        return False
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


@contextlib.asynccontextmanager
async def _working(emulator: Emulator, worker: Worker) -> AsyncIterator[None]:
    """For the block, let the engines run, unless they are to run only when told, and follow other servers."""
    tasks: list[asyncio.Task[Any]] = []
    if emulator.settings.engines == "on":
        tasks.append(asyncio.create_task(worker.run_forever()))
    if emulator.settings.metadata_url:
        tasks.append(asyncio.create_task(shared.follow(emulator)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _access_logger(metrics: Metrics) -> type[logs.AccessLogger]:
    """Return a class, which aiohttp wants, that counts each request that it logs."""

    class CountingAccessLogger(logs.AccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            metrics.observe(request, response, time)
            super().log(request, response, time)

    return CountingAccessLogger


def handler(
    emulator: Emulator, worker: Worker, metrics: Metrics, under_way: set[asyncio.Task[Any]]
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Return what answers requests, over an emulator's stores and engines.

    The tasks of its requests are in ``under_way`` until they are answered.
    """

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        # No secret, so that the system's random bytes would be a waste.
        request[logs.REQUEST_ID] = str(uuid.UUID(int=random.getrandbits(128), version=4))
        if task := asyncio.current_task():
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if "Expect" in request.headers:
            await bodies.invite(request)
        try:
            return await dispatch(request)
        except bodies.SlowBodyError as error:
            response = web.Response(status=408, text=f"{error}\n")
            response.force_close()
            return response
        except ConnectionError:
            if request.transport is not None:
                raise
            return web.Response(status=CLIENT_GONE)

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/":
            return await control_endpoint.handle(emulator, request)
        if path.startswith("/v2/") or path == "/v2":
            return await oci_endpoint.handle(emulator, request)
        if path.startswith(DOWNLOADS_PREFIX):
            return await downloads.handle(emulator, request)
        if path.startswith(management.PATH_PREFIX):
            return await management.handle(emulator, worker, metrics, request)
        return web.Response(status=404, text="<UnknownOperationException/>\n", content_type="text/xml")

    # These read files, which no request should wait for.
    operations.functions()
    access.actions()
    return handle


async def _open(settings: Settings, folder: Path) -> Emulator:
    try:
        offset = offset_of(parse_time(settings.clock)) if settings.clock else None
    except ValueError:
        raise StartError(
            f"clock must be a time such as 2030-01-31T12:00:00Z, not {settings.clock!r}"
        ) from None
    try:
        limits = quotas.changed(settings.quotas)
    except quotas.UnknownQuotaError as error:
        raise StartError(str(error)) from None
    if unknown := sorted(settings.rates.keys() - model.operations().keys()):
        raise StartError(f"rates has no operations {', '.join(unknown)}")
    secrets = Secrets(settings.secrets)
    try:
        secrets.read()
    except SecretsFileError as error:
        raise StartError(str(error)) from None
    try:
        principals = credentials.load(settings.credentials)
        if settings.auth == "strict":
            credentials.require_secrets(principals, settings.credentials)
            sigv4.load()
    except (credentials.CredentialsError, sigv4.SignerMissingError) as error:
        raise StartError(str(error)) from None
    sinks, trail = _sinks(settings), _trail(settings)
    try:
        scanner = ChosenScanner(settings)
    except ScannerSetupError as error:
        raise StartError(str(error)) from None
    try:
        parts = await stores.open_in(folder, settings)
    except StoresError as error:
        raise StartError(str(error)) from error
    metadata = parts.metadata
    try:
        parts.clock, seals = await shared.load(metadata, offset, joins=bool(settings.metadata_url))
        await metadata.write(_set_sinks, sinks)
        emulator = Emulator(
            settings=settings,
            metadata=metadata,
            locks=parts.locks,
            blobs=parts.blobs,
            clock=parts.clock,
            encryption=parts.encryption,
            seals=seals,
            secrets=secrets,
            upstreams=HttpUpstreams(settings.upstreams),
            principals=principals,
            scanner=scanner,
            quotas=limits,
            rates=Rates(settings.rates),
            memo=Memo(metadata),
            trail=trail,
            sinks=sinks,
        )
        await garbage.discard_abandoned(emulator)
    except Exception as error:
        await parts.close()
        raise StartError(f"can't use the data folder {folder}: {error}") from error
    return emulator


async def _seed(emulator: Emulator) -> None:
    """Bring the stores to what the setting describes."""
    if emulator.settings.seed:
        from ecr_emulator.core import seeding

        try:
            await seeding.seed_from(emulator, Path(emulator.settings.seed))
        except StoresError as error:
            raise StartError(str(error)) from None


def _sinks(settings: Settings) -> tuple[Sink, ...]:
    try:
        return open_sinks(settings.event_sinks, settings.region)
    except SinkSetupError as error:
        raise StartError(str(error)) from None


def _trail(settings: Settings) -> Trail:
    try:
        return Trail(Path(settings.audit_log) if settings.audit_log else None)
    except OSError as error:
        raise StartError(f"can't write the audit log {settings.audit_log}: {error.strerror}") from None


def _set_sinks(tx: Transaction, sinks: Sequence[Sink]) -> None:
    tx.events.set_sinks([sink.name for sink in sinks])


async def _tls(settings: Settings, folder: Path) -> ServerTls | None:
    """Return what it takes to speak TLS, or None for a server that does not."""
    if settings.tls == "off":
        return None
    from ecr_emulator import tls

    try:
        return await asyncio.to_thread(tls.prepare, settings, folder / "tls")
    except tls.CertificateError as error:
        raise StartError(str(error)) from None


async def _listen(runner: web.BaseRunner, settings: Settings, context: ssl.SSLContext | None) -> int:
    site = web.TCPSite(runner, settings.host, settings.port, ssl_context=context)
    try:
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {settings.port} on {settings.host} is taken; stop what listens there, or choose "
                "another with --port (0 takes a free one)"
            ) from None
        raise StartError(f"can't listen on {settings.host}:{settings.port}: {error}") from None
    port: int = runner.addresses[0][1]
    return port


def _warn_of_strangers(runner: web.BaseRunner, settings: Settings) -> None:
    """Say so where others than this machine's users can do everything."""
    addresses = [str(address[0]) for address in runner.addresses]
    if settings.auth == "off" and not all(ipaddress.ip_address(each).is_loopback for each in addresses):
        _logger.warning(
            "auth is off: whoever reaches %s can read, push and delete everything", " and ".join(addresses)
        )


@contextlib.contextmanager
def _data_folder(data_dir: str) -> Iterator[Path]:
    """Give the folder with all state, made if need be; a throw-away one is removed at the end."""
    if data_dir == MEMORY:
        with _throwaway_folder() as folder:
            yield folder
        return
    folder = Path(data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartError(
            f"the data folder {folder} is not writable ({error.strerror}); choose another with --data-dir, "
            f"or {MEMORY} for a throw-away server"
        ) from None
    yield folder


@contextlib.contextmanager
def _throwaway_folder() -> Iterator[Path]:
    """Give a folder of the system's temporary one, and remove those that killed servers left."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_THROWAWAY_PREFIX}*"):
        with contextlib.suppress(OSError), _locked(left):
            shutil.rmtree(left)
    with contextlib.ExitStack() as stack:
        folder = _new_throwaway_folder(stack)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _new_throwaway_folder(stack: contextlib.ExitStack) -> Path:
    """Make a throw-away folder, and hold it until the stack is closed."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_THROWAWAY_PREFIX))
        # Before it is held, another server that starts may remove it as one that was left.
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            stack.enter_context(_locked(folder))
            if folder.exists():
                return folder


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder. Raises BlockingIOError where a running server holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
