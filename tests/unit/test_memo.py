"""Answers are remembered until something is written, and none for longer."""

import asyncio
import contextlib
import sqlite3

import pytest

from ecr_emulator.core import memo
from ecr_emulator.core.memo import Memo
from ecr_emulator.metadata.sqlite import SqliteMetadata


class Store:
    """A store whose version a test sets."""

    def __init__(self, version):
        self.number = version

    def version(self):
        return self.number


def test_an_answer_is_kept_until_the_version_changes():
    store = Store(1)
    remembered = Memo(store)
    version = remembered.version()
    assert remembered.recall(version, "key") is None
    remembered.keep(version, "key", "answer", 6)
    assert remembered.recall(remembered.version(), "key") == "answer"
    store.number = 2
    assert remembered.recall(remembered.version(), "key") is None


def test_an_answer_to_what_was_asked_before_a_write_is_not_kept():
    store = Store(1)
    remembered = Memo(store)
    version = remembered.version()
    store.number = 2
    newer = remembered.version()
    remembered.keep(version, "key", "answer", 6)
    assert remembered.recall(newer, "key") is None
    assert remembered.recall(version, "key") is None


def test_a_store_without_versions_has_nothing_remembered():
    remembered = Memo(Store(None))
    remembered.keep(remembered.version(), "key", "answer", 6)
    assert remembered.recall(remembered.version(), "key") is None


def test_the_answers_are_bounded(monkeypatch):
    monkeypatch.setattr(memo, "CAPACITY", 10_000)
    monkeypatch.setattr(memo, "LARGEST", 5_000)
    remembered = Memo(Store(1))
    version = remembered.version()
    remembered.keep(version, "large", "answer", 5_001)
    for number in range(100):
        remembered.keep(version, number, number, 2_000)
        assert remembered.recall(version, number) == number
    kept = [number for number in range(100) if remembered.recall(version, number) is not None]
    assert 1 <= len(kept) <= 5
    assert remembered.recall(version, "large") is None


@pytest.mark.parametrize("whose", ["its own", "another process"])
def test_sqlite_tells_that_anybody_has_written(tmp_path, whose):
    path = tmp_path / "metadata.sqlite"

    async def scenario():
        store = SqliteMetadata(path, durable=False)
        before = store.version()
        assert store.version() == before
        if whose == "its own":
            await store.write(lambda tx: tx.server_values.put("name", "value"))
        else:
            with contextlib.closing(sqlite3.connect(path)) as other, other:
                other.execute("INSERT INTO server_values VALUES ('name', 'value')")
        assert store.version() != before
        await store.close()

    asyncio.run(scenario())
