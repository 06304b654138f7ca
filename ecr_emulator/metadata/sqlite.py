"""The metadata store on SQLite: one writer thread, a few readers, write-ahead logging."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ecr_emulator.metadata.schema import SchemaTooNewError, WrongSchemaError, migrations, newest
from ecr_emulator.metadata.sqlite_writer import SqliteWriter
from ecr_emulator.metadata.store import Transaction

P = ParamSpec("P")
T = TypeVar("T")

READERS = 2


class SqliteDatabase:
    """A Database over one sqlite3 connection."""

    # A statement that fails is undone, and no more than that.
    fatal_errors: tuple[type[Exception], ...] = ()

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self.connection = connection

    def all(self, sql: str, /, **parameters: object) -> Sequence[Mapping[str, Any]]:
        """Run a query and return its rows."""
        return self.connection.execute(sql, parameters).fetchall()

    def construct(self, kind: Callable[..., T], sql: str, /, **parameters: object) -> list[T]:
        """Run a query and return what is made of the values of each row, in the order of its columns."""
        cursor = self.connection.cursor()
        cursor.row_factory = None
        return list(itertools.starmap(kind, cursor.execute(sql, parameters)))

    def one(self, sql: str, /, **parameters: object) -> Mapping[str, Any] | None:
        """Run a query and return its first row, if it has one."""
        row: Mapping[str, Any] | None = self.connection.execute(sql, parameters).fetchone()
        return row

    def run(self, sql: str, /, **parameters: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        return self.connection.execute(sql, parameters).rowcount

    def insert(self, _key: str, sql: str, /, **parameters: object) -> int:
        """Run an INSERT and return the number that the new row got in its key column."""
        return self.connection.execute(sql, parameters).lastrowid or 0

    def run_many(self, sql: str, rows: Sequence[Mapping[str, object]], /) -> None:
        """Run a statement once for each row of parameters."""
        self.connection.executemany(sql, rows)

    def last_number(self, table: str, _column: str, /) -> int:
        """Return the last number that a table counted up to, whether or not the row is there."""
        row = self.one("SELECT seq FROM sqlite_sequence WHERE name = :table", table=table)
        return 0 if row is None else int(row["seq"])

    def set_last_number(self, table: str, _column: str, number: int, /) -> None:
        """Set the number that a table counts on from."""
        self.run("DELETE FROM sqlite_sequence WHERE name = :table", table=table)
        self.run("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :seq)", table=table, seq=number)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema, whole or not at all: in one transaction, whose fsync is one.

    Raises SchemaTooNewError where the database is ahead of this program.
    """
    steps = migrations()
    newest_number = steps[-1][0]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest_number:
        raise SchemaTooNewError(version)
    scripts = [script for number, script in steps if number > version]
    if not scripts:
        return
    try:
        connection.executescript(
            "\n".join(["BEGIN IMMEDIATE;", *scripts, f"PRAGMA user_version = {newest_number};", "COMMIT;"])
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def read_file(path: Path, function: Callable[[Transaction], T]) -> T:
    """Run a function that only reads on a database, beside the server that may have it.

    Raises OSError where there is none that can be read, and ValueError for one of another schema.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != newest():
            raise WrongSchemaError(path, version)
        connection.execute("BEGIN")
        return function(Transaction(SqliteDatabase(connection)))
    except sqlite3.Error as error:
        raise OSError(f"can't read {path}: {error}") from error
    finally:
        connection.close()


class _Snapshots:
    """Runs functions that only read, each on a snapshot, over a connection of one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._transaction = Transaction(SqliteDatabase(connection))

    def version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._connection.execute("BEGIN")
        try:
            return function(self._transaction, *args, **kwargs)
        finally:
            self._connection.execute("COMMIT")


class SqliteMetadata:
    """A MetadataStore in one SQLite file.

    With ``durable`` a commit is on the disk before it is acknowledged (synchronous=FULL); without
    it only a crash of the machine, not one of the server, can lose the last commits.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        writer = self._connect()
        try:
            migrate(writer)
        except BaseException:
            writer.close()
            raise
        self._writer = SqliteWriter(writer, Transaction(SqliteDatabase(writer)), durable=durable)
        self._reader_connections: list[sqlite3.Connection] = []
        self._peeker = self._open_reader()
        self._reader = threading.local()
        self._readers = ThreadPoolExecutor(READERS, "metadata-reader", initializer=self._start_reader)

    def _connect(self) -> sqlite3.Connection:
        # Each connection is used by one thread at a time; closing happens on another.
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, on one consistent snapshot."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: self._reader.snapshots.read(function, *args, **kwargs)
        )

    async def peek(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that reads few rows, on the event loop: a thread would take longer to wake."""
        return self._peeker.read(function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write. Once this returns, what it wrote survives a crash."""
        return await self._writer.write(lambda tx: function(tx, *args, **kwargs), is_durable=True)

    async def write_briefly(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that writes few rows, on the event loop. Once this returns, they survive a crash."""
        return await self._writer.write_here(lambda tx: function(tx, *args, **kwargs))

    async def write_lazily(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write. Once this returns, what it wrote survives a crash of the server."""
        return await self._writer.write(lambda tx: function(tx, *args, **kwargs), is_durable=False)

    def version(self) -> int | None:
        """Return the number by which a connection of SQLite tells that others have written."""
        return self._peeker.version()

    async def damage(self) -> list[str]:
        """Return what SQLite finds wrong with its file."""
        return await asyncio.to_thread(self._damage)

    def _damage(self) -> list[str]:
        # A transaction on a damaged file can't even be ended.
        connection = self._connect()
        try:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            return [str(error)]
        finally:
            connection.close()
        return [] if found == ["ok"] else found

    async def close(self) -> None:
        """Finish what was begun and close the connections."""
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._reader_connections:
            connection.close()

    def _start_reader(self) -> None:
        self._reader.snapshots = self._open_reader()

    def _open_reader(self) -> _Snapshots:
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        self._reader_connections.append(connection)
        return _Snapshots(connection)
