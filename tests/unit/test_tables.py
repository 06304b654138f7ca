"""The list of tables, by which stores are migrated and checked, is that of the schema."""

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest

from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tables import TABLES, Table

BY_NAME = {table.name: table for table in TABLES}


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def test_every_table_is_listed_once(connection: sqlite3.Connection) -> None:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    assert sorted(name for (name,) in rows) == sorted(table.name for table in TABLES)


def test_a_table_comes_after_those_that_it_refers_to() -> None:
    for position, table in enumerate(TABLES):
        for reference in table.references:
            assert BY_NAME[reference.table] in TABLES[:position]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_keys_references_and_numbers_are_those_of_the_schema(
    connection: sqlite3.Connection, table: Table
) -> None:
    columns = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
    key = sorted((column[5], column[1]) for column in columns if column[5])
    assert tuple(name for _, name in key) == table.key
    # Without a target a foreign key leads to the primary key.
    references: dict[int, tuple[str, list[str], list[str]]] = {}
    for number, _, target, column, to, *_ in connection.execute(f"PRAGMA foreign_key_list({table.name})"):
        _, ours, theirs = references.setdefault(number, (target, [], []))
        theirs.append(to or BY_NAME[target].key[len(ours)])
        ours.append(column)
    assert sorted((t, tuple(ours), tuple(theirs)) for t, ours, theirs in references.values()) == sorted(
        (reference.table, reference.columns, reference.target) for reference in table.references
    )
    (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table.name,)).fetchone()
    assert ("AUTOINCREMENT" in sql) == (table.number is not None)
    assert {*table.booleans, *([table.number] if table.number else [])} <= {column[1] for column in columns}


def test_rows_are_paged_in_the_order_of_keys_of_several_columns(connection: sqlite3.Connection) -> None:
    tables, table = Transaction(SqliteDatabase(connection)).tables, BY_NAME["registry_values"]
    rows = [
        {"account": account, "region": region, "name": name, "value": ""}
        for account in ("1", "2")
        for region in ("a", "b")
        for name in ("x", "y")
    ]
    tables.insert(table, rows[::-1])
    seen: list[dict[str, str]] = []
    while page := tables.page(table, seen[-1] if seen else None, 3):
        seen += page
    assert seen == rows
    assert tables.count(table) == len(rows)
    tables.clear(table)
    assert tables.count(table) == 0


def test_numbers_go_on_where_they_were_set_to(connection: sqlite3.Connection) -> None:
    tables, table = Transaction(SqliteDatabase(connection)).tables, BY_NAME["tasks"]
    assert tables.last_number(table) == 0
    tables.set_last_number(table, 41)
    row = {"engine": "e", "account": "", "region": "", "payload": "{}", "due_at": 0.0, "attempts": 0}
    tables.insert(table, [row])
    assert [row["id"] for row in tables.page(table, None, 10)] == [42]
    assert tables.last_number(table) == 42
