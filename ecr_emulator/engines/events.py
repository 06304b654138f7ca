"""Delivers events to the sinks, at least once and in their order.

Each sink has its own deliveries, so that none waits for another, and one server at a time sees to them. An
event leaves the outbox after the sink has taken it: what a crash comes between is delivered again, with the
same id.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial

from msgspec.structs import replace

from ecr_emulator.core.emulator import Emulator
from ecr_emulator.engines import Engine
from ecr_emulator.events.sinks.base import Sink, SinkError
from ecr_emulator.metadata.events import SinkState, WaitingEvent
from ecr_emulator.metadata.store import Transaction

_logger = logging.getLogger(__name__)

NAME = "events"
# Seconds after which a sink that failed is tried again, by the number of failures before.
RETRY_DELAYS = (1.0, 5.0, 30.0, 60.0, 300.0)
# Seconds after which an event is given up when its delivery fails once more: EventBridge's own retry policy.
LIFETIME = 24 * 3600.0
# Seconds between two looks whether another server still delivers to a sink.
_LOCK_INTERVAL = 0.05


async def run_due(emulator: Emulator) -> int:
    """Begin to deliver to the sinks that are due; nobody waits for the end of it."""
    for sink in emulator.sinks:
        emulator.flights.begin((NAME, sink.name), partial(_deliver, emulator, sink))
    return 0


async def run_now(emulator: Emulator) -> int:
    """Deliver to all sinks, those too that were put off; return how many deliveries there were."""
    return sum(await asyncio.gather(*(_deliver_now(emulator, sink) for sink in emulator.sinks)))


async def _deliver_now(emulator: Emulator, sink: Sink) -> int:
    key = (NAME, sink.name)
    # One that began before may leave those that were put off.
    await emulator.flights.settle(key)
    return await emulator.flights.join(key, partial(_deliver, emulator, sink, hurry=True))


async def _deliver(emulator: Emulator, sink: Sink, *, hurry: bool = False) -> int:
    """Deliver until nothing waits for a sink, or it fails; return how many events it took.

    What another server delivers is left to it. With ``hurry`` that is waited for, and the sink is tried
    although it was put off.
    """
    while True:
        state, waiting = await _look(emulator, sink, hurry=hurry)
        if state is None or not waiting:
            return 0
        async with emulator.locks.hold(f"{NAME}-{state.id}") as is_held:
            if is_held:
                return await _empty(emulator, sink, hurry=hurry)
        if not hurry:
            return 0
        await asyncio.sleep(_LOCK_INTERVAL)


async def _empty(emulator: Emulator, sink: Sink, *, hurry: bool) -> int:
    delivered = 0
    while True:
        state, waiting = await _look(emulator, sink, hurry=hurry)
        if state is None or not waiting:
            return delivered
        arrived = await _send(sink, [event.content for event in waiting])
        if arrived:
            await emulator.metadata.write(_note_delivered, state, [event.id for event in waiting[:arrived]])
            delivered += arrived
        if arrived < len(waiting):
            await _postpone(emulator, sink, replace(state, attempts=0) if arrived else state)
            return delivered


async def _look(
    emulator: Emulator, sink: Sink, *, hurry: bool
) -> tuple[SinkState | None, list[WaitingEvent]]:
    now = math.inf if hurry else emulator.clock.now()
    return await emulator.metadata.read(_next, sink, now)


async def _send(sink: Sink, events: list[str]) -> int:
    """Return how many of the events a sink has taken, from the first on."""
    try:
        await sink.send(events)
    except SinkError as error:
        _logger.warning("events are not delivered to %s: %s", sink.label, error)
        return error.delivered
    except Exception:
        _logger.exception("events are not delivered to %s", sink.label)
        return 0
    return len(events)


async def _postpone(emulator: Emulator, sink: Sink, state: SinkState) -> None:
    lost = await emulator.metadata.write(_put_off, state, emulator.clock.now())
    if lost:
        _logger.error("%d events are given up, which %s did not take for a day", lost, sink.label)


def _next(tx: Transaction, sink: Sink, now: float) -> tuple[SinkState | None, list[WaitingEvent]]:
    state = tx.events.sink(sink.name)
    # The clock can be set back.
    if state is None or now < state.due_at <= now + RETRY_DELAYS[-1]:
        return state, []
    return state, tx.events.waiting(state.id, sink.batch_size)


def _put_off(tx: Transaction, state: SinkState, now: float) -> int:
    delay = RETRY_DELAYS[min(state.attempts, len(RETRY_DELAYS) - 1)]
    tx.events.postpone(state.id, now + delay)
    return tx.events.give_up(state.id, now - LIFETIME)


def _note_delivered(tx: Transaction, state: SinkState, event_ids: list[int]) -> None:
    tx.events.note_delivered(state.id, event_ids)


ENGINE = Engine(NAME, run_due, run_now)
