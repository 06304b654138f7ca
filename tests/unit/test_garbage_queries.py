"""The queries of garbage collection: which layers and blobs nobody uses, and what finding them costs."""

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate
from ecr_emulator.metadata.store import Transaction

LAYERS = 5000
BATCH = 100
NOW, BEFORE = 1000.0, 500.0


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A database with two repositories of 5,000 layers, one in ten of which no image names."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        tx = Transaction(SqliteDatabase(connection))
        for name in ("app", "other"):
            repository = tx.repositories.insert(
                account="000000000000",
                region="us-east-1",
                name=name,
                created_at=0,
                tag_mutability="MUTABLE",
                tag_exclusions=(),
                scan_on_push=False,
                encryption_type="AES256",
                kms_key=None,
            )
            for number in range(LAYERS):
                blob = tx.blobs.get(digest(number), "")
                blob_id = blob.id if blob else tx.blobs.insert(digest(number), "", f"name {number}", 1)
                tx.layers.insert(repository.id, digest(number), blob_id, NOW if number % 20 == 0 else 0)
            tx.layers.name(repository.id, {digest(number): "" for number in range(LAYERS) if number % 10})
        yield connection


def digest(number: int) -> str:
    return f"sha256:{number:064}"


def test_a_scan_sees_each_layer_once_at_the_same_cost(connection: sqlite3.Connection) -> None:
    tx = Transaction(SqliteDatabase(connection))
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    connection.set_progress_handler(tick, 10)
    last = 0
    seen: dict[int, bool] = {}
    costs = []
    while True:
        ticks = 0
        page = tx.layers.scan(BEFORE, last, BATCH)
        if not page:
            break
        costs.append(ticks)
        assert not seen.keys() & dict(page).keys()
        seen |= dict(page)
        last = page[-1][0]
    connection.set_progress_handler(None, 0)
    # Unused is what no image names; what was touched since is not.
    assert seen == {
        first + number: number % 20 == 10 for first in (1, LAYERS + 1) for number in range(LAYERS)
    }
    assert max(costs) < 2 * min(costs)


def test_only_what_still_is_unused_is_removed(connection: sqlite3.Connection) -> None:
    tx = Transaction(SqliteDatabase(connection))
    numbers = [0, 1, 10, 30]
    ids = [number + 1 for number in numbers]
    assert tx.layers.delete_unused([*ids, 3 * LAYERS], BEFORE) == 2
    assert tx.layers.present(1, [digest(number) for number in numbers]).keys() == {digest(0), digest(1)}
    tx.layers.touch(1, [digest(50), digest(LAYERS)], NOW)
    assert tx.layers.delete_unused([50 + 1, LAYERS + 50 + 1], BEFORE) == 1
    assert tx.layers.get(1, digest(LAYERS)) is None


def unused(tx: Transaction, before: float | None = None) -> set[int]:
    """Return the numbers of the blobs that are unused, looked for in pages."""
    numbers: set[int] = set()
    last: int | None = 0
    while last is not None:
        blobs, last = tx.blobs.scan_unused(last, BATCH, before)
        numbers |= {int(blob.name.removeprefix("name ")) for blob in blobs}
    return numbers


def test_a_blob_is_unused_once_no_repository_has_it(connection: sqlite3.Connection) -> None:
    tx = Transaction(SqliteDatabase(connection))
    assert unused(tx) == set()
    # And with those of unused layers, which are about to go.
    assert unused(tx, BEFORE) == set(range(10, LAYERS, 20))
    tx.layers.delete(1, digest(10))
    assert unused(tx) == set()
    tx.layers.delete(2, digest(10))
    assert unused(tx) == {10}
    ids = [number + 1 for number in (0, 10, LAYERS)]
    assert [blob.name for blob in tx.blobs.delete_unused(ids)] == ["name 10"]
    assert tx.blobs.delete_unused(ids) == []
    assert tx.blobs.known(["name 0", "name 10", "other"]) == {"name 0"}
