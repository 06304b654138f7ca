"""Log lines for people or, one JSON object each, for machines; each with its request's id."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

# What a request keeps for its line in the log.
REQUEST_ID = web.RequestKey("request_id", str)
OPERATION = web.RequestKey("operation", str)

# What a record may carry beyond its message (``extra=``), in the order of its appearance.
FIELDS = ("request_id", "remote", "method", "path", "operation", "target", "status", "bytes", "milliseconds")


Line = Callable[[float, str, str, str, Mapping[str, object], str | None], str]


def _json_line(
    seconds: float, level: str, logger: str, message: str, fields: Mapping[str, object], exception: str | None
) -> str:
    line = {"time": _time(seconds), "level": level, "logger": logger, "message": message, **fields}
    return json.dumps(line if exception is None else line | {"exception": exception})


def _text_line(
    seconds: float,
    level: str,
    _logger: str,
    message: str,
    fields: Mapping[str, object],
    exception: str | None,
) -> str:
    shown = "".join([f" {name}={value}" for name, value in fields.items()])
    line = f"{_time(seconds)} {level} {message}{shown}"
    return line if exception is None else f"{line}\n{exception}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Formatter(logging.Formatter):
    """Makes a line of a record, by one of the functions above."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        exception = self.formatException(record.exc_info) if record.exc_info else None
        return self.line(
            record.created, record.levelname.lower(), record.name, record.getMessage(), fields, exception
        )


def configure(log_format: str, level: str) -> None:
    """Log to the standard error stream in a format, from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(_json_line if log_format == "json" else _text_line))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # aiohttp tells of malformed requests by traceback; clients are told by status.
    logging.getLogger("aiohttp.server").setLevel(max(logging.WARNING, root.level))


class AccessLogger(AbstractAccessLogger):
    """One line for each request.

    Where they go to the handler of ``configure``, lines are written without a record, which took a sixth of
    the time of a request that is answered at once.
    """

    def __init__(self, logger: logging.Logger, log_format: str) -> None:
        super().__init__(logger, log_format)
        self._write: Callable[[Mapping[str, object]], None] | None = None
        handlers = logging.getLogger().handlers
        if len(handlers) == 1 and isinstance(handlers[0].formatter, _Formatter) and not logger.handlers:
            self._write = self._writer(handlers[0].formatter.line)

    def _writer(self, line: Line) -> Callable[[Mapping[str, object]], None]:
        def write(fields: Mapping[str, object]) -> None:
            sys.stderr.write(line(time.time(), "info", self.logger.name, "request", fields, None) + "\n")
            sys.stderr.flush()

        return write

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log a request that was answered after ``time`` seconds."""
        # What is no HTTP is, nearly always, a client that tries TLS before it takes to plain HTTP.
        level = logging.INFO if REQUEST_ID in request else logging.DEBUG
        if not self.logger.isEnabledFor(level):
            return
        fields = {
            "request_id": request.get(REQUEST_ID),
            "remote": request.remote,
            "method": request.method,
            # Line breaks in a path would forge lines.
            "path": request.path.encode("unicode_escape").decode(),
            "operation": request.get(OPERATION),
            "status": response.status,
            "bytes": response.body_length,
            "milliseconds": round(time * 1000, 1),
        }
        if self._write is not None and level == logging.INFO:
            self._write({name: value for name, value in fields.items() if value is not None})
        else:
            self.logger.log(level, "request", extra=fields)
