"""``/_emulator/``: what tests and operators ask of the server, under a name no client of ECR uses."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from ecr_emulator import __version__, bodies
from ecr_emulator.blobs.base import BlobStoreUnavailableError
from ecr_emulator.control import model
from ecr_emulator.core import clock, errors, garbage, scanning, shared, signatures
from ecr_emulator.core.clock import format_time, parse_time
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.faults import Fault
from ecr_emulator.core.registry import Registry
from ecr_emulator.engines.worker import UnknownEngineError, Worker
from ecr_emulator.events.trail import Filter as AuditFilter
from ecr_emulator.metadata.events import EventFilter
from ecr_emulator.metadata.store import MetadataUnavailableError, Transaction
from ecr_emulator.metrics import CONTENT_TYPE, Metrics

# Bytes of a request, which needs few.
_MAX_REQUEST_SIZE = 1 << 20
# Records or events in an answer that does not say how many it is to have.
_DEFAULT_LIMIT = 100

Handler = Callable[[Emulator, web.BaseRequest], Awaitable[web.Response]]


class _BadRequestError(Exception):
    """The request's body is not what the path takes."""


async def health(_emulator: Emulator, _request: web.BaseRequest) -> web.Response:
    """Tell that the process is alive."""
    return web.json_response({"status": "ok", "version": __version__})


async def ready(emulator: Emulator, _request: web.BaseRequest) -> web.Response:
    """Tell that both stores answer."""
    try:
        await emulator.metadata.read(lambda tx: tx.server_values.get("ready"))
    except MetadataUnavailableError as error:
        return web.json_response({"error": str(error)}, status=503)
    await emulator.blobs.upload_ids()
    return web.json_response({"status": "ready", "version": __version__})


async def reset(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Remove everything, or what an account or a region has.

    Without ``account`` and ``region`` in the body the clock goes back to real time too, and no
    token that was handed out before is valid any more.
    """
    account, region = _scope(await _read_object(emulator, request, {"account", "region"}))
    removed = await emulator.metadata.write(_reset, account, region)
    emulator.trail.reset(account, region)
    if account is None and region is None:
        await emulator.flights.cancel()
        emulator.rates.refill()
        emulator.faults.clear()
        await shared.renew(emulator)
    await garbage.remove_freed(emulator)
    return web.json_response({"repositories": removed})


def _reset(tx: Transaction, account: str | None, region: str | None) -> int:
    return tx.reset(account, region)


def _scope(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the account and the region that a body names, if it does."""
    account, region = body.get("account"), body.get("region")
    if account is not None and not (isinstance(account, str) and re.fullmatch(r"\d{12}", account)):
        raise _BadRequestError("account must be 12 digits")
    if region is not None and not isinstance(region, str):
        raise _BadRequestError("region must be a string")
    return account, region


async def set_organization_policy(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Say whether an organization's policy enables Amazon Inspector's scans of a registry, or disables them.

    With ``ecr_scanning`` null there is no policy on them. The registry is the default one where the body
    names no other ``account`` or ``region``.
    """
    body = await _read_object(emulator, request, {"account", "region", "ecr_scanning"})
    account, region = _scope(body)
    enabled = body.get("ecr_scanning", "missing")
    if enabled is not None and not isinstance(enabled, bool):
        raise _BadRequestError("ecr_scanning must be true, false or null")
    settings = emulator.settings
    registry = Registry(account or settings.account_id, region or settings.region)
    scan_type = None if enabled is None else scanning.ENHANCED if enabled else scanning.BASIC
    await emulator.metadata.write(scanning.impose, registry, scan_type)
    return web.json_response(
        {"account": registry.account, "region": registry.region, "ecr_scanning": enabled}
    )


async def list_faults(emulator: Emulator, _request: web.BaseRequest) -> web.Response:
    """Tell which faults are yet to come."""
    planned = [
        {
            "operation": fault.operation,
            "error": fault.error.__name__,
            "message": fault.message,
            "times": fault.times,
            "account": fault.account,
            "region": fault.region,
        }
        for fault in emulator.faults.planned
    ]
    return web.json_response({"faults": planned})


async def plan_fault(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Have the next calls of an ``operation`` answered with an ``error``, on both planes.

    ``times`` says how many (1), null all until faults are cleared; ``message`` the text; ``account`` and
    ``region`` of which registries. The error is one that the model has for the operation, or for any.
    """
    members = {"operation", "error", "message", "times", "account", "region"}
    body = await _read_object(emulator, request, members)
    account, region = _scope(body)
    operation = model.operations().get(str(body.get("operation")))
    if operation is None:
        raise _BadRequestError("operation must be one of the API's")
    error, message, times = str(body.get("error")), body.get("message"), body.get("times", 1)
    declared = {name for each in model.operations().values() for name in each.errors}
    kind = getattr(errors, error, None) if error in operation.errors or error not in declared else None
    if not (isinstance(kind, type) and issubclass(kind, errors.EcrError)) or kind is errors.EcrError:
        raise _BadRequestError(f"error must be one that {operation.name} can have")
    if message is not None and not isinstance(message, str):
        raise _BadRequestError("message must be a string")
    if times is not None and not (type(times) is int and times > 0):
        raise _BadRequestError("times must be a positive number or null")
    message = f"{operation.name} was to fail" if message is None else message
    emulator.faults.plan(Fault(operation.name, kind, message, times, account, region))
    return await list_faults(emulator, request)


async def clear_faults(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Let all calls be answered as they are."""
    emulator.faults.clear()
    return await list_faults(emulator, request)


async def read_clock(emulator: Emulator, _request: web.BaseRequest) -> web.Response:
    """Tell the server's time."""
    now = emulator.clock.now()
    return web.json_response({"now": format_time(now), "epoch": now})


async def set_clock(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Set the clock: to ``now`` (ISO 8601 or epoch seconds), ``advance`` seconds on, or ``reset``."""
    body = await _read_object(emulator, request, {"now", "advance", "reset"})
    if len(body) != 1:
        raise _BadRequestError("the body must have one of now, advance and reset")
    if "reset" in body:
        if body["reset"] is not True:
            raise _BadRequestError("reset must be true")
        emulator.clock.offset = await emulator.metadata.write(clock.set_offset, 0.0)
    elif "advance" in body:
        seconds = _seconds(body["advance"])
        _check_moment(emulator.clock.now() + seconds)
        emulator.clock.offset = await emulator.metadata.write(clock.advance, seconds)
    else:
        moment = _moment(body["now"])
        _check_moment(moment)
        emulator.clock.offset = await emulator.metadata.write(clock.set_offset, clock.offset_of(moment))
    return await read_clock(emulator, request)


def _moment(value: Any) -> float:
    if not isinstance(value, str):
        return _seconds(value)
    try:
        return parse_time(value)
    except ValueError:
        raise _BadRequestError("now must be an ISO 8601 time") from None


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _BadRequestError("a time must be a number of seconds")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_moment(moment: float) -> None:
    """Refuse a time that could not be shown."""
    try:
        format_time(moment)
    except (ValueError, OverflowError, OSError):
        raise _BadRequestError("the time must be within the years 1 to 9999") from None


async def _read_object(emulator: Emulator, request: web.BaseRequest, members: set[str]) -> dict[str, Any]:
    try:
        content = await bodies.read(request, emulator.settings.body_timeout, _MAX_REQUEST_SIZE)
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError, bodies.BodyTooLargeError):
        raise _BadRequestError("the body must be JSON") from None
    if not isinstance(body, dict) or not body.keys() <= members:
        raise _BadRequestError(f"the body must be an object with {' or '.join(sorted(members))}")
    return body


async def signing_certificates(emulator: Emulator, _request: web.BaseRequest) -> web.Response:
    """Give the root of the certificates of managed signing, in PEM, to be put into a trust store."""
    certificate = await signatures.trusted_certificate(emulator)
    return web.Response(text=certificate, content_type="application/x-pem-file")


async def tls_ca(emulator: Emulator, _request: web.BaseRequest) -> web.Response:
    """Give the certificate of the server's own CA, in PEM, to be put into a trust store."""
    if emulator.ca_file is None:
        return web.json_response({"error": "the server has no CA of its own"}, status=404)
    certificate = await asyncio.to_thread(emulator.ca_file.read_bytes)
    return web.Response(body=certificate, content_type="application/x-pem-file")


async def find_garbage(emulator: Emulator, _request: web.BaseRequest) -> web.Response:
    """Tell what the next garbage collection would remove."""
    found = await garbage.find(emulator)
    return web.json_response(
        {"uploads": found.uploads, "layers": found.layers, "blobs": found.blobs, "bytes": found.size}
    )


async def list_audit(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Tell what was called lately, as records of CloudTrail."""
    query = _query(request, {"eventName", "account", "region", "principal", "since", "limit"})
    wanted = AuditFilter(
        query.get("eventName"),
        query.get("account"),
        query.get("region"),
        query.get("principal"),
        _since(query),
    )
    return web.json_response({"Records": emulator.trail.find(wanted, _limit(query))})


async def list_events(emulator: Emulator, request: web.BaseRequest) -> web.Response:
    """Tell of which image actions there were events lately, whether or not there are sinks."""
    query = _query(request, {"detail-type", "account", "region", "repository", "since", "limit"})
    wanted = EventFilter(
        query.get("account"),
        query.get("region"),
        query.get("detail-type"),
        query.get("repository"),
        _since(query),
    )
    return web.json_response({"events": await emulator.metadata.read(_newest_events, wanted, _limit(query))})


def _newest_events(tx: Transaction, wanted: EventFilter, limit: int) -> list[dict[str, Any]]:
    return tx.events.newest(wanted, limit)


def _query(request: web.BaseRequest, names: set[str]) -> Mapping[str, str]:
    if not request.query.keys() <= names:
        raise _BadRequestError(f"the query may have {', '.join(sorted(names))}")
    return request.query


def _since(query: Mapping[str, str]) -> float | None:
    if "since" not in query:
        return None
    try:
        return float(query["since"])
    except ValueError:
        pass
    try:
        return parse_time(query["since"])
    except ValueError:
        raise _BadRequestError("since must be an ISO 8601 time or epoch seconds") from None


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(_DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise _BadRequestError("limit must be a number")
    return int(text)


PATH_PREFIX = "/_emulator/"
_HANDLERS: dict[str, dict[str, Handler]] = {
    "health": {"GET": health},
    "ready": {"GET": ready},
    "reset": {"POST": reset},
    "clock": {"GET": read_clock, "POST": set_clock},
    "garbage": {"GET": find_garbage},
    "audit": {"GET": list_audit},
    "events": {"GET": list_events},
    "faults": {"GET": list_faults, "POST": plan_fault, "DELETE": clear_faults},
    "organization-policy": {"POST": set_organization_policy},
    "signing/certificates": {"GET": signing_certificates},
    "tls/ca.pem": {"GET": tls_ca},
}


_RUN_PREFIX = f"{PATH_PREFIX}run/"


async def run(worker: Worker, request: web.BaseRequest) -> web.Response:
    """Let an engine do its work now, and answer when it is done."""
    name = request.path.removeprefix(_RUN_PREFIX)
    if request.method != "POST":
        return web.json_response({"error": "method not allowed"}, status=405, headers={"Allow": "POST"})
    try:
        return web.json_response({"done": await worker.run_now(name)})
    except UnknownEngineError:
        return web.json_response({"error": "no such engine"}, status=404)


async def handle(
    emulator: Emulator, worker: Worker, metrics: Metrics, request: web.BaseRequest
) -> web.Response:
    """Answer a request to ``/_emulator/…``."""
    try:
        return await _answer(emulator, worker, metrics, request)
    except _BadRequestError as error:
        return web.json_response({"error": str(error)}, status=400)
    except BlobStoreUnavailableError as error:
        return web.json_response({"error": f"the blob store fails: {error}"}, status=503)


async def _answer(
    emulator: Emulator, worker: Worker, metrics: Metrics, request: web.BaseRequest
) -> web.Response:
    if request.path.startswith(_RUN_PREFIX):
        return await run(worker, request)

    async def expose_metrics(emulator: Emulator, _request: web.BaseRequest) -> web.Response:
        return web.Response(body=await metrics.expose(emulator), headers={"Content-Type": CONTENT_TYPE})

    handlers = (_HANDLERS | {"metrics": {"GET": expose_metrics}}).get(request.path.removeprefix(PATH_PREFIX))
    if handlers is None:
        return web.json_response({"error": "no such path"}, status=404)
    handler = handlers.get(request.method)
    if handler is None:
        return web.json_response(
            {"error": "method not allowed"}, status=405, headers={"Allow": ", ".join(handlers)}
        )
    return await handler(emulator, request)
