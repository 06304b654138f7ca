"""Metrics in Prometheus's format: requests as they are answered, and what waits when somebody asks."""

from __future__ import annotations

from collections import defaultdict

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ecr_emulator.core.downloads import PATH_PREFIX as DOWNLOADS_PREFIX
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.logs import OPERATION
from ecr_emulator.metadata.store import Transaction

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Seconds: most calls take a few milliseconds, large layers minutes.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ecr_emulator_requests",
            "Requests that were answered.",
            ("plane", "operation", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ecr_emulator_request_duration_seconds",
            "Time from a request's head to the end of its response.",
            ("plane", "operation"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._received = Counter(
            "ecr_emulator_received_bytes",
            "Bytes of requests' bodies, those that told their length.",
            ("plane",),
            registry=self._registry,
        )
        self._sent = Counter(
            "ecr_emulator_sent_bytes", "Bytes of responses' bodies.", ("plane",), registry=self._registry
        )
        self._tasks = Gauge(
            "ecr_emulator_due_tasks", "Tasks that are due.", ("engine",), registry=self._registry
        )
        self._events = Gauge(
            "ecr_emulator_waiting_events",
            "Events that a sink has not got yet.",
            ("sink",),
            registry=self._registry,
        )
        self._repositories = Gauge(
            "ecr_emulator_repositories", "Repositories of all registries.", registry=self._registry
        )
        self._images = Gauge("ecr_emulator_images", "Images of all registries.", registry=self._registry)

    def observe(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Count a request that was answered."""
        plane, operation = _plane(request.path), request.get(OPERATION, "")
        self._requests.labels(plane, operation, response.status).inc()
        self._seconds.labels(plane, operation).observe(seconds)
        if received := request.content_length:
            self._received.labels(plane).inc(received)
        if response.body_length:
            self._sent.labels(plane).inc(response.body_length)

    async def expose(self, emulator: Emulator) -> bytes:
        """Return the metrics in the text format."""
        tasks, waiting, repositories, images = await emulator.metadata.read(_count, emulator.clock.now())
        self._tasks.clear()
        for engine, number in tasks.items():
            self._tasks.labels(engine).set(number)
        # Sinks whose URLs differ in secrets alone have one label.
        by_label: defaultdict[str, int] = defaultdict(int)
        for sink in emulator.sinks:
            by_label[sink.label] += waiting.get(sink.name, 0)
        for label, number in by_label.items():
            self._events.labels(label).set(number)
        self._repositories.set(repositories)
        self._images.set(images)
        return generate_latest(self._registry)


def _plane(path: str) -> str:
    if path == "/":
        return "control"
    if path == "/v2" or path.startswith("/v2/"):
        return "data"
    if path.startswith(DOWNLOADS_PREFIX):
        return "downloads"
    return "management" if path.startswith("/_emulator/") else "other"


def _count(tx: Transaction, now: float) -> tuple[dict[str, int], dict[str, int], int, int]:
    repositories, images = tx.repositories.count_all()
    return tx.tasks.count_due(now), tx.events.count_waiting(), repositories, images
