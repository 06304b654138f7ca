"""Log lines for people or, one JSON object each, for machines; each with its request's id."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

# What a request keeps for its line in the log.
REQUEST_ID = web.RequestKey("request_id", str)
OPERATION = web.RequestKey("operation", str)

# What a record may carry beyond its message (``extra=``), in the order of its appearance.
FIELDS = ("request_id", "remote", "method", "path", "operation", "target", "status", "bytes", "milliseconds")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(
            f" {name}={value}" for name in FIELDS if (value := getattr(record, name, None)) is not None
        )
        line = f"{_time(record)} {record.levelname.lower()} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    return (
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def configure(log_format: str, level: str) -> None:
    """Log to the standard error stream in a format, from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # aiohttp tells of malformed requests by traceback; clients are told by status.
    logging.getLogger("aiohttp.server").setLevel(max(logging.WARNING, root.level))


class AccessLogger(AbstractAccessLogger):
    """One line for each request."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log a request that was answered after ``time`` seconds."""
        # Line breaks in a path would forge lines.
        path = request.path.encode("unicode_escape").decode()
        # What is no HTTP is, nearly always, a client that tries TLS before it takes to plain HTTP.
        level = logging.INFO if REQUEST_ID in request else logging.DEBUG
        self.logger.log(
            level,
            "request",
            extra={
                "request_id": request.get(REQUEST_ID),
                "remote": request.remote,
                "method": request.method,
                "path": path,
                "operation": request.get(OPERATION),
                "status": response.status,
                "bytes": response.body_length,
                "milliseconds": round(time * 1000, 1),
            },
        )
