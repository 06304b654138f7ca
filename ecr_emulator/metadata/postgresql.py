"""The metadata store on PostgreSQL, which several servers can share.

Transactions are serializable, and run again where they got in each other's way. The SQL is SQLite's; what
differs is here: how parameters and types are written, and ``json_each``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper

from ecr_emulator.metadata.schema import SchemaTooNewError, WrongSchemaError, migrations, newest
from ecr_emulator.metadata.store import MetadataUnavailableError, Transaction

P = ParamSpec("P")
T = TypeVar("T")

# Connections, each with its thread, that read and that write. One more holds the locks.
READERS = 4
WRITERS = 8
# Seconds for which a transaction is tried again: while others get in its way, or the database is away.
PATIENCE = 10.0
# Seconds before a transaction is run again, and the longest time before a further attempt to connect.
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.5

# What other transactions do to one, which is undone. Rules look before they write: what then violates a
# constraint came in from another transaction.
_IN_THE_WAY = (errors.SerializationFailure, errors.DeadlockDetected, errors.IntegrityError)

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL SERIALIZABLE"
# LOCK comes before the transaction's snapshot, so that those that failed run one after the other, each
# on what the one before it left. Nothing else locks this table.
_WRITE_IN_LINE = f"{_WRITE}; LOCK TABLE schema_version IN EXCLUSIVE MODE"

# How the schema's types are written here. Names are in the order of their bytes, whatever the database's
# locale.
_TYPES = {
    "INTEGER PRIMARY KEY AUTOINCREMENT": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "TEXT": 'TEXT COLLATE "C"',
    "BLOB": "BYTEA",
    " WITHOUT ROWID": "",
}
_TYPE = re.compile(r"\b(?:INTEGER PRIMARY KEY AUTOINCREMENT|INTEGER|REAL|TEXT|BLOB)\b| WITHOUT ROWID\b")
# PostgreSQL has a json_each of its own, which takes no text.
_FIRST_MIGRATION = r"""
CREATE TABLE schema_version (version BIGINT NOT NULL);
INSERT INTO schema_version VALUES (0);
CREATE FUNCTION json_each(list text) RETURNS TABLE (value text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 10
    AS $$ SELECT json_array_elements_text(replace(list, '\u0000', '\u2400')::json) $$;
"""
_MIGRATIONS_LOCK = "migrations"

_PARAMETER = re.compile(r":(\w+)")

# Unless the URL says otherwise: seconds until a server that is not there is given up.
_CONNECTION = {
    "application_name": "ecr-emulator",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_PARAMETERS = {
    # Every query has an index. A sequential scan of a small table would be as fast, but makes a serializable
    # transaction depend on all of it. No query is worth compiling.
    "enable_seqscan": "off",
    "jit": "off",
    # What is left of a server that was killed or cut off keeps others waiting no longer than this.
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}


class DatabaseSetupError(RuntimeError):
    """The database can't be used; the message tells a person why."""


class _TextDumper(StrBinaryDumper):
    """Gives PostgreSQL text, which there can have no NUL: the symbol for it takes its place.

    No name can have one. What can is text that is only shown, of a manifest or of a scanner.
    """

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\u2400") if "\0" in obj else obj)


class PostgresDatabase:
    """A Database over one connection."""

    fatal_errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._cursor = connection.cursor(row_factory=dict_row, binary=True)

    def all(self, sql: str, /, **parameters: object) -> Sequence[Mapping[str, Any]]:
        """Run a query and return its rows."""
        return self._execute(sql, parameters).fetchall()

    def one(self, sql: str, /, **parameters: object) -> Mapping[str, Any] | None:
        """Run a query and return its first row, if it has one."""
        return self._execute(sql, parameters).fetchone()

    def run(self, sql: str, /, **parameters: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        return self._execute(sql, parameters).rowcount

    def insert(self, key: str, sql: str, /, **parameters: object) -> int:
        """Run an INSERT and return the number that the new row got in its key column."""
        row = self._execute(f"{sql} RETURNING {key}", parameters).fetchone()
        return int(row[key]) if row else 0

    def run_many(self, sql: str, rows: Sequence[Mapping[str, object]], /) -> None:
        """Run a statement once for each row of parameters."""
        self._cursor.executemany(_translate(sql), rows)

    def _execute(self, sql: str, parameters: Mapping[str, object]) -> psycopg.Cursor[DictRow]:
        return self._cursor.execute(_translate(sql), parameters)


@functools.lru_cache(maxsize=1024)
def _translate(sql: str) -> bytes:
    """Return a query with its parameters as psycopg wants them."""
    return _PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%")).encode()


def translate_schema(script: str) -> str:
    """Return a migration in PostgreSQL's words."""
    return _TYPE.sub(lambda match: _TYPES[match[0]], script)


def _connect(url: str) -> psycopg.Connection[Any]:
    """Open a connection. Raises psycopg.Error."""
    given = conninfo_to_dict(url)
    options = [f"-c {name}={value}" for name, value in _PARAMETERS.items()]
    options.append(str(given.get("options") or ""))
    settings = {**_CONNECTION, **given, "options": " ".join(options), "client_encoding": "utf8"}
    connection = psycopg.connect(make_conninfo("", **settings), autocommit=True)
    # Whatever its value, a parameter has one type, so that a query is prepared once.
    connection.adapters.register_dumper(str, _TextDumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    return connection


def _version(connection: psycopg.Connection[Any]) -> int:
    """Return the number of the migration that was applied last; 0 in an empty database."""
    row = connection.execute("SELECT to_regclass('schema_version') IS NOT NULL").fetchone()
    if not (row and row[0]):
        return 0
    found = connection.execute("SELECT version FROM schema_version").fetchone()
    return int(found[0]) if found else 0


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Bring a database to the newest schema; each migration applies whole or not at all.

    Servers that start at the same time wait for each other. Raises SchemaTooNewError where the database
    is ahead of this program.
    """
    steps = migrations()
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [_MIGRATIONS_LOCK])
    try:
        version = _version(connection)
        if version > steps[-1][0]:
            raise SchemaTooNewError(version)
        for number, script in steps:
            if number > version:
                with connection.transaction():
                    if number == 1:
                        connection.execute(_FIRST_MIGRATION)
                    connection.execute(translate_schema(script).encode())
                    connection.execute("UPDATE schema_version SET version = %s", [number])
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [_MIGRATIONS_LOCK])


def _checked(url: str) -> psycopg.Connection[Any]:
    """Open a connection to a database that can be used. Raises DatabaseSetupError."""
    try:
        connection = _connect(url)
    except psycopg.Error as error:
        raise DatabaseSetupError(f"can't connect to the metadata database: {error}") from error
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise DatabaseSetupError(f"the metadata database must have the encoding UTF8, not {encoding}")
    return connection


def read_database(url: str, function: Callable[[Transaction], T]) -> T:
    """Run a function that only reads on a database, beside the servers that have it.

    Raises OSError where there is none that can be read, and ValueError for one of another schema.
    """
    try:
        with contextlib.closing(_checked(url)) as connection:
            connection.execute(_READ)
            if (version := _version(connection)) != newest():
                raise WrongSchemaError(f"the database {connection.info.dbname}", version)
            return function(Transaction(PostgresDatabase(connection)))
    except (psycopg.Error, DatabaseSetupError) as error:
        raise OSError(str(error)) from error


class _Session:
    """A connection of one thread, opened when it is needed, and again once it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None
        self._transaction: Transaction | None = None

    @property
    def is_lost(self) -> bool:
        """Whether there is no connection that could be gone on with."""
        return self._connection is None or self._connection.closed

    def connect(self) -> tuple[psycopg.Connection[Any], Transaction]:
        """Return the connection, and a transaction on it. Raises psycopg.OperationalError."""
        if self._connection is None or self._transaction is None or self._connection.closed:
            self.close()
            self._connection = _connect(self._url)
            self._transaction = Transaction(PostgresDatabase(self._connection))
        return self._connection, self._transaction

    def run(self, begin: str, function: Callable[[Transaction], T]) -> T:
        """Run a function in one transaction. Raises MetadataUnavailableError for an unknown outcome."""
        connection, transaction = self.connect()
        try:
            connection.execute(begin.encode())
            result = function(transaction)
        except BaseException:
            try:
                connection.execute("ROLLBACK")
            except psycopg.Error:
                self.close()
            raise
        try:
            outcome = connection.execute("COMMIT").statusmessage
        except _IN_THE_WAY:
            raise
        except psycopg.Error as error:
            self.close()
            raise MetadataUnavailableError("the database was lost while it committed") from error
        if outcome != "COMMIT":
            raise MetadataUnavailableError("the database undid a transaction")
        return result

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._transaction = None


class _Pool:
    """Threads, each with a session of its own."""

    def __init__(self, url: str, size: int, name: str) -> None:
        self._url = url
        self._local = threading.local()
        self._sessions: list[_Session] = []
        self._threads = ThreadPoolExecutor(size, f"metadata-{name}", initializer=self._open)

    def _open(self) -> None:
        self._local.session = session = _Session(self._url)
        self._sessions.append(session)

    async def run(self, function: Callable[[_Session], T]) -> T:
        """Give a session to a function, in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(self._local.session))

    async def close(self) -> None:
        """Let what was begun finish, and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        for session in self._sessions:
            session.close()


class PostgresMetadata:
    """A MetadataStore in a PostgreSQL database that other servers may have too.

    Raises DatabaseSetupError and SchemaTooNewError.
    """

    def __init__(self, url: str) -> None:
        with contextlib.closing(_checked(url)) as connection:
            try:
                migrate(connection)
            except psycopg.Error as error:
                raise DatabaseSetupError(f"can't set up the metadata database: {error}") from error
        self._readers = _Pool(url, READERS, "reader")
        self._writers = _Pool(url, WRITERS, "writer")

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, on one consistent snapshot."""
        return await self._readers.run(
            lambda session: _persist(session, _READ, _READ, lambda tx: function(tx, *args, **kwargs))
        )

    async def write(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that may write. Once this returns, what it wrote survives a crash."""
        return await self._writers.run(
            lambda session: _persist(
                session, _WRITE, _WRITE_IN_LINE, lambda tx: function(tx, *args, **kwargs)
            )
        )

    async def close(self) -> None:
        """Finish what was begun and close the connections."""
        await self._readers.close()
        await self._writers.close()


def _persist(session: _Session, begin: str, again: str, function: Callable[[Transaction], T]) -> T:
    """Run a function in a transaction, and again where that failed for a reason that passes."""
    deadline = time.monotonic() + PATIENCE
    pause = _FIRST_PAUSE
    while True:
        try:
            return session.run(begin, function)
        except _IN_THE_WAY:
            if time.monotonic() > deadline:
                raise
            begin = again
            time.sleep(random.uniform(0, _FIRST_PAUSE))  # noqa: S311 - not for secrets
        except psycopg.OperationalError as error:
            if not session.is_lost:
                raise
            if time.monotonic() > deadline:
                raise MetadataUnavailableError(f"can't reach the database: {error}") from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class PostgresLocks:
    """Locks that the servers over one database share. They keep out other servers, and end with their own.

    PostgreSQL lets go of them when their connection ends: at once where the server's process does, and
    some ten seconds after the machine or the network went.
    """

    def __init__(self, url: str) -> None:
        # All are on one connection.
        self._pool = _Pool(url, 1, "locks")

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock for a block, whose value is false where another server holds it."""
        # Until it is known: an attempt that is cut short goes on in its thread, and may succeed.
        is_held = True
        try:
            is_held = await self._pool.run(lambda session: _try_lock(session, name))
            yield is_held
        finally:
            if is_held:
                await asyncio.shield(self._pool.run(lambda session: _unlock(session, name)))

    async def close(self) -> None:
        """Close the connection."""
        await self._pool.close()


def _try_lock(session: _Session, name: str) -> bool:
    try:
        connection, _ = session.connect()
        row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
    except psycopg.OperationalError as error:
        raise MetadataUnavailableError(f"can't reach the database: {error}") from error
    return bool(row and row[0])


def _unlock(session: _Session, name: str) -> None:
    # A lock that was lost with its connection is not there any more.
    with contextlib.suppress(psycopg.OperationalError):
        connection, _ = session.connect()
        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
