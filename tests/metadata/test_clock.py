"""A clock that is put back: what waits for a time waits no longer than before, on every metadata store."""

from __future__ import annotations

from ecr_emulator.core import clock
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.store import Transaction
from tests.metadata.conftest import ACCOUNT, NOW, REGION, Store, new_image, new_repository

DAY = 24 * 3600.0


def leave_work(tx: Transaction) -> Repository:
    """Leave a task, a scan and an evaluation that are all due at NOW."""
    repository = new_repository(tx)
    tx.tasks.add("engine", ACCOUNT, REGION, {}, NOW)
    tx.scans.request(new_image(tx, repository).id, "BASIC", "PENDING", NOW, NOW)
    tx.repositories.set_lifecycle_policy(repository.id, "policy", NOW)
    return repository


def due(tx: Transaction, now: float) -> list[bool]:
    return [
        bool(tx.tasks.due("engine", now, 1)),
        tx.scans.next_due(now) is not None,
        bool(tx.repositories.lifecycle_due(now)),
    ]


def test_what_was_due_still_is_and_what_was_not_is_not(store: Store) -> None:
    store.write(clock.set_offset, 3 * DAY)
    store.write(leave_work)
    for offset, passed in ((DAY, 2 * DAY), (2 * DAY, 2 * DAY), (-DAY, 5 * DAY)):
        assert store.write(clock.set_offset, offset) == offset
        assert store.read(due, NOW - passed) == [True] * 3
        assert store.read(due, NOW - passed - 1) == [False] * 3


def test_times_are_brought_forward_alone(store: Store) -> None:
    store.write(leave_work)
    store.write(lambda tx: tx.tasks.bring_forward(1.0))
    assert store.read(due, NOW - 1) == [True, False, False]
    store.write(lambda tx: tx.scans.bring_forward(1.0))
    assert store.read(due, NOW - 1) == [True, True, False]
    store.write(lambda tx: tx.repositories.bring_lifecycle_forward(1.0))
    assert store.read(due, NOW - 1) == [True] * 3


def test_what_is_left_without_a_time_is_due_whatever_the_clock_says(store: Store) -> None:
    """As is what was left by a server that had yet to learn that the clock was put back."""
    store.write(lambda tx: tx.tasks.add("engine", ACCOUNT, REGION, {}))
    for now in (NOW, -NOW):
        assert store.read(due, now) == [True, False, False]
    store.write(clock.set_offset, -DAY)
    assert store.read(due, -NOW) == [True, False, False]
