"""The metadata store on PostgreSQL: what becomes of transactions when their connection is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ecr_emulator.metadata import postgresql
from ecr_emulator.metadata.postgresql import PostgresLocks, PostgresMetadata
from ecr_emulator.metadata.store import MetadataUnavailableError, Transaction
from tests.postgresql import Postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """The URL of a database."""
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


def run(url: str, scenario: Callable[[PostgresMetadata], Any]) -> Any:
    async def within() -> Any:
        metadata = PostgresMetadata(url)
        try:
            return await scenario(metadata)
        finally:
            await metadata.close()

    return asyncio.run(within())


def cut(postgres: Postgres, url: str) -> None:
    """End all connections to a database, as a restart of the server does."""
    name = sql.Literal(url.rpartition("/")[2])
    postgres.execute(
        sql.SQL("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {}").format(
            name
        )
    )


def put(tx: Transaction, name: str) -> str:
    tx.server_values.put(name, "value")
    return name


def get(tx: Transaction, name: str) -> str | None:
    return tx.server_values.get(name)


def test_connections_that_were_cut_are_opened_again(postgres: Postgres, url: str) -> None:
    async def scenario(metadata: PostgresMetadata) -> None:
        for number in range(3):
            assert await metadata.write(put, f"name{number}") == f"name{number}"
            assert await metadata.read(get, f"name{number}") == "value"
            await asyncio.to_thread(cut, postgres, url)

    run(url, scenario)


def test_a_transaction_whose_connection_is_cut_is_run_again(postgres: Postgres, url: str) -> None:
    runs = []

    def put_both(tx: Transaction) -> None:
        runs.append(tx)
        put(tx, "first")
        if len(runs) == 1:
            cut(postgres, url)
        put(tx, "second")

    async def scenario(metadata: PostgresMetadata) -> None:
        await metadata.write(put_both)
        assert [await metadata.read(get, name) for name in ("first", "second")] == ["value", "value"]

    run(url, scenario)
    assert len(runs) == 2


def test_a_commit_whose_outcome_is_not_known_is_no_success(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON server_values DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (new.name = 'deadly') EXECUTE FUNCTION die();
            """
        )
    runs = []

    def put_deadly(tx: Transaction) -> None:
        runs.append(tx)
        put(tx, "deadly")

    async def scenario(metadata: PostgresMetadata) -> None:
        with pytest.raises(MetadataUnavailableError, match="lost while it committed"):
            await metadata.write(put_deadly)
        assert await metadata.write(put, "harmless")

    run(url, scenario)
    assert len(runs) == 1


def test_a_database_that_stays_away_is_told_after_a_while(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "PATIENCE", 0.5)

    async def scenario(metadata: PostgresMetadata) -> None:
        await metadata.write(put, "before")
        await asyncio.to_thread(postgres.kill)
        started = time.monotonic()
        for operation in (metadata.write(put, "meanwhile"), metadata.read(get, "before")):
            with pytest.raises(MetadataUnavailableError, match="can't reach the database"):
                await operation
        assert time.monotonic() - started < 5
        await asyncio.to_thread(postgres.start)
        assert await metadata.read(get, "before") == "value"

    run(url, scenario)


def test_many_who_want_the_same_all_get_it(url: str) -> None:
    """However much they are in each other's way: all increase one number, on two servers."""

    def count(tx: Transaction) -> None:
        tx.server_values.put("count", str(int(tx.server_values.get("count") or 0) + 1))

    async def scenario(metadata: PostgresMetadata) -> None:
        other = PostgresMetadata(url)
        try:
            await asyncio.gather(*(store.write(count) for store in (metadata, other) for _ in range(100)))
        finally:
            await other.close()
        assert await metadata.read(get, "count") == "200"

    run(url, scenario)


def test_a_function_that_hides_an_error_of_the_database_commits_nothing(url: str) -> None:
    def hide(tx: Transaction) -> None:
        put(tx, "name")
        try:
            tx._database.run("SELECT 1 / 0")
        except psycopg.Error:
            return

    async def scenario(metadata: PostgresMetadata) -> None:
        with pytest.raises(MetadataUnavailableError, match="undid"):
            await metadata.write(hide)
        assert await metadata.read(get, "name") is None

    run(url, scenario)


def test_what_a_query_gets_wrong_is_raised_at_once(url: str) -> None:
    async def scenario(metadata: PostgresMetadata) -> None:
        with pytest.raises(psycopg.errors.UndefinedTable):
            await metadata.write(lambda tx: tx._database.run("DELETE FROM nothing"))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await metadata.read(put, "name")

    run(url, scenario)


def test_locks_are_free_once_the_connection_of_their_holder_ends(postgres: Postgres, url: str) -> None:
    async def scenario() -> None:
        one, other = PostgresLocks(url), PostgresLocks(url)
        try:
            async with one.hold("scans") as is_held:
                assert is_held
                await asyncio.to_thread(cut, postgres, url)
                async with other.hold("scans") as is_free:
                    assert is_free
        finally:
            await one.close()
            await other.close()

    asyncio.run(scenario())


def test_a_thread_has_one_connection_however_much_it_does(url: str) -> None:
    async def scenario(metadata: PostgresMetadata) -> None:
        await asyncio.gather(*(metadata.read(get, "name") for _ in range(200)))
        with psycopg.connect(url) as connection:
            ((number,),) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'ecr-emulator'"
            ).fetchall()
        assert 1 <= number <= postgresql.READERS

    before = set(threading.enumerate())
    run(url, scenario)
    assert set(threading.enumerate()) <= before
