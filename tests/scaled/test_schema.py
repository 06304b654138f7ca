"""PostgreSQL's schema: that of SQLite, made once by servers that start together, and never put back."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ecr_emulator.metadata import postgresql, sqlite
from ecr_emulator.metadata.postgresql import migrate
from ecr_emulator.metadata.schema import SchemaTooNewError, newest
from tests.postgresql import Postgres

TYPES = {
    "INTEGER": "bigint",
    "REAL": "double precision",
    "TEXT": "text",
    "BLOB": "bytea",
    "BOOLEAN": "boolean",
}

Schema = dict[str, dict[str, Any]]


@pytest.fixture
def connection(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """A connection to an empty database."""
    url = postgres.new_database(empty=True)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
    postgres.drop_database(url)


def schema_of_sqlite() -> Schema:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        sqlite.migrate(connection)

        def pragma(name: str, of: str) -> list[Any]:
            return connection.execute(f"PRAGMA {name}({of})").fetchall()

        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        return {
            table: {
                # The key of a table is never null, though SQLite need not be told.
                "columns": {
                    (name, TYPES[kind], bool(not_null or key), default and default.strip("'"))
                    for _, name, kind, not_null, default, key in pragma("table_info", table)
                },
                "unique": {
                    tuple(column for _, _, column in pragma("index_info", index))
                    for _, index, is_unique, *_ in pragma("index_list", table)
                    if is_unique
                }
                | {
                    (name,)
                    for _, name, kind, _, _, key in pragma("table_info", table)
                    if key
                    and kind == "INTEGER"
                    and sum(bool(row[5]) for row in pragma("table_info", table)) == 1
                },
                "indexes": {
                    (index, tuple(column for _, _, column in pragma("index_info", index)), bool(is_partial))
                    for _, index, _, origin, is_partial in pragma("index_list", table)
                    if origin == "c"
                },
                "references": _references(pragma("foreign_key_list", table)),
            }
            for (table,) in tables.fetchall()
        }


def _references(rows: list[Any]) -> set[Any]:
    by_key: dict[int, list[Any]] = {}
    for row in rows:
        by_key.setdefault(row[0], []).append(row)
    return {
        (tuple(row[3] for row in sorted(columns, key=lambda row: row[1])), columns[0][2], columns[0][6])
        for columns in by_key.values()
    }


def schema_of_postgresql(connection: psycopg.Connection[Any]) -> Schema:
    def rows(query: str, *parameters: Any) -> list[Any]:
        return connection.execute(query.encode(), parameters).fetchall()

    actions = {"a": "NO ACTION", "c": "CASCADE"}
    columns_of = (
        "ARRAY(SELECT attname::text FROM unnest({keys}) WITH ORDINALITY AS key (number, position)"
        " JOIN pg_attribute ON attrelid = {table} AND attnum = key.number ORDER BY position)"
    )
    in_index = columns_of.format(keys="indkey::int2[]", table="indrelid")
    in_constraint = columns_of.format(keys="conkey", table="conrelid")
    tables = rows(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_version'"
    )
    return {
        table: {
            "columns": {
                (name, kind, not_null, default and default.partition("::")[0].strip("'"))
                for name, kind, not_null, default in rows(
                    "SELECT attname, format_type(atttypid, NULL), attnotnull, pg_get_expr(adbin, adrelid)"
                    " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
                    " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
                    table,
                )
            },
            "unique": {
                tuple(columns)
                for (columns,) in rows(
                    f"SELECT {in_index} FROM pg_index WHERE indrelid = %s::regclass AND indisunique", table
                )
            },
            "indexes": {
                (name, tuple(columns), is_partial)
                for name, columns, is_partial in rows(
                    f"SELECT indexrelid::regclass::text, {in_index}, indpred IS NOT NULL FROM pg_index"
                    " WHERE indrelid = %s::regclass AND NOT EXISTS"
                    " (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))",
                    table,
                )
            },
            "references": {
                (tuple(columns), target, actions[action])
                for columns, target, action in rows(
                    f"SELECT {in_constraint}, confrelid::regclass::text, confdeltype FROM pg_constraint"
                    " WHERE conrelid = %s::regclass AND contype = 'f'",
                    table,
                )
            },
        }
        for (table,) in tables
    }


def test_it_is_that_of_sqlite(connection: psycopg.Connection[Any]) -> None:
    migrate(connection)
    ours, theirs = schema_of_postgresql(connection), schema_of_sqlite()
    assert ours.keys() == theirs.keys()
    for table, parts in theirs.items():
        for part, expected in parts.items():
            assert ours[table][part] == expected, (table, part)


def test_all_text_is_in_the_order_of_its_bytes(connection: psycopg.Connection[Any]) -> None:
    migrate(connection)
    others = connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    ).fetchall()
    assert others == []


def test_every_type_is_known() -> None:
    """A type that a migration brings, and that is not translated, means something else here, or nothing."""
    scripts = "".join(script for _, script in sqlite.migrations())
    columns = re.findall(r"^    \w+ ([A-Z]+)", re.sub(r"--.*", "", scripts), re.MULTILINE)
    assert set(columns) - {"KEY"} == TYPES.keys()


def test_servers_that_start_together_migrate_once(postgres: Postgres) -> None:
    url = postgres.new_database(empty=True)
    failures: list[BaseException] = []

    def start() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                migrate(connection)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(newest(),)]
    postgres.drop_database(url)


def test_a_migration_that_fails_leaves_nothing(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(connection)
    steps = [*sqlite.migrations(), (newest() + 1, "CREATE TABLE half (a TEXT);\nCREATE TABLE half (a TEXT);")]
    monkeypatch.setattr(postgresql, "migrations", lambda: steps)
    with pytest.raises(psycopg.errors.DuplicateTable):
        migrate(connection)
    assert connection.execute("SELECT version FROM schema_version").fetchall() == [(newest(),)]
    assert connection.execute("SELECT to_regclass('half')").fetchall() == [(None,)]


def test_a_database_of_a_newer_program_is_left_alone(connection: psycopg.Connection[Any]) -> None:
    migrate(connection)
    connection.execute("UPDATE schema_version SET version = 999")
    with pytest.raises(SchemaTooNewError, match="the database has schema 999"):
        migrate(connection)
