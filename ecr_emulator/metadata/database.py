"""A connection as the query modules use it: SQL with named parameters in, rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Row = Mapping[str, Any]


class Database(Protocol):
    """One connection inside one transaction. Parameters are written ``:name`` in the SQL."""

    def all(self, sql: str, /, **parameters: object) -> Sequence[Row]:
        """Run a query and return its rows."""
        ...

    def one(self, sql: str, /, **parameters: object) -> Row | None:
        """Run a query and return its first row, if it has one."""
        ...

    def run(self, sql: str, /, **parameters: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        ...

    def insert(self, sql: str, /, **parameters: object) -> int:
        """Run an INSERT and return the new row's id."""
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
