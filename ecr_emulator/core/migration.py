"""Migrating a store to another configuration, while a server goes on with it.

Blobs are copied first, which takes long and disturbs nobody: no blob is ever changed. Then the metadata are
read in one transaction, the blobs that came meanwhile are copied, and the target is given those metadata in
one transaction. What is written to the source after that is left behind; another run brings it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from ecr_emulator.blobs import reading
from ecr_emulator.blobs.base import DigestMismatchError, Position
from ecr_emulator.core import garbage, integrity
from ecr_emulator.core.emulator import Stores, StoresError
from ecr_emulator.metadata.blobs import KnownBlob
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tables import TABLES, Table

# Rows that are read or written at a time.
_BATCH = 500
# Blobs that are copied at a time.
_AT_ONCE = 4
# Uploads under way stay behind: their bytes are where they came in.
_COPIED = tuple(table for table in TABLES if table.name != "uploads")
_BYTES = "base64"

Phase = Callable[[str], None]
Copied = Callable[["Migrated"], None]


class MigrationError(StoresError):
    """A store can't be migrated; the message tells a person why."""


class Migrated(Struct):
    """How much was migrated; ``blobs`` of the ``seen`` ones were copied, of ``size`` bytes."""

    rows: int = 0
    all_blobs: int = 0
    """Blobs that the source had when it began."""
    seen: int = 0
    blobs: int = 0
    size: int = 0
    tally: integrity.Tally = field(default_factory=integrity.Tally)


async def migrate(
    source: Stores, target: Stores, phase: Phase, copied: Copied, *, replace: bool = False
) -> Migrated:
    """Bring a target to what a source has; one that has something only with ``replace``.

    Each phase is told when it begins, and each blob when it was copied, or was there.

    Blobs that the target has already are not copied again, so that a migration which was cut short can be
    run again. Raises MigrationError.
    """
    present = await target.metadata.read(_registries)
    if present and not replace:
        raise MigrationError("the target is not empty; --replace gives up what it has")
    migrated = Migrated()
    phase("copying blobs")
    migrated.all_blobs = await source.metadata.read(_count_blobs)
    await _copy_all_blobs(source, target, migrated, copied)
    with tempfile.TemporaryDirectory(prefix="ecr-emulator-migration-") as folder:
        spool = Path(folder) / "rows"
        phase("reading the metadata")
        migrated.seen = 0
        counts = await source.metadata.read(_write_rows, spool)
        await _copy_new_blobs(source, target, spool, migrated, copied)
        phase("writing the metadata")
        await target.metadata.write(_read_rows, spool)
    await garbage.remove_freed(target)
    phase("verifying")
    await _verify(target, counts, migrated)
    return migrated


def _registries(tx: Transaction) -> list[tuple[str, str]]:
    return tx.registries()


def _count_blobs(tx: Transaction) -> int:
    return next(tx.tables.count(table) for table in TABLES if table.name == "blobs")


async def _copy_all_blobs(source: Stores, target: Stores, migrated: Migrated, copied: Copied) -> None:
    last = 0
    while page := await source.metadata.read(_page_of_blobs, last):
        last = page[-1].id
        # One that is missing may have been collected just now.
        await _copy_blobs(source, target, page, migrated, copied)


def _page_of_blobs(tx: Transaction, last: int) -> list[KnownBlob]:
    return tx.blobs.page(last, _BATCH)


async def _copy_new_blobs(
    source: Stores, target: Stores, spool: Path, migrated: Migrated, copied: Copied
) -> None:
    """Copy the blobs that the rows name and the target does not have."""
    rows = _batches(_rows(spool))
    while batch := await asyncio.to_thread(next, rows, None):
        named = [KnownBlob(**row) for table, row in batch if table == "blobs"]
        if missing := await _copy_blobs(source, target, named, migrated, copied):
            raise MigrationError(
                f"the source has no bytes of {missing[0].digest}: was its image deleted just now? Run it "
                "again, or run check on the source"
            )


async def _copy_blobs(
    source: Stores, target: Stores, blobs: Sequence[KnownBlob], migrated: Migrated, copied: Copied
) -> list[KnownBlob]:
    """Copy the blobs that the target does not have; return those that the source does not have."""
    slots = asyncio.Semaphore(_AT_ONCE)
    missing: list[KnownBlob] = []

    async def copy(known: KnownBlob) -> None:
        async with slots:
            if not await _has(target, known):
                if not await _copy_blob(source, target, known):
                    missing.append(known)
                    return
                migrated.blobs += 1
                migrated.size += known.size
        migrated.seen += 1
        copied(migrated)

    tasks = [asyncio.create_task(copy(known)) for known in blobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        # Where one has failed, the others end before the stores are closed.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return missing


async def _has(target: Stores, known: KnownBlob) -> bool:
    stored = await target.metadata.read(lambda tx: tx.blobs.get(known.digest, known.encryption_key))
    blob = stored and await target.open_blob(stored.name, known.encryption_key)
    return blob is not None and blob.size == known.size


async def _copy_blob(source: Stores, target: Stores, known: KnownBlob) -> bool:
    """Copy one blob, whose bytes are verified; false where the source does not have it."""
    blob = await source.open_blob(known.name, known.encryption_key)
    if blob is None:
        return False
    upload_id = str(uuid.uuid4())
    try:
        async with target.blobs.upload(upload_id) as writer:
            with target.encryption.upload(writer, upload_id, known.encryption_key, Position()) as held:
                size = (await held.append(reading.chunks(blob))).size
                published = await held.publish([known.digest])
        await target.metadata.write(_note_blob, known, published.name, size)
    except FileNotFoundError:
        return False
    except DigestMismatchError as error:
        raise MigrationError(
            f"the bytes of {known.digest} in the source have the digest {error.actual}; run check on it"
        ) from None
    finally:
        await target.blobs.discard(upload_id)
    return True


def _note_blob(tx: Transaction, known: KnownBlob, name: str, size: int) -> None:
    stored = tx.blobs.get(known.digest, known.encryption_key)
    if stored is None:
        tx.blobs.insert(known.digest, known.encryption_key, name, size)
    else:
        # Its bytes were missing.
        tx.blobs.rename(stored.id, name)


def _write_rows(tx: Transaction, spool: Path) -> dict[str, int]:
    """Write all rows to a file, and return how many each table has."""
    counts: dict[str, int] = {}
    with spool.open("w") as file:
        for table in _COPIED:
            counts[table.name] = 0
            last: dict[str, Any] | None = None
            while page := tx.tables.page(table, last, _BATCH):
                last = page[-1]
                counts[table.name] += len(page)
                file.writelines(f"{json.dumps([table.name, row], default=_encode)}\n" for row in page)
        numbers = {table.name: tx.tables.last_number(table) for table in _COPIED if table.number}
        file.write(f"{json.dumps(['', numbers])}\n")
    return counts


def _encode(value: Any) -> dict[str, str]:
    return {_BYTES: base64.b64encode(bytes(value)).decode()}


def _decode(members: dict[str, Any]) -> Any:
    return base64.b64decode(members[_BYTES]) if members.keys() == {_BYTES} else members


def _rows(spool: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give what ``_write_rows`` wrote: rows by the name of their table, last the tables' numbers."""
    with spool.open() as file:
        for line in file:
            name, row = json.loads(line, object_hook=_decode)
            yield name, row


def _batches(rows: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Give rows in batches, each of one table."""
    batch: list[tuple[str, dict[str, Any]]] = []
    for row in rows:
        if batch and (batch[0][0] != row[0] or len(batch) >= _BATCH):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _read_rows(tx: Transaction, spool: Path) -> None:
    """Replace all rows by those of a file, but for blobs: their names are the store's own."""
    tables = {table.name: table for table in _COPIED}
    for table in reversed(TABLES):
        if table.name != "blobs":
            tx.tables.clear(table)
    blob_ids: dict[int, int] = {}
    for batch in _batches(_rows(spool)):
        name, rows = batch[0][0], [row for _, row in batch]
        if name == "blobs":
            blob_ids |= {row["id"]: _blob_id(tx, row) for row in rows}
        elif name == "layers":
            tx.tables.insert(tables[name], [{**row, "blob_id": blob_ids[row["blob_id"]]} for row in rows])
        elif name:
            tx.tables.insert(tables[name], rows)
        else:
            _set_numbers(tx, tables, rows[0])


def _blob_id(tx: Transaction, row: dict[str, Any]) -> int:
    stored = tx.blobs.get(row["digest"], row["encryption_key"])
    if stored is None:
        raise MigrationError(f"the target has lost {row['digest']} meanwhile: does a server use it?")
    return stored.id


def _set_numbers(tx: Transaction, tables: dict[str, Table], numbers: dict[str, int]) -> None:
    for name, number in numbers.items():
        if name != "blobs":
            tx.tables.set_last_number(tables[name], number)


async def _verify(target: Stores, counts: dict[str, int], migrated: Migrated) -> None:
    """Make sure that the target has all rows, and that they fit together and have their blobs."""
    actual = await target.metadata.read(_count_rows)
    # Blobs that nothing uses are not kept.
    for name in counts.keys() - {"blobs"}:
        if actual[name] != counts[name]:
            raise MigrationError(f"the target has {actual[name]} rows of {name} instead of {counts[name]}")
    migrated.rows = sum(actual.values())
    async for finding in integrity.check(target, migrated.tally, fast=True):
        if finding.is_damage:
            raise MigrationError(
                f"the target is damaged, as may be the source: {finding.subject}: {finding.problem}"
            )


def _count_rows(tx: Transaction) -> dict[str, int]:
    return {table.name: tx.tables.count(table) for table in _COPIED}
