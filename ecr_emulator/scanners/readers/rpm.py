"""RPM's database: package headers, in one of three formats.

They are SQLite (``rpmdb.sqlite``), RPM's own ndb (``Packages.db``) and Berkeley DB (``Packages``, in Amazon
Linux 2, and in RHEL and its kin up to release 8).
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing

from ecr_emulator.scanners.packages import Package
from ecr_emulator.scanners.readers import bdb

_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCE_RPM = 1000, 1001, 1002, 1003, 1022, 1044
_INTEGER = 4
_NDB_MAGIC, _SLOT_MAGIC, _BLOB_MAGIC = b"RpmP", b"Slot", b"BlbS"
_NDB_PAGE, _NDB_SLOT, _NDB_BLOCK = 4096, 16, 16
# The key that signed packages is kept as a package of its own.
_KEYS = "gpg-pubkey"


def read_sqlite(content: bytes) -> list[Package]:
    """Return the packages in a ``rpmdb.sqlite``. Raises ValueError."""
    if content[:16] != b"SQLite format 3\0":
        raise ValueError("not an SQLite database")
    # Read as one file: a database that was written with a log beside it says so in these two bytes.
    plain = content[:18] + b"\1\1" + content[20:]
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(plain)
            rows = connection.execute("SELECT blob FROM Packages ORDER BY hnum").fetchall()
    except sqlite3.Error as error:
        raise ValueError(str(error)) from None
    return _packages(blob for (blob,) in rows if isinstance(blob, bytes))


def read_ndb(content: bytes) -> list[Package]:
    """Return the packages in a ``Packages.db``. Raises ValueError."""
    return _packages(_ndb_blobs(content))


def read_bdb(content: bytes) -> list[Package]:
    """Return the packages in a ``Packages``. Raises ValueError."""
    # Packages are kept by their number from 1 on. Under 0 is the last number.
    return _packages(value for key, value in bdb.items(content) if any(key))


def _ndb_blobs(content: bytes) -> Iterator[bytes]:
    if content[:4] != _NDB_MAGIC or len(content) < 2 * _NDB_SLOT:
        raise ValueError("not an ndb database")
    (pages,) = struct.unpack_from("<I", content, 12)
    # The file's header takes the place of the first two slots.
    for at in range(2 * _NDB_SLOT, min(pages * _NDB_PAGE, len(content) - _NDB_SLOT + 1), _NDB_SLOT):
        magic, index, block = struct.unpack_from("<4sII", content, at)
        if magic != _SLOT_MAGIC:
            raise ValueError("a slot of the ndb database is broken")
        start = block * _NDB_BLOCK
        if index == 0 or block == 0:
            continue
        if content[start : start + 4] != _BLOB_MAGIC or len(content) < start + 16:
            raise ValueError("a package of the ndb database is broken")
        (length,) = struct.unpack_from("<I", content, start + 12)
        yield content[start + 16 : start + 16 + length]


def _packages(blobs: Iterable[bytes]) -> list[Package]:
    packages = []
    for blob in blobs:
        tags = _header(blob)
        name, version = str(tags.get(_NAME, "")), str(tags.get(_VERSION, ""))
        if not name or name == _KEYS:
            continue
        epoch = f"{tags[_EPOCH]}:" if tags.get(_EPOCH) else ""
        release = f"-{tags[_RELEASE]}" if tags.get(_RELEASE) else ""
        arch, source = tags.get(_ARCH), str(tags.get(_SOURCE_RPM, ""))
        packages.append(
            Package(
                name=name,
                version=f"{epoch}{version}{release}",
                arch=None if arch is None else str(arch),
                # bash-5.1.8-6.el9.src.rpm
                source_name=source.rsplit("-", 2)[0] or None,
            )
        )
    return packages


def _header(blob: bytes) -> dict[int, str | int]:
    """Return the tags of a package header that are wanted: entries of 16 bytes, then their data."""
    wanted = {_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCE_RPM}
    tags: dict[int, str | int] = {}
    try:
        (count,) = struct.unpack_from(">I", blob)
        data = 8 + 16 * count
        for number in range(count):
            tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + 16 * number)
            if tag in wanted and kind == _INTEGER:
                (tags[tag],) = struct.unpack_from(">I", blob, data + offset)
            elif tag in wanted:
                end = blob.index(b"\0", data + offset)
                tags[tag] = blob[data + offset : end].decode(errors="replace")
    except (struct.error, ValueError):
        raise ValueError("a package header is cut off") from None
    return tags
