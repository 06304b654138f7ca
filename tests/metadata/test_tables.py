"""The queries on whole tables, on every metadata store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tables import TABLES, Reference
from tests.metadata.conftest import Store, digest, new_image, new_repository

BY_NAME = {table.name: table for table in TABLES}


def task(**changed: Any) -> dict[str, Any]:
    values = {"engine": "e", "account": "", "region": "", "payload": "{}", "due_at": 0.5, "attempts": 0}
    return {**values, **changed}


def test_rows_come_in_the_order_of_keys_of_several_columns(store: Store) -> None:
    table = BY_NAME["registry_values"]
    rows = [
        {"account": account, "region": region, "name": name, "value": ""}
        for account in ("1", "2")
        for region in ("A", "a")
        for name in ("X", "y")
    ]
    store.write(lambda tx: tx.tables.insert(table, rows[::-1]))

    def pages(tx: Transaction) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while page := tx.tables.page(table, seen[-1] if seen else None, 3):
            seen += page
        return seen

    assert store.read(pages) == rows
    assert store.read(lambda tx: tx.tables.count(table)) == len(rows)
    store.write(lambda tx: tx.tables.clear(table))
    assert store.read(lambda tx: tx.tables.count(table)) == 0


def test_rows_are_put_back_as_they_were(store: Store) -> None:
    """Numbers, texts, bytes, truth values, and nothing at all."""

    def fill(tx: Transaction) -> None:
        repository = new_repository(tx)
        image = new_image(tx, repository, last_pulled_at=1.5)
        new_image(tx, repository, "other", annotations=json.dumps({"a": "\u00e9"}))
        number = tx.backfills.insert("x", "", "", "", "", "IN_PROGRESS", 1.5)
        tx.backfills.add_images(number, repository.id, ["index"])
        tx.images.add_children(image.id, repository.id, [digest("a")])

    def contents(tx: Transaction) -> dict[str, list[dict[str, Any]]]:
        return {table.name: tx.tables.page(table, None, 99) for table in TABLES}

    def put_back(tx: Transaction, rows: dict[str, list[dict[str, Any]]]) -> None:
        for table in reversed(TABLES):
            tx.tables.clear(table)
        for table in TABLES:
            tx.tables.insert(table, rows[table.name])

    store.write(fill)
    before = store.read(contents)
    assert len([rows for rows in before.values() if rows]) == 6
    store.write(put_back, before)
    assert store.read(contents) == before


@pytest.mark.parametrize("number", [1, 41])
def test_numbers_go_on_where_they_were_set_to(store: Store, number: int) -> None:
    table = BY_NAME["tasks"]
    assert store.read(lambda tx: tx.tables.last_number(table)) == 0
    store.write(lambda tx: tx.tables.set_last_number(table, number))
    assert store.read(lambda tx: tx.tables.last_number(table)) == number
    store.write(lambda tx: tx.tables.insert(table, [task()]))
    assert [row["id"] for row in store.read(lambda tx: tx.tables.page(table, None, 9))] == [number + 1]
    assert store.read(lambda tx: tx.tables.last_number(table)) == number + 1
    store.write(lambda tx: tx.tables.clear(table))
    store.write(lambda tx: tx.tables.set_last_number(table, 0))
    assert store.read(lambda tx: tx.tables.last_number(table)) == 0
    store.write(lambda tx: tx.tables.insert(table, [task()]))
    assert [row["id"] for row in store.read(lambda tx: tx.tables.page(table, None, 9))] == [1]


def test_every_table_with_numbers_tells_the_last(store: Store) -> None:
    numbered = [table for table in TABLES if table.number]
    assert numbered
    assert [store.read(lambda tx, t=table: tx.tables.last_number(t)) for table in numbered] == [0] * len(
        numbered
    )


def test_rows_that_refer_to_none(store: Store) -> None:
    """References that the database does not watch, so that there can be such rows."""

    def fill(tx: Transaction) -> list[int]:
        ids = [new_repository(tx, name).id for name in ("a", "b", "c")]
        tx.registry_values.put("000000000000", "us-east-1", "b", "")
        return ids

    ids = store.write(fill)
    repositories = BY_NAME["repositories"]
    by_name = Reference(("name",), "registry_values", ("name",))
    by_two = Reference(("region", "name"), "registry_values", ("region", "name"))

    def orphans(reference: Reference, limit: int = 9) -> list[dict[str, Any]]:
        return store.read(lambda tx: tx.tables.orphans(repositories, reference, limit))

    assert orphans(by_name) == orphans(by_two) == [{"id": ids[0]}, {"id": ids[2]}]
    assert orphans(by_name, 1) == [{"id": ids[0]}]


def test_every_reference_can_be_looked_after(store: Store) -> None:
    for table in TABLES:
        for reference in table.references:
            assert store.read(lambda tx, t=table, r=reference: tx.tables.orphans(t, r, 9)) == []
