"""Layers with packages in them, for tests of scans."""

from __future__ import annotations

import gzip
import io
import sqlite3
import struct
import tarfile
from pathlib import Path

ADVISORIES = Path(__file__).parent / "data" / "osv"
RPM = Path(__file__).parent / "data" / "rpm"

DEBIAN_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
ALPINE_RELEASE = b'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.18.4\n'

DPKG_STATUS = b"""\
Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 3.0.9-1
Description: Secure Sockets Layer toolkit
 Version: 9.9 of the description is none of the package

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b2
Source: bash (5.2.15-2)

Package: vim
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""
APK_INSTALLED = b"""\
C:Q1abc=
P:libcrypto3
V:3.1.0-r0
A:x86_64
o:openssl
F:lib
R:libcrypto.so.3

P:musl
V:1.2.4-r1
A:x86_64
"""
PYTHON_METADATA = b"Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.1.2\n\nVersion: 9 says the description\n"
NODE_MANIFEST = b'{"name": "lodash", "version": "4.17.20"}'

DEBIAN = {"etc/os-release": DEBIAN_RELEASE, "var/lib/dpkg/status": DPKG_STATUS}
PYTHON = {"usr/lib/python3/site-packages/jinja2-3.1.2.dist-info/METADATA": PYTHON_METADATA}
NODE = {"app/node_modules/lodash/package.json": NODE_MANIFEST}


def layer(files: dict[str, bytes], *, prefix: str = "", compress: bool = True) -> bytes:
    """A layer with some files; what ends with a slash is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(prefix + path)
            if path.endswith("/"):
                member.type = tarfile.DIRTYPE
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0) if compress else buffer.getvalue()


def rpm_header(**tags: str | int) -> bytes:
    """The header of a package as RPM's databases have it."""
    numbers = {"name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "arch": 1022, "source": 1044}
    index, data = b"", b""
    for tag, value in tags.items():
        if isinstance(value, int):
            data += b"\0" * (-len(data) % 4)
            entry, content = (numbers[tag], 4, len(data), 1), struct.pack(">I", value)
        else:
            entry, content = (numbers[tag], 6, len(data), 1), value.encode() + b"\0"
        index += struct.pack(">IIII", *entry)
        data += content
    return struct.pack(">II", len(tags), len(data)) + index + data


def rpm_sqlite(folder: Path, headers: list[bytes]) -> bytes:
    """A rpmdb.sqlite, in the journal mode that RPM writes it in."""
    path = folder / "rpmdb.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(header,) for header in headers])
    connection.close()
    return path.read_bytes()


def rpm_ndb(headers: list[bytes]) -> bytes:
    """A Packages.db of one page of slots."""
    slots, blobs = b"", b""
    for number, header in enumerate(headers, 1):
        blob = struct.pack("<4sIII", b"BlbS", number, 1, len(header)) + header
        blob += b"\0" * (-len(blob) % 16)
        slots += struct.pack("<4sIII", b"Slot", number, (4096 + len(blobs)) // 16, len(blob) // 16)
        blobs += blob
    slots += struct.pack("<4sIII", b"Slot", 0, 0, 0) * (254 - len(headers))
    return struct.pack("<4sIII16x", b"RpmP", 0, 1, 1) + slots + blobs
