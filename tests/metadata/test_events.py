"""The queries on events and their outbox, and those that count for metrics, on every metadata store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ecr_emulator.metadata import events
from ecr_emulator.metadata.events import EventFilter, SinkState
from tests.metadata.conftest import ACCOUNT, REGION, Store, new_image, new_repository


def event(number: int, *, account: str = ACCOUNT, kind: str = "push") -> dict[str, Any]:
    return {
        "account": account,
        "region": REGION,
        "detail-type": kind,
        "detail": {"number": number},
    }


def numbers(store: Store, **wanted: Any) -> list[int]:
    found = store.read(lambda tx: tx.events.newest(EventFilter(**wanted), 10))
    return [each["detail"]["number"] for each in found]


def waiting(store: Store, sink: str) -> list[int]:
    def find(tx: Any) -> list[int]:
        return [
            json.loads(each.content)["detail"]["number"] for each in tx.events.waiting(state(tx, sink).id, 10)
        ]

    return store.read(find)


def state(tx: Any, sink: str) -> SinkState:
    found = tx.events.sink(sink)
    assert found is not None
    return SinkState(found.id, found.attempts, found.due_at)


def test_events_are_found_by_what_is_asked_for(store: Store) -> None:
    for number, made in enumerate((event(0), event(1, account="111111111111"), event(2, kind="scan"))):
        store.write(lambda tx, made=made, at=float(number): tx.events.add(made, at, "app"))
    assert numbers(store) == [0, 1, 2]
    assert numbers(store, account=ACCOUNT) == [0, 2]
    assert numbers(store, detail_type="scan", region=REGION, repository="app") == [2]
    assert numbers(store, since=1.0) == [1, 2]
    assert numbers(store, repository="other") == []
    assert [
        each["detail"]["number"] for each in store.read(lambda tx: tx.events.newest(EventFilter(), 1))
    ] == [2]


def test_each_sink_gets_what_came_since_it_was_there(store: Store) -> None:
    store.write(lambda tx: tx.events.add(event(0), 0.0, "app"))
    store.write(lambda tx: tx.events.set_sinks(["one", "two"]))
    for number in (1, 2, 3):
        store.write(lambda tx, number=number: tx.events.add(event(number), float(number), "app"))
    assert waiting(store, "one") == waiting(store, "two") == [1, 2, 3]
    assert store.read(lambda tx: tx.events.sink("three")) is None
    one = store.read(lambda tx: state(tx, "one"))
    assert (one.attempts, one.due_at) == (0, 0.0)

    def deliver_two(tx: Any) -> None:
        ids = [each.id for each in tx.events.waiting(one.id, 2)]
        tx.events.note_delivered(one.id, ids)

    store.write(lambda tx: tx.events.postpone(one.id, 9.5))
    assert store.read(lambda tx: state(tx, "one")) == SinkState(one.id, 1, 9.5)
    store.write(deliver_two)
    assert store.read(lambda tx: state(tx, "one")) == SinkState(one.id, 0, 0.0)
    assert (waiting(store, "one"), waiting(store, "two")) == ([3], [1, 2, 3])
    assert store.read(lambda tx: tx.events.count_waiting()) == {"one": 1, "two": 3}
    two = store.read(lambda tx: state(tx, "two"))
    assert store.write(lambda tx: tx.events.give_up(two.id, 2.5)) == 2
    assert waiting(store, "two") == [3]
    store.write(lambda tx: tx.events.set_sinks(["two"]))
    assert store.read(lambda tx: tx.events.sink("one")) is None
    assert waiting(store, "two") == [3]


def test_events_that_nobody_waits_for_are_few(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT", 3)
    for number in range(20):
        store.write(lambda tx, number=number: tx.events.add(event(number), 0.0, "app"))
    found = numbers(store)
    assert found == list(range(20 - len(found), 20))
    assert 3 <= len(found) <= 6


def test_an_event_is_found_by_each_of_its_repositories(store: Store) -> None:
    store.write(lambda tx: tx.events.add(event(0), 0.0, "app", "team/web_1", "api"))
    store.write(lambda tx: tx.events.add(event(1), 0.0, "team/web_1"))
    store.write(lambda tx: tx.events.add(event(2), 0.0, "app2"))
    assert numbers(store, repository="team/web_1") == [0, 1]
    assert numbers(store, repository="app") == numbers(store, repository="api") == [0]
    for name in ("web_1", "team", "ap", "app team/web_1 ap", "team/webx1", ""):
        assert numbers(store, repository=name) == []


@pytest.mark.parametrize("sinks", [["one", "two"], []])
def test_many_events_are_added_as_one_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, sinks: list[str]
) -> None:
    monkeypatch.setattr(events, "KEPT", 4)
    monkeypatch.setattr(events, "_BATCH_SIZE", 3)
    store.write(lambda tx: tx.events.set_sinks(sinks))
    store.write(lambda tx: tx.events.add(event(0), 0.0, "other"))
    store.write(lambda tx: tx.events.add_many(map(event, range(1, 11)), 1.5, "app"))
    store.write(lambda tx: tx.events.add_many([], 1.5, "app"))
    for sink in sinks:
        assert waiting(store, sink) == list(range(10))
    found = numbers(store)
    assert found == list(range(1, 11)) if sinks else len(found) <= 8 and found[-4:] == [7, 8, 9, 10]
    assert numbers(store, repository="app", region=REGION, detail_type="push", since=1.5)[-4:] == [
        7,
        8,
        9,
        10,
    ]


def test_what_metrics_count(store: Store) -> None:
    repository = store.write(new_repository)
    store.write(new_image, repository)
    assert store.read(lambda tx: tx.repositories.count_all()) == (1, 1)
    for engine, due_at in (("one", 1.0), ("one", 2.0), ("two", 1.0), ("two", 9.0)):
        store.write(lambda tx, e=engine, at=due_at: tx.tasks.add(e, ACCOUNT, REGION, {}, at))
    assert store.read(lambda tx: tx.tasks.count_due(5.0)) == {"one": 2, "two": 1}
