"""Metrics in Prometheus's format: requests as they are answered, and what waits when somebody asks.

Requests are counted in plain numbers. What renders them, prometheus_client, is imported for the first who
asks: it would take a tenth of the time in which the server starts.
"""

from __future__ import annotations

import asyncio
import copy
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from msgspec import Struct, field

from ecr_emulator.core.downloads import PATH_PREFIX as DOWNLOADS_PREFIX
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.logs import OPERATION
from ecr_emulator.metadata.store import Transaction

if TYPE_CHECKING:
    from prometheus_client import Metric

# Of the text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: most calls take a few milliseconds, large layers minutes.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Requests(Struct):
    """The requests of one operation on one plane."""

    statuses: Counter[int] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    """How many took no longer than each of the buckets, but longer than the one before; the last has none."""
    seconds: float = 0.0
    received: int = 0
    sent: int = 0


class _Stored(Struct, frozen=True):
    """What is in the metadata store."""

    due_tasks: Mapping[str, int]
    waiting_events: Mapping[str, int]
    repositories: int
    images: int


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, str], _Requests] = defaultdict(_Requests)

    def observe(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Count a request that was answered after ``seconds``."""
        requests = self._requests[_plane(request.path), request.get(OPERATION, "")]
        requests.statuses[response.status] += 1
        requests.durations[bisect_left(_BUCKETS, seconds)] += 1
        requests.seconds += seconds
        requests.received += request.content_length or 0
        requests.sent += response.body_length

    async def expose(self, emulator: Emulator) -> bytes:
        """Return the metrics in the text format."""
        stored = await emulator.metadata.read(_look, emulator.clock.now())
        labels = {sink.name: sink.label for sink in emulator.sinks}
        return await asyncio.to_thread(_render, copy.deepcopy(self._requests), stored, labels)


def _plane(path: str) -> str:
    if path == "/":
        return "control"
    if path == "/v2" or path.startswith("/v2/"):
        return "data"
    if path.startswith(DOWNLOADS_PREFIX):
        return "downloads"
    return "management" if path.startswith("/_emulator/") else "other"


def _look(tx: Transaction, now: float) -> _Stored:
    repositories, images = tx.repositories.count_all()
    return _Stored(tx.tasks.count_due(now), tx.events.count_waiting(), repositories, images)


def _render(
    requests: Mapping[tuple[str, str], _Requests], stored: _Stored, sink_labels: Mapping[str, str]
) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> list[Metric]:
            return [*_of_requests(requests), *_of_store(stored, sink_labels)]

    registry = CollectorRegistry()
    registry.register(Collector())
    return generate_latest(registry)


def _of_requests(requests: Mapping[tuple[str, str], _Requests]) -> list[Metric]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    labels = ["plane", "operation"]
    answered = CounterMetricFamily(
        "ecr_emulator_requests", "Requests that were answered.", labels=[*labels, "status"]
    )
    duration = HistogramMetricFamily(
        "ecr_emulator_request_duration_seconds",
        "Time from a request's head to the end of its response.",
        labels=labels,
    )
    received = CounterMetricFamily(
        "ecr_emulator_received_bytes", "Bytes of requests' bodies that told their length.", labels=labels
    )
    sent = CounterMetricFamily(
        "ecr_emulator_sent_bytes", "Bytes of responses, heads and bodies.", labels=labels
    )
    for (plane, operation), counted in requests.items():
        for status, number in counted.statuses.items():
            answered.add_metric([plane, operation, str(status)], number)
        total, buckets = 0, []
        for bound, number in zip([*map(str, _BUCKETS), "+Inf"], counted.durations, strict=True):
            total += number
            buckets.append((bound, float(total)))
        duration.add_metric([plane, operation], buckets, counted.seconds)
        received.add_metric([plane, operation], counted.received)
        sent.add_metric([plane, operation], counted.sent)
    return [answered, duration, received, sent]


def _of_store(stored: _Stored, sink_labels: Mapping[str, str]) -> list[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    tasks = GaugeMetricFamily("ecr_emulator_due_tasks", "Tasks that are due.", labels=["engine"])
    for engine, number in stored.due_tasks.items():
        tasks.add_metric([engine], number)
    events = GaugeMetricFamily(
        "ecr_emulator_waiting_events", "Events that a sink has not got yet.", labels=["sink"]
    )
    # Sinks whose URLs differ in their secrets alone are one.
    waiting: Counter[str] = Counter()
    for name, label in sink_labels.items():
        waiting[label] += stored.waiting_events.get(name, 0)
    for label, number in waiting.items():
        events.add_metric([label], number)
    return [
        tasks,
        events,
        GaugeMetricFamily(
            "ecr_emulator_repositories", "Repositories of all registries.", value=stored.repositories
        ),
        GaugeMetricFamily("ecr_emulator_images", "Images of all registries.", value=stored.images),
    ]
