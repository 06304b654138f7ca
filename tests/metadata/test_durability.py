"""What waits for the disk: SQLite's ``synchronous`` while a transaction runs."""

import asyncio
from pathlib import Path

import pytest

from ecr_emulator.metadata.sqlite import SqliteMetadata
from ecr_emulator.metadata.store import Transaction

OFF, NORMAL, FULL = 0, 1, 2


def synchronous(tx: Transaction) -> int:
    """Return how the commit of a transaction is going to be written."""
    row = tx.server_values._database.one("PRAGMA synchronous")
    assert row is not None
    return int(row["synchronous"])


@pytest.mark.parametrize(
    ("durable", "expected"), [(True, [FULL, NORMAL, FULL, NORMAL]), (False, [OFF, OFF, OFF, OFF])]
)
def test_only_what_has_to_waits_for_the_disk(tmp_path: Path, durable: bool, expected: list[int]) -> None:
    async def run() -> list[int]:
        store = SqliteMetadata(tmp_path / "metadata.sqlite", durable=durable)
        try:
            writes = (store.write, store.write_lazily, store.write, store.write_lazily)
            return [await write(synchronous) for write in writes]
        finally:
            await store.close()

    assert asyncio.run(run()) == expected


def test_writes_that_come_at_once_wait_for_no_more_than_they_have_to(tmp_path: Path) -> None:
    async def run() -> list[int]:
        store = SqliteMetadata(tmp_path / "metadata.sqlite")
        try:
            writes = [store.write, store.write_lazily] * 20
            return await asyncio.gather(*(write(synchronous) for write in writes))
        finally:
            await store.close()

    assert asyncio.run(run()) == [FULL, NORMAL] * 20


def test_what_was_written_lazily_is_there_for_another_connection(tmp_path: Path) -> None:
    async def run() -> str | None:
        store = SqliteMetadata(tmp_path / "metadata.sqlite")
        other = SqliteMetadata(tmp_path / "metadata.sqlite")
        try:
            await store.write_lazily(lambda tx: tx.server_values.put("key", "value"))
            return await other.read(lambda tx: tx.server_values.get("key"))
        finally:
            await other.close()
            await store.close()

    assert asyncio.run(run()) == "value"
