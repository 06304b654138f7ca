"""A connection as the query modules use it: SQL with named parameters in, rows out.

The SQL is what SQLite and PostgreSQL both know. A list is given as JSON, and read by ``json_each(:name)``,
which has its elements, as texts, in the column ``value``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import orjson

Row = Mapping[str, Any]
T = TypeVar("T")


def as_json(digests: Collection[str]) -> str:
    """Return digests as a list for ``json_each``."""
    return orjson.dumps(list(digests)).decode()


class Database(Protocol):
    """One connection inside one transaction. Parameters are written ``:name`` in the SQL."""

    fatal_errors: tuple[type[Exception], ...]
    """What is raised where the transaction can't go on, and so is no business of the rules in it."""

    def all(self, sql: str, /, **parameters: object) -> Sequence[Row]:
        """Run a query and return its rows."""
        ...

    def construct(self, kind: Callable[..., T], sql: str, /, **parameters: object) -> list[T]:
        """Run a query and return what is made of the values of each row, in the order of its columns.

        For long lists: a row that is asked for its columns by their names takes several times as long.
        """
        ...

    def one(self, sql: str, /, **parameters: object) -> Row | None:
        """Run a query and return its first row, if it has one."""
        ...

    def run(self, sql: str, /, **parameters: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        ...

    def insert(self, key: str, sql: str, /, **parameters: object) -> int:
        """Run an INSERT and return the number that the new row got in the column ``key``."""
        ...

    def run_many(self, sql: str, rows: Sequence[Mapping[str, object]], /) -> None:
        """Run a statement once for each row of parameters."""
        ...

    def last_number(self, table: str, column: str, /) -> int:
        """Return the last number that a table counted up to in a column, whether or not the row is there."""
        ...

    def set_last_number(self, table: str, column: str, number: int, /) -> None:
        """Set the number that a table counts on from."""
        ...
