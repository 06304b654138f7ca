"""The outbox: what waits for which sink, and what is kept of events that nobody waits for."""

import contextlib
import sqlite3

import pytest

from ecr_emulator.metadata.events import KEPT, EventFilter
from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate
from ecr_emulator.metadata.store import Transaction

ALL = EventFilter()


@pytest.fixture
def connection():
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
        yield connection


@pytest.fixture
def tx(connection):
    return Transaction(SqliteDatabase(connection))


def add(tx, number, account="000000000000", detail_type="ECR Image Action"):
    event = {
        "id": number,
        "account": account,
        "region": "us-east-1",
        "detail-type": detail_type,
    }
    tx.events.add(event, float(number), "app")


def numbers(events):
    return [event["id"] for event in events]


def waiting(tx, name, limit=100_000):
    return [event.id for event in tx.events.waiting(tx.events.sink(name).id, limit)]


def test_each_sink_gets_the_events_that_come_while_it_is_set(tx):
    add(tx, 1)
    tx.events.set_sinks(["a", "b"])
    add(tx, 2)
    add(tx, 3)
    first, second = waiting(tx, "a")
    assert waiting(tx, "b", 1) == [first]
    tx.events.note_delivered(tx.events.sink("a").id, [first])
    assert (waiting(tx, "a"), waiting(tx, "b")) == ([second], [first, second])
    tx.events.set_sinks(["b", "c"])
    add(tx, 4)
    assert (len(waiting(tx, "b")), len(waiting(tx, "c"))) == (3, 1)
    assert tx.events.sink("a") is None
    assert tx.events.count_waiting() == {"b": 3, "c": 1}
    assert numbers(tx.events.newest(ALL, 10)) == [1, 2, 3, 4]


def test_a_failure_puts_a_sink_off_until_it_takes_an_event_or_the_server_starts(tx):
    tx.events.set_sinks(["a"])
    add(tx, 1)
    sink = tx.events.sink("a")
    tx.events.postpone(sink.id, 100.0)
    tx.events.postpone(sink.id, 200.0)
    assert (tx.events.sink("a").attempts, tx.events.sink("a").due_at) == (2, 200.0)
    tx.events.note_delivered(sink.id, waiting(tx, "a"))
    assert tx.events.sink("a") == sink
    tx.events.postpone(sink.id, 100.0)
    tx.events.set_sinks(["a"])
    assert tx.events.sink("a") == sink


def test_what_nobody_waits_for_is_kept_for_a_while_and_the_rest_until_it_is_delivered(tx, connection):
    tx.events.set_sinks(["a"])
    for number in range(1, 3 * KEPT + 1):
        add(tx, number)
    assert len(waiting(tx, "a")) == 3 * KEPT
    tx.events.note_delivered(tx.events.sink("a").id, waiting(tx, "a", KEPT))
    for number in range(3 * KEPT + 1, 4 * KEPT + 1):
        add(tx, number)
    (stored,) = connection.execute("SELECT count(*) FROM events").fetchone()
    assert stored == 3 * KEPT
    assert waiting(tx, "a", 1) == [KEPT + 1]
    tx.events.set_sinks([])
    for number in range(4 * KEPT + 1, 6 * KEPT):
        add(tx, number)
        (stored,) = connection.execute("SELECT count(*) FROM events").fetchone()
        assert stored <= 4 * KEPT
    assert stored < 2 * KEPT
    assert numbers(tx.events.newest(ALL, 2)) == [6 * KEPT - 2, 6 * KEPT - 1]


def test_events_are_given_up_by_their_age(tx):
    tx.events.set_sinks(["a", "b"])
    for number in (10, 20, 30):
        add(tx, number)
    assert tx.events.give_up(tx.events.sink("a").id, 30.0) == 2
    assert (len(waiting(tx, "a")), len(waiting(tx, "b"))) == (1, 3)


def test_events_are_found_by_what_they_are_about(tx):
    add(tx, 10)
    add(tx, 20, account="111111111111")
    add(tx, 30, detail_type="ECR Image Scan")
    assert numbers(tx.events.newest(EventFilter(account="111111111111"), 10)) == [20]
    assert numbers(tx.events.newest(EventFilter(detail_type="ECR Image Scan"), 10)) == [30]
    assert numbers(tx.events.newest(EventFilter(since=20.0), 10)) == [20, 30]
    assert numbers(tx.events.newest(EventFilter(repository="other"), 10)) == []
    assert numbers(tx.events.newest(EventFilter(region="us-east-1"), 2)) == [20, 30]


def test_a_reset_takes_events_and_what_waits_of_them(tx):
    tx.events.set_sinks(["a"])
    add(tx, 1)
    add(tx, 2, account="111111111111")
    tx.reset("111111111111", None)
    assert len(waiting(tx, "a")) == 1
    tx.reset(None, None)
    assert waiting(tx, "a") == []
    add(tx, 3)
    # Ids are never used again: a delivery under way would take the new event for its own.
    assert waiting(tx, "a") == [3]
