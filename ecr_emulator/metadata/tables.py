"""The tables as such, for what copies all of them, or looks for rows that have lost each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ecr_emulator.metadata.database import Database


class Reference(Struct, frozen=True):
    """Columns that hold the key of another table's row."""

    columns: tuple[str, ...]
    table: str
    target: tuple[str, ...]


class Table(Struct, frozen=True):
    """A table; ``number`` is the column whose values are counted up, none of them ever used twice."""

    name: str
    key: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    number: str | None = None
    booleans: tuple[str, ...] = ()


def _of(column: str, table: str, target: str = "id") -> Reference:
    return Reference((column,), table, (target,))


_OF_REPOSITORY = _of("repository_id", "repositories")
_OF_IMAGE = _of("image_id", "images")
_BY_PREFIX = ("account", "region", "prefix")

# A table comes after those that it refers to.
TABLES = (
    Table("server_values", ("name",)),
    Table("registry_values", ("account", "region", "name")),
    Table("pull_time_exclusions", ("account", "region", "principal_arn")),
    Table("creation_templates", _BY_PREFIX),
    Table("pull_through_rules", _BY_PREFIX),
    Table("tasks", ("id",), number="id"),
    Table("repositories", ("id",), number="id", booleans=("scan_on_push",)),
    Table("repository_tags", ("repository_id", "key"), (_OF_REPOSITORY,)),
    Table("uploads", ("id",), (_OF_REPOSITORY,)),
    Table("blobs", ("id",), number="id"),
    Table("layers", ("id",), (_OF_REPOSITORY, _of("blob_id", "blobs")), number="id"),
    Table("images", ("id",), (_OF_REPOSITORY,), number="id"),
    Table("manifests", ("image_id",), (_OF_IMAGE,)),
    Table("index_children", ("image_id", "digest"), (_OF_IMAGE,)),
    Table("tags", ("repository_id", "name"), (_OF_REPOSITORY, _OF_IMAGE)),
    Table("upstream_tags", ("repository_id", "name"), (_OF_REPOSITORY, _OF_IMAGE)),
    Table("upstream_referrers", ("repository_id", "subject_digest"), (_OF_REPOSITORY,)),
    Table("lifecycle_previews", ("repository_id",), (_OF_REPOSITORY,)),
    Table(
        "lifecycle_preview_results",
        ("repository_id", "position"),
        (_of("repository_id", "lifecycle_previews", "repository_id"), _OF_IMAGE),
    ),
    Table("signing_statuses", ("image_id", "profile_arn"), (_OF_IMAGE,)),
    Table("replications", ("image_id", "destination_account", "destination_region", "tag"), (_OF_IMAGE,)),
    Table("backfills", ("number",), number="number"),
    Table(
        "backfill_replications",
        ("id",),
        (_of("backfill_number", "backfills", "number"),),
        number="id",
        booleans=("is_index",),
    ),
    Table("events", ("id",), number="id"),
    Table("event_sinks", ("id",), number="id"),
    Table(
        "outbox",
        ("sink_id", "event_id"),
        (_of("sink_id", "event_sinks"), _of("event_id", "events")),
    ),
    Table("scans", ("image_id", "scan_type"), (_OF_IMAGE,)),
    Table(
        "scan_findings",
        ("image_id", "scan_type", "position"),
        (Reference(("image_id", "scan_type"), "scans", ("image_id", "scan_type")),),
    ),
)


class Tables:
    """Queries on any table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, table: Table) -> int:
        """Return how many rows a table has."""
        row = self._database.one(f"SELECT count(*) AS number FROM {table.name}")
        return 0 if row is None else int(row["number"])

    def page(self, table: Table, after: Mapping[str, Any] | None, limit: int) -> list[dict[str, Any]]:
        """Return at most ``limit`` rows in the order of their keys, past the row ``after``."""
        key = ", ".join(table.key)
        past = "" if after is None else f" WHERE ({key}) > ({', '.join(f':{name}' for name in table.key)})"
        rows = self._database.all(
            f"SELECT * FROM {table.name}{past} ORDER BY {key} LIMIT :limit",
            limit=limit,
            **({} if after is None else {name: after[name] for name in table.key}),
        )
        return [dict(row) for row in rows]

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, all of which have the same columns."""
        if rows:
            values = ", ".join(f":{name}" for name in rows[0])
            self._database.run_many(
                f"INSERT INTO {table.name} ({', '.join(rows[0])}) VALUES ({values})",
                [{**row, **{name: bool(row[name]) for name in table.booleans}} for row in rows],
            )

    def clear(self, table: Table) -> None:
        """Remove all rows of a table."""
        self._database.run(f"DELETE FROM {table.name}")

    def last_number(self, table: Table) -> int:
        """Return the last number that a table has given to a row, or 0."""
        return self._database.last_number(table.name, table.number or "")

    def set_last_number(self, table: Table, number: int) -> None:
        """Have a table go on with the numbers past this one."""
        self._database.set_last_number(table.name, table.number or "", number)

    def orphans(self, table: Table, reference: Reference, limit: int) -> list[dict[str, Any]]:
        """Return the keys of at most ``limit`` rows which refer to one that is not there."""
        matches = " AND ".join(
            f"target.{theirs} = source.{ours}"
            for ours, theirs in zip(reference.columns, reference.target, strict=True)
        )
        refers = " AND ".join(f"{ours} IS NOT NULL" for ours in reference.columns)
        key = ", ".join(table.key)
        rows = self._database.all(
            f"SELECT {key} FROM {table.name} AS source WHERE {refers} AND NOT EXISTS"
            f" (SELECT 1 FROM {reference.table} AS target WHERE {matches}) ORDER BY {key} LIMIT :limit",
            limit=limit,
        )
        return [dict(row) for row in rows]
